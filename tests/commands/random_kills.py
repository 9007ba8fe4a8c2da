"""Kills `generate` with SIGKILL at random times and lets it go on; run as a program by test_random_kills.

``random_kills.py CHECKPOINT FOLDER NAME COMMIT OPTIONS`` writes the volume NAME, with the options of ``GenerateConfig`` as JSON
and a journal entry after every COMMIT seconds: once without a stop, then killed until a run gets through, again and again until
there were enough kills. It compares them all, and prints the number of kills and of volumes. The processes are forked from one
that has everything imported, and uses one thread, so that they start at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mcrgen
from mcrgen.io import volume_output, volume_writer

for module in ("zarr", "tifffile", "psutil", "mcrgen.commands.generate", "mcrgen.commands._production", "mcrgen.networks.swnn"):
    importlib.import_module(module)
for module in ("mcrgen.generation.generator", "mcrgen.generation.local_means", "mcrgen.plotting.profiles"):
    importlib.import_module(module)

KILLS = 20
SIZE = {"size": (18, 15, 24), "block_size": 4, "precision": "fp32", "device": "cpu"}


def generate(checkpoint: Path, output: Path, options: dict[str, Any]) -> None:
    """In a process of its own."""
    output.parent.mkdir(exist_ok=True)
    log = os.open(output.parent.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=output, **SIZE | options))


def started(checkpoint: Path, output: Path, options: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            generate(checkpoint, output, options)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(2)
        os._exit(0)
    return pid


def outcome(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"it ended with {code}")
    return code


def wait_for(path: Path, pid: int) -> None:
    """Return when the path is there, or the process has ended."""
    while not path.exists() and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)


def is_finished(output: Path) -> bool:
    return output.exists() and volume_output.interrupted_run(output) is None


def result(folder: Path) -> dict[str, object]:
    """All bytes that a run leaves, of its record the fractions and thresholds."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")):
        found[str(path.relative_to(folder))] = path.read_bytes()
        if path.name.endswith((".npy.json", ".zarr.json", ".tif.json")):
            record = json.loads(path.read_text())
            found[path.name] = [
                record.get(key) for key in ("phase_fractions", "calibration", "residual", "shape", "phase_fraction_field")
            ]
    return found


def killed_until_through(start: Callable[[], int], output: Path, seconds: float, rng: random.Random) -> int:
    """Number of kills after which there were blocks, finished or not, to go on with."""
    kills = 0
    for _ in range(100 * KILLS):
        pid = start()
        if rng.random() < 0.8:  # else it hardly gets to work
            wait_for(output.with_name(f"{output.name}.lock"), pid)
        time.sleep(rng.uniform(0.0, rng.choice((0.1, 0.2, 1.0)) * seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if outcome(pid) == 0 or is_finished(output):
            return kills
        kills += output.with_name(f"{output.name}.partial").exists()
    sys.exit("never through")


def main(checkpoint: Path, folder: Path, name: str, commit: float, options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    volume_writer._COMMIT_SECONDS = commit
    start = time.monotonic()
    if outcome(started(checkpoint, folder / "whole" / name, options)):
        sys.exit("killed by somebody else")
    seconds = time.monotonic() - start
    expected, rng = result(folder / "whole"), random.Random(f"{name}{commit}")
    kills = volumes = 0
    while kills < KILLS:
        volumes += 1
        output = folder / f"killed{volumes}" / name
        kills += killed_until_through(lambda output=output: started(checkpoint, output, options), output, seconds, rng)
        if result(output.parent) != expected:
            sys.exit(f"{output}: not what an uninterrupted run leaves")
    print(kills, volumes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), json.loads(sys.argv[5]))
