from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("memory_limit.py")
ALLOWANCE = 112  # MiB; the labels take 128, their scores 512


def limited(checkpoint: Path, output: Path, held: str, options: dict[str, Any]) -> str:
    command = [sys.executable, PROGRAM, checkpoint, output, str(ALLOWANCE), held, json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    shutil.rmtree(output.parent)  # gigabytes
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit it")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.npy", {"keep_scores": True}),
        ("v.raw", {"exact": True}),
        ("v.zarr", {"pyramid": True, "phase_fraction_field": "0.2:0.4:z"}),
        ("v.tif", {"mask": "sphere.npy", "outside": 2}),
    ],
    ids=str,
)
def test_memory_is_not_that_of_the_volume(checkpoint: Path, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    if "mask" in options:
        z, y, x = np.ogrid[-1:1:40j, -1:1:40j, -1:1:40j]
        np.save(tmp_path / "sphere.npy", (z**2 + y**2 + x**2 < 1).astype(np.float32))
        options = options | {"mask": str(tmp_path / "sphere.npy")}
    assert limited(checkpoint, tmp_path / name, "nothing", options) == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit it")
@pytest.mark.parametrize("held", ["labels", "scores"])
def test_the_limit_is_felt_where_the_volume_is_held(checkpoint: Path, tmp_path: Path, held: str) -> None:
    assert limited(checkpoint, tmp_path / "v.raw", held, {"exact": True}) == "no memory"
