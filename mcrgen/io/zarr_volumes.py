"""Volumes as OME-Zarr stores."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from mcrgen.io.staging import Slices, StagedVolume

CHUNK = 64
"""Edge length in voxels of what is compressed, and read, as one."""
_CHUNKS_PER_SHARD = 4  # a file holds 256 voxels along an edge: 16 MiB before compression, 64 files for 1024 voxels cubed
_AXES = ("z", "y", "x")


def write_zarr(staged: StagedVolume, target: Path, voxel_size_um: float | None) -> None:
    """Write a Zarr v3 group with the volume as its array ``0``, compressed and sharded, in the memory of one shard.

    The metadata are those of OME-NGFF 0.5 (https://ngff.openmicroscopy.org/0.5/), with one resolution level.

    Args:
        staged: the volume.
        target: the folder to write.
        voxel_size_um: edge length of a voxel in micrometres; None: the scale is 1 without a unit.
    """
    import zarr
    from zarr.codecs import BloscCodec

    shards = tuple(CHUNK * min(_CHUNKS_PER_SHARD, -(-length // CHUNK)) for length in staged.shape)
    group = zarr.create_group(target, zarr_format=3, attributes={"ome": ome_metadata(voxel_size_um)})
    array = group.create_array(
        "0",
        shape=staged.shape,
        dtype="uint8",
        chunks=(CHUNK,) * 3,
        shards=shards,
        compressors=BloscCodec(typesize=1, cname="zstd", clevel=5, shuffle="bitshuffle"),  # half of what plain zstd leaves
        fill_value=0,
        dimension_names=_AXES,
    )
    spans = [range(0, length, edge) for length, edge in zip(staged.shape, shards, strict=True)]
    for start in itertools.product(*spans):
        box = _box(start, shards, staged.shape)
        array[box] = staged.read(box)


def ome_metadata(voxel_size_um: float | None) -> dict[str, Any]:
    """The ``ome`` attribute of an image group with one resolution level in the array ``0``."""
    unit = {} if voxel_size_um is None else {"unit": "micrometer"}
    scale = {"type": "scale", "scale": [1.0 if voxel_size_um is None else voxel_size_um] * 3}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": axis, "type": "space", **unit} for axis in _AXES],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
    }


def _box(start: tuple[int, ...], edges: tuple[int, ...], shape: tuple[int, ...]) -> Slices:
    z, y, x = (slice(a, min(a + edge, length)) for a, edge, length in zip(start, edges, shape, strict=True))
    return z, y, x
