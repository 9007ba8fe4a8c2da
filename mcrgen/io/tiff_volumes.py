"""Volumes as compressed TIFF stacks."""

from __future__ import annotations

from math import prod
from pathlib import Path

import tifffile

from mcrgen.io.images import imagej_tags
from mcrgen.io.staging import StagedVolume

_BIGTIFF_FROM = 4 * 1024**3 - 64 * 1024**2
_SLAB_BYTES = 64 * 1024**2


def write_tiff(staged: StagedVolume, target: Path, voxel_size_um: float | None) -> None:
    """Write a deflate-compressed stack (BigTIFF past 4 GiB) that opens in Fiji and ParaView with its voxel size.

    Args:
        staged: the volume; a slab of 64 MiB, or one page, is held at a time.
        target: the file to write.
        voxel_size_um: edge length of a voxel in micrometres, or None if unknown.
    """
    depth, height, width = staged.shape
    tags = imagej_tags(staged.shape, voxel_size_um)
    pages = max(1, _SLAB_BYTES // (height * width))
    with tifffile.TiffWriter(target, bigtiff=prod(staged.shape) > _BIGTIFF_FROM) as tif:
        for z in range(0, depth, pages):
            for page in staged.read((slice(z, min(z + pages, depth)), slice(0, height), slice(0, width))):
                tif.write(page, photometric="minisblack", compression="zlib", metadata=None, contiguous=False, **tags)
                tags["description"] = None  # of the stack, so on its first page only
