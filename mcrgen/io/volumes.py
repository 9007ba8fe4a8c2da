"""Volumes written block by block, by one process or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcrgen.io.journal import Triple, plain
from mcrgen.io.volume_formats import require_addressable, require_pyramid
from mcrgen.io.volume_info import VolumeInfo
from mcrgen.io.volume_output import require_volume_suffix
from mcrgen.io.volume_writer import VolumePart, VolumeWriter


def open_volume(
    path: Path,
    shape: Triple,
    voxel_size_um: float | None,
    *,
    run: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    metadata: Mapping[str, Any] | None = None,
    pyramid: bool = False,
    dtype: str = "uint8",
    channels: int = 1,
) -> VolumeWriter:
    """The writer for a volume, which on entering goes on with what an interrupted run has left.

    Args:
        path: ``.tif``, ``.tiff``, ``.npy``, ``.raw`` (uint8 without a header, x fastest) or ``.zarr`` (OME-Zarr).
        shape: (D, H, W) in voxels.
        voxel_size_um: edge length of a voxel in micrometres, or None if unknown.
        run: plain data that settles the labels and the blocks. None: the labels are unknown, so that nothing can be gone on
            with, and the volume replaces what has its name.
        overwrite: replace a finished volume, discard the blocks of another run.
        metadata: plain data to write into the volume where its format has room (:class:`mcrgen.io.volume_info.VolumeInfo`).
        pyramid: write coarser resolutions beside it (``.zarr``).
        dtype: type of a voxel; other than uint8 for ``.npy`` and ``.raw`` only.
        channels: values per voxel; with several the file has the shape (C, D, H, W).

    Raises:
        InputError: another suffix, a size or a pyramid that the format cannot hold; on entering, the output is being written
            or was begun by another run, exists, or cannot be written; no space left.
    """
    require_volume_suffix(path)
    require_addressable(path, shape, np.dtype(dtype).itemsize * channels)
    if pyramid:
        require_pyramid(path)
    info = VolumeInfo(voxel_size_um, plain(metadata or {}), pyramid)
    return VolumeWriter(path, shape, info, run=run, overwrite=overwrite, dtype=dtype, channels=channels)


def join_volume(
    path: Path,
    shape: Triple,
    voxel_size_um: float | None,
    *,
    run: Mapping[str, Any],
    rank: int,
    pyramid: bool = False,
    dtype: str = "uint8",
    channels: int = 1,
) -> VolumePart:
    """Another process's way to write blocks of a volume that :func:`open_volume` has been entered for, with equal arguments.

    Args:
        path: as there.
        shape: as there.
        voxel_size_um: as there.
        run: as there.
        rank: number of this process, 1 or more.
        pyramid: as there.
        dtype: as there.
        channels: as there.

    Raises:
        InputError: on entering: nothing of that run is there, or another process with that number is still writing.
    """
    info = VolumeInfo(voxel_size_um, pyramid=pyramid)
    return VolumePart(path, shape, info, run=run, rank=rank, dtype=dtype, channels=channels)


def stored_bytes(path: Path) -> int:
    """Size on disk of a volume that is a file or a Zarr store."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
