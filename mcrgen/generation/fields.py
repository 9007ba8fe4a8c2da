"""Scalar fields over the voxel grid: what modulates the noise and the phase fraction of a heterogeneous medium.

Each gives the values of any box (:data:`~mcrgen.generation.noise.ScalarField`), also outside the volume, where a generator
needs them for the halo of its blocks. The value of a voxel does not depend on the box it is asked for with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, Triple
from mcrgen.generation.noise import Period, ScalarField

_STORED_VOXELS = 1 << 22

Read = Callable[[tuple[slice, slice, slice]], NDArray[np.float32]]
"""Gives the values ``(D, H, W)`` of a box (z, y, x) of a stored volume."""


def constant(value: float) -> ScalarField:
    """The same value everywhere."""

    def field(origin: Triple, shape: Triple) -> NDArray[np.float32]:
        return np.full(shape, value, np.float32)

    return field


def ramp(first: float, last: float, axis: int, length: int) -> ScalarField:
    """Linear along an axis from the centre of the first voxel to that of the last one, and constant beyond them.

    Args:
        first: value at voxel 0; everywhere if there is only this one.
        last: value at voxel ``length - 1``.
        axis: 0, 1 or 2 for z, y or x.
        length: of the volume along that axis, in voxels.
    """

    def field(origin: Triple, shape: Triple) -> NDArray[np.float32]:
        place = np.arange(origin[axis], origin[axis] + shape[axis])
        share = np.clip(place / max(1, length - 1), 0.0, 1.0)
        values = (first * (1.0 - share) + last * share).astype(np.float32)
        return np.array(np.broadcast_to(_along(values, axis), shape))

    return field


def moved(field: ScalarField, by: Triple) -> ScalarField:
    """The field whose values at ``by`` are those of ``field`` at (0, 0, 0)."""

    def further(origin: Triple, shape: Triple) -> NDArray[np.float32]:
        z, y, x = (a - b for a, b in zip(origin, by, strict=True))
        return field((z, y, x), shape)

    return further


def zero_in(field: ScalarField, block: Block) -> NDArray[np.bool_]:
    """Where a field, such as a mask, is zero in a block, ``block.shape``."""
    zero: NDArray[np.bool_] = field(block.start, block.shape) == 0
    return zero


def average(field: ScalarField, blocks: Iterable[Block]) -> float:
    """Mean value over all voxels of the blocks."""
    total, voxels = 0.0, 0
    for block in blocks:
        total += float(field(block.start, block.shape).sum(dtype=np.float64))
        voxels += prod(block.shape)
    return total / voxels


def resampled(read: Read, stored: Triple, shape: Triple, period: Period, order: int) -> ScalarField:
    """A stored volume stretched to another size.

    The outer faces of both volumes coincide, and voxels have their values at their centres: voxel ``i`` of n is at the stored
    coordinate ``(i + 1/2) m / n - 1/2`` of m. Beyond the outermost stored centres the values there go on, or the volume
    repeats where there is a period. A volume that is stored finer is not smoothed before. Only what a box needs is read, and
    a few million stored voxels of it at a time.

    Args:
        read: gives the values of a box of the stored volume.
        stored: its shape in voxels.
        shape: of the volume to make, in voxels.
        period: along each axis the volume's own length, if it repeats there, or None.
        order: 1 for linear interpolation, 0 for the nearest value.
    """

    def slab(origin: Triple, box: Triple) -> NDArray[np.float32]:
        axes = [_samples(*of_axis, order) for of_axis in zip(origin, box, stored, shape, period, strict=True)]
        zs, ys, xs = (axis.spans for axis in axes)
        values: NDArray[np.float32] = np.block([[[read((z, y, x)) for x in xs] for y in ys] for z in zs])
        for number, axis in enumerate(axes):
            values = _interpolated(values, axis, number)
        return values

    def field(origin: Triple, box: Triple) -> NDArray[np.float32]:
        per_plane = prod(max(1.0, m / n) * length for m, n, length in zip(stored, shape, (1, *box[1:]), strict=True))
        step = max(1, int(_STORED_VOXELS / per_plane))
        values = np.empty(box, np.float32)
        for start in range(0, box[0], step):
            planes = min(step, box[0] - start)
            values[start : start + planes] = slab((origin[0] + start, *origin[1:]), (planes, *box[1:]))
        return values

    return field


@dataclass(frozen=True)
class _Samples:
    """How the values along an axis come from stored ones.

    Attributes:
        spans: what to read, joined one behind the other.
        below: position therein of the stored value before each sample, or nearest to it.
        above: of the one behind it.
        weight: of the latter; 0 where the former is all.
    """

    spans: list[slice]
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    weight: NDArray[np.float32]


def _samples(start: int, length: int, stored: int, wanted: int, period: int | None, order: int) -> _Samples:
    """Samples of voxels ``start`` to ``start + length`` along an axis, in integers, so that none depends on the others."""
    centres = 2 * np.arange(start, start + length, dtype=np.int64) + 1
    if order == 0:
        below = centres * stored // (2 * wanted)
        rest = np.zeros_like(below)
    else:
        below, rest = np.divmod(centres * stored - wanted, 2 * wanted)
    above = below + (rest > 0)
    if period is None:
        below, above = below.clip(0, stored - 1), above.clip(0, stored - 1)
    spans, first = _spans(int(below.min()), int(above.max()) + 1, stored)
    return _Samples(spans, (below - first) % stored, (above - first) % stored, (rest / (2 * wanted)).astype(np.float32))


def _spans(start: int, stop: int, stored: int) -> tuple[list[slice], int]:
    """Parts of a stored axis that hold a run of coordinates of its periodic continuation, and where the first one begins."""
    if stop - start >= stored:
        return [slice(0, stored)], 0
    first = start % stored
    over = first + stop - start - stored
    return [slice(first, stored), slice(0, over)] if over > 0 else [slice(first, first + stop - start)], first


def _interpolated(values: NDArray[np.float32], samples: _Samples, axis: int) -> NDArray[np.float32]:
    """Interpolate along one axis; between equal values exactly that value comes out."""
    below = values.take(samples.below, axis)
    if samples.weight.any():
        above = values.take(samples.above, axis)
        above -= below
        above *= _along(samples.weight, axis)
        below += above
    return below


def _along(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A line of values laid along an axis of a volume."""
    return values.reshape([-1 if number == axis else 1 for number in range(3)])
