from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("random_kills.py")


@pytest.mark.parametrize(
    ("name", "commit", "options"),
    [
        ("v.npy", 0.0, {}),
        ("v.zarr", 0.0, {"pyramid": True, "phase_fraction": 0.35}),
        ("v.npy", 0.0, {"phase_fraction_field": "0.2:0.4:z", "block_size": 8}),
        ("v.tif", 0.0, {"exact": True, "block_size": 8}),
        ("v.npy", 0.02, {"exact": True, "keep_scores": True, "block_size": 8}),
        ("v.tif", 0.01, {"keep_scores": True, "overwrite": True}),
    ],
    ids=str,
)
def test_killed_at_any_time_it_goes_on_to_the_same_bytes(
    checkpoint: Path, tmp_path: Path, name: str, commit: float, options: dict[str, Any]
) -> None:
    command = [sys.executable, PROGRAM, checkpoint, tmp_path, name, str(commit), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    kills, volumes = map(int, done.stdout.split())
    assert kills >= 20
    assert volumes >= 1
