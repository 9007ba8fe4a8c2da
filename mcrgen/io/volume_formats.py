"""The formats of a volume: what its staged file begins with, and what becomes of that in the end."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mcrgen.io.images import TIFF_SUFFIXES
from mcrgen.io.journal import Triple, sync
from mcrgen.io.staging import StagedVolume, beside
from mcrgen.io.tiff_volumes import write_tiff
from mcrgen.io.zarr_volumes import write_zarr

VOLUME_SUFFIXES = (*TIFF_SUFFIXES, ".npy", ".raw", ".zarr")
_CONVERSIONS: dict[str, Callable[[StagedVolume, Path, float | None], None]] = {
    **dict.fromkeys(TIFF_SUFFIXES, write_tiff),
    ".zarr": write_zarr,
}


def header(path: Path, shape: Triple) -> bytes:
    """What comes before the voxels in the staged file, so that it needs nothing but its name where the format is flat."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def finished(staged: StagedVolume, path: Path, voxel_size_um: float | None) -> Path:
    """Bring a volume with all its blocks into the format of ``path``.

    Returns:
        What has to be renamed to ``path``, on disk: the staged file itself or, for compressed formats, ``NAME.finishing``.
    """
    convert = _CONVERSIONS.get(path.suffix.lower())
    if convert is None:
        return staged.path
    ready = beside(path, "finishing")
    _remove(ready)
    try:
        convert(staged, ready, voxel_size_um)
        for each in (ready, *ready.rglob("*")):
            sync(each)
    except BaseException:
        _remove(ready)
        raise
    return ready


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
