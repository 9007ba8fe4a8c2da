"""The formats of a volume: what each can hold, what its staged file begins with, and what becomes of that in the end."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from mcrgen.errors import InputError
from mcrgen.io.images import TIFF_SUFFIXES
from mcrgen.io.journal import Triple, sync
from mcrgen.io.staging import StagedVolume, beside
from mcrgen.io.tiff_volumes import write_tiff
from mcrgen.io.volume_info import VolumeInfo
from mcrgen.io.zarr_volumes import write_zarr

VOLUME_SUFFIXES = (*TIFF_SUFFIXES, ".npy", ".raw", ".zarr")
_CONVERSIONS: dict[str, Callable[[StagedVolume, Path, VolumeInfo], None]] = {
    **dict.fromkeys(TIFF_SUFFIXES, write_tiff),
    ".zarr": write_zarr,
}
_INT32, _INT64 = 2**31 - 1, 2**63 - 1


def require_addressable(path: Path, shape: Triple, voxel_bytes: int = 1) -> None:
    """Raise unless the format of ``path`` can count the voxels of a volume.

    File offsets have 63 bits, and every format is staged as one flat file. A TIFF counts rows and columns with 32 bits, and
    tifffile and libtiff read any such page; but Java, which Fiji and Bio-Formats are written in, indexes the voxels of a
    plane, and the planes of a stack, with 31 bits.

    Args:
        path: the volume.
        shape: (D, H, W) in voxels.
        voxel_bytes: size of a voxel.

    Raises:
        InputError: it cannot; the message names the formats that can.
    """
    depth, height, width = shape
    others = "use .zarr, .npy or .raw"
    if voxel_bytes * prod(shape) + len(header(path, shape)) > _INT64:
        raise InputError(
            f"size: a file holds at most {_INT64} bytes, {voxel_bytes} a voxel, {depth} x {height} x {width} were asked for; "
            "choose a smaller size."
        )
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return
    if height * width > _INT32:
        raise InputError(f"size: a TIFF holds at most {_INT32} voxels in a plane, {height} x {width} were asked for; {others}.")
    if depth > _INT32:
        raise InputError(f"size: a TIFF holds at most {_INT32} planes, {depth} were asked for; {others}.")


def require_pyramid(path: Path) -> None:
    """Raise unless the format of ``path`` holds a volume at several resolutions.

    Raises:
        InputError: it does not.
    """
    if path.suffix.lower() != ".zarr":
        raise InputError(f"pyramid: only .zarr holds several resolutions, got '{path}'; use a name ending in .zarr or none.")


def header(path: Path, shape: Triple, dtype: str = "uint8", channels: int = 1) -> bytes:
    """What comes before the voxels in the staged file, so that it needs nothing but its name where the format is flat."""
    stored = shape if channels == 1 else (channels, *shape)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.lib.format.write_array_header_1_0(buffer, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": stored})
    return buffer.getvalue()


def finished(staged: StagedVolume, path: Path, info: VolumeInfo) -> Path:
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
        convert(staged, ready, info)
        for each in (ready, *ready.rglob("*")):
            sync(each)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            _remove(ready)
        raise
    return ready


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
