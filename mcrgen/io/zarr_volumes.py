"""Volumes as OME-Zarr stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.io.journal import Triple
from mcrgen.io.pyramid import halved, level_shapes
from mcrgen.io.staging import Slices, StagedVolume
from mcrgen.io.volume_info import VolumeInfo

if TYPE_CHECKING:
    import zarr

CHUNK = 64
"""Edge length in voxels of what is compressed, and read, as one."""
_SHARD = 4 * CHUNK  # a file: 16 MiB before compression, 64 files for 1024 voxels cubed
_AXES = ("z", "y", "x")

Read = Callable[[Slices], NDArray[np.uint8]]


def write_zarr(staged: StagedVolume, target: Path, info: VolumeInfo) -> None:
    """Write a Zarr v3 group with the volume as its array ``0``, compressed and sharded, in the memory of a few shards.

    The metadata are those of OME-NGFF 0.5 (https://ngff.openmicroscopy.org/0.5/), and beside them the attribute ``mcrgen``. A
    pyramid has the arrays ``1``, ``2`` and so on, each made from the one before (:func:`mcrgen.io.pyramid.halved`), until the
    longest edge fits into a chunk.

    Args:
        staged: the volume.
        target: the folder to write.
        info: what the store tells beside its labels.
    """
    import zarr

    shapes = level_shapes(staged.shape, CHUNK) if info.pyramid else [staged.shape]
    attributes = {"ome": ome_metadata(info.voxel_size_um, shapes), **({"mcrgen": dict(info.metadata)} if info.metadata else {})}
    group = zarr.create_group(target, zarr_format=3, attributes=attributes)
    read: Read = staged.read
    for level, shape in enumerate(shapes):
        array = _array(group, str(level), shape)
        for box in _boxes(shape, array.shards):
            array[box] = read(box)
        read = partial(_read_halved, array)


def ome_metadata(voxel_size_um: float | None, shapes: list[Triple]) -> dict[str, Any]:
    """The ``ome`` attribute of an image group.

    Args:
        voxel_size_um: edge length of a voxel in micrometres; None: the scale is 1 without a unit.
        shapes: (D, H, W) of the arrays ``0``, ``1`` and so on, each halved from the one before.
    """
    unit = {} if voxel_size_um is None else {"unit": "micrometer"}
    multiscale: dict[str, Any] = {"axes": [{"name": axis, "type": "space", **unit} for axis in _AXES], "datasets": []}
    steps = [1, 1, 1]  # of a level, in voxels of level 0; an axis of a single voxel stays as it is
    for level, shape in enumerate(shapes):
        placed = _transformations(steps, voxel_size_um or 1.0)
        multiscale["datasets"].append({"path": str(level), "coordinateTransformations": placed})
        steps = [step * min(length, 2) for step, length in zip(steps, shape, strict=True)]
    if len(shapes) > 1:
        multiscale["type"] = "mode"
    return {"version": "0.5", "multiscales": [multiscale]}


def _transformations(steps: list[int], edge: float) -> list[dict[str, Any]]:
    """Where voxel centres lie: those of a coarse level amid the voxels of level 0 that it covers."""
    scale = {"type": "scale", "scale": [step * edge for step in steps]}
    translation = {"type": "translation", "translation": [(step - 1) / 2 * edge for step in steps]}
    return [scale] if max(steps) == 1 else [scale, translation]


def _array(group: zarr.Group, name: str, shape: Triple) -> Any:
    from zarr.codecs import BloscCodec

    return group.create_array(
        name,
        shape=shape,
        dtype="uint8",
        chunks=(CHUNK,) * 3,
        shards=tuple(min(_SHARD, CHUNK * -(-length // CHUNK)) for length in shape),
        compressors=BloscCodec(typesize=1, cname="zstd", clevel=5, shuffle="bitshuffle"),  # half of what plain zstd leaves
        fill_value=0,
        dimension_names=_AXES,
    )


def _read_halved(finer: Any, box: Slices) -> NDArray[np.uint8]:
    """A box of the level after the array ``finer``, of which one shard at a time is read."""
    shape = tuple(each.stop - each.start for each in box)
    labels = np.empty(shape, np.uint8)
    for part in _boxes(shape, (_SHARD // 2,) * 3):
        z, y, x = (slice(2 * (b.start + p.start), 2 * (b.start + p.stop)) for b, p in zip(box, part, strict=True))
        labels[part] = halved(finer[z, y, x])
    return labels


def _boxes(shape: tuple[int, ...], edges: tuple[int, ...]) -> Iterator[Slices]:
    spans = [range(0, length, edge) for length, edge in zip(shape, edges, strict=True)]
    for start in itertools.product(*spans):
        z, y, x = (slice(a, min(a + edge, length)) for a, edge, length in zip(start, edges, shape, strict=True))
        yield z, y, x
