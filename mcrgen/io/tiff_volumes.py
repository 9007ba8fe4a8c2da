"""Volumes as compressed TIFF stacks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.io.images import imagej_tags
from mcrgen.io.staging import StagedVolume
from mcrgen.io.volume_info import VolumeInfo

_BIGTIFF_FROM = 4 * 1024**3 - 64 * 1024**2
_PAGE_BYTES = 512  # more than the tags of a page take
_SLAB_BYTES = 64 * 1024**2


def write_tiff(staged: StagedVolume, target: Path, info: VolumeInfo) -> None:
    """Write a deflate-compressed stack (BigTIFF past 4 GiB) that opens in Fiji and ParaView with its voxel size.

    Metadata are a line ``mcrgen={...}`` of JSON after ImageJ's in the description of the first page. Pages are compressed by
    all processors; their number does not change the file.

    Args:
        staged: the volume; a slab of 64 MiB, or one page, is held at a time, and what it is compressed to.
        target: the file to write.
        info: what the file tells beside its labels.
    """
    depth, height, width = staged.shape
    with tifffile.TiffWriter(target, bigtiff=prod(staged.shape) + depth * _PAGE_BYTES > _BIGTIFF_FROM) as tif:
        tif.write(
            _pages(staged),
            shape=staged.shape,
            dtype="uint8",
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            maxworkers=max(1, min(_processors(), _SLAB_BYTES // (height * width))),
            buffersize=_SLAB_BYTES,
            **_tags(staged, info),
        )


def _tags(staged: StagedVolume, info: VolumeInfo) -> dict[str, Any]:
    tags = imagej_tags(staged.shape, info.voxel_size_um)
    if info.metadata:  # JSON escapes what is no ASCII, and line breaks, at which ImageJ's lines would end
        tags["description"] += f"mcrgen={json.dumps(dict(info.metadata), allow_nan=False)}\n"
    return tags


def _pages(staged: StagedVolume) -> Iterator[NDArray[np.uint8]]:
    depth, height, width = staged.shape
    for z in range(depth):
        yield staged.read((slice(z, z + 1), slice(0, height), slice(0, width)))[0]


def _processors() -> int:
    allowed = getattr(os, "sched_getaffinity", None)  # macOS knows no affinity
    return len(allowed(0)) if allowed else os.cpu_count() or 1
