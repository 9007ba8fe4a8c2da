"""Reconstructions small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from mcrgen import config
from mcrgen.commands import reconstruct
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands.reconstruct import ReconstructResult
from mcrgen.io.provenance import sidecar

_SHARED = ["descriptors.limit=3", "optimization.device=cpu", "logging.wandb=disabled"]
TINY = [*_SHARED, "optimization.max_steps=6", "optimization.coarse_steps=2", "record.checkpoint_every=2"]
TINY_ANNEALING = [*_SHARED, "annealing.swaps=20"]
CURVES = "descriptors.names=[s2,lineal_path]"
ANNEALED = ["method=annealing", CURVES]


def tiny_reconstruction(paths: list[Path], size: tuple[int, ...], *overrides: str) -> ReconstructConfig:
    """A reconstruction of a fraction of a second."""
    where = [f"paths=[{','.join(map(str, paths))}]", f"size=[{','.join(map(str, size))}]"]
    tiny = TINY_ANNEALING if "method=annealing" in overrides else TINY
    return config.load(ReconstructConfig, None, [*where, *tiny, *overrides])


def run(paths: list[Path], size: tuple[int, ...], *overrides: str) -> ReconstructResult:
    """Run :func:`tiny_reconstruction`."""
    return reconstruct.run(tiny_reconstruction(paths, size, *overrides))


def read(path: Path) -> NDArray[np.uint8]:
    """The labels 0..n-1 in a file."""
    labels: NDArray[np.uint8]
    if path.suffix == ".zarr":
        labels = np.asarray(zarr.open_group(path, mode="r")["0"])
    elif path.suffix == ".png":
        values = np.asarray(Image.open(path))
        labels = np.searchsorted(np.unique(values), values).astype(np.uint8)
    else:
        labels = np.load(path) if path.suffix == ".npy" else tifffile.imread(path)
    return labels


def record(output: Path) -> dict[str, Any]:
    """What stands beside an output."""
    found: dict[str, Any] = json.loads(sidecar(output).read_text())
    return found
