"""Runs `generate` with little more memory than a small volume takes; run as a program by test_memory_limit.

``memory_limit.py CHECKPOINT OUTPUT MIB HELD OPTIONS`` makes a small volume, then allows itself so many MiB of data on top of
what it has by then, and makes a large one. Prints ``done`` or ``no memory``. HELD is what it holds of the large volume beside
its blocks: nothing, its labels, or its scores. All blocks have the same scores, computed once, so that it does not take long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mcrgen
from mcrgen.commands import _sources
from mcrgen.generation.generator import Generator

SMALL, LARGE = (256, 256, 256), (512, 512, 512)


def data_bytes() -> int:
    """Private memory of this process, which is what RLIMIT_DATA counts."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData"))


def compute_once() -> None:
    scores, known = Generator.scores, {}

    def remembered(self: Generator, noise: Any, start: Any, shape: Any) -> torch.Tensor:
        if shape not in known:
            known[shape] = scores(self, noise, start, shape)
        return known[shape].clone()

    Generator.scores = remembered  # type: ignore[method-assign]


def main(checkpoint: Path, output: Path, allowance: int, held: str, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    compute_once()
    _sources._KEPT_SHARE = float(held == "scores")  # what the first pass may keep is a share of the machine's memory
    if "mask" in options:
        options["mask"] = Path(options["mask"])
    settings = {"checkpoint": checkpoint, "block_size": 64, "precision": "fp32", "device": "cpu", **options}
    mcrgen.generate(mcrgen.GenerateConfig(output=output.with_stem("small"), size=SMALL, **settings))
    limit = data_bytes() + allowance * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        field = np.ones(prod(LARGE) if held == "labels" else 0, np.uint8)
        mcrgen.generate(mcrgen.GenerateConfig(output=output, size=LARGE, **settings))
    except (MemoryError, RuntimeError):  # as NumPy and torch tell of it
        print("no memory")
    else:
        print("done")
        del field
    sys.stdout.flush()
    os._exit(0)  # threads that have got none may not end


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5]))
