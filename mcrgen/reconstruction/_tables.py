"""The arrays that the compiled kernels work on: the medium with a margin, and the counts with what they are compared to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.reconstruction.energies import Group, Vector

_MOST = 1 << 31

# Kernels hold these as constants, and numba's cache of them heeds changes of their own file alone.
NOTHING = np.uint8(255)
"""Label outside a finite medium, and of the two voxels while they are being swapped."""

PAIRS, SEGMENTS, FIGURES = range(3)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Field(NamedTuple):
    """The medium, every axis with a margin that repeats it or is empty, so that no lag needs to be wrapped.

    Attributes:
        labels: flat labels with their margins, always three axes (a slice has one voxel along the first).
        voxels: positions in ``labels`` of the medium's own voxels, phase by phase.
        starts: ``(n + 1,)`` where each phase begins in ``voxels``.
        shape: ``(3,)`` of the medium.
        padded: ``(3,)`` with the margins.
        margin: ``(3,)`` before the medium.
        neighbours: steps in ``labels`` to the next voxel along each axis.
        copies: 1 where the margins repeat the medium, 0 where they are empty.
    """

    labels: NDArray[np.uint8]
    voxels: NDArray[np.int32]
    starts: Ints
    shape: Ints
    padded: Ints
    margin: Ints
    neighbours: Ints
    copies: int


class Tables(NamedTuple):
    """Counts, group by group, with their targets.

    Attributes:
        groups: ``(G, 6)`` kind, phase, first and last + 1 of the values, steps in the labels of the first lag and from one lag
            to the next.
        counts: ``(V,)`` exact numbers of positions at which the descriptor is one.
        deltas: ``(V,)`` what the swap at hand changes.
        targets: ``(V,)`` in units of the counts, real.
        factors: ``(V,)`` of the squared deviations of the counts in the energy.
        energies: ``(G,)`` sums of the groups.
        trials: ``(G,)`` the same after the swap at hand.
        first_corner: ``(V + 1,)`` where the rows of each value begin in ``corners``.
        corners: one row for each vertex of each polytope, placed at the origin: the number of other vertices and their steps.
    """

    groups: Ints
    counts: Ints
    deltas: NDArray[np.int32]
    targets: Floats
    factors: Floats
    energies: Floats
    trials: Floats
    first_corner: Ints
    corners: Ints


def make_field(medium: NDArray[np.uint8], phases: int, groups: Sequence[Group], *, periodic: bool) -> Field:
    """The field of a medium, its voxels in order of place."""
    solid = _three(medium.shape, 1)
    reach = [max(1, *(_reach(group, axis) for group in groups)) for axis in range(medium.ndim)]
    margin = _three(tuple(reach), 0)
    # Odd edges: with even ones the voxels along an axis would share a few sets of the cache.
    after = [m + (m > 0 and (n + 2 * m) % 2 == 0) for n, m in zip(solid, margin, strict=True)]
    if prod(n + m + a for n, m, a in zip(solid, margin, after, strict=True)) > _MOST:
        raise InputError(f"medium: expected at most 2^31 voxels with the largest lag added on each side, got {medium.shape}.")
    margins = tuple(zip(margin, after, strict=True))
    volume = medium.reshape(solid)
    wide = np.pad(volume, margins, mode="wrap") if periodic else np.pad(volume, margins, constant_values=NOTHING)
    places = np.arange(wide.size, dtype=np.int32).reshape(wide.shape)[inner(solid, margin)]
    starts = np.concatenate([[0], np.cumsum(np.bincount(medium.ravel(), minlength=phases))])
    order = np.argsort(medium, axis=None, kind="stable")
    steps = [wide.shape[1] * wide.shape[2], wide.shape[2], 1]
    return Field(
        labels=wide.ravel(),
        voxels=places.ravel()[order],
        starts=starts.astype(np.int64),
        shape=np.array(solid, np.int64),
        padded=np.array(wide.shape, np.int64),
        margin=np.array(margin, np.int64),
        neighbours=np.array(steps[3 - medium.ndim :], np.int64),
        copies=int(periodic),
    )


def make_tables(field: Field, groups: Sequence[Group]) -> Tables:
    """Tables of groups, counted."""
    numbers = [len(group.targets) for group in groups]
    ends = np.cumsum(numbers)
    rows = [_row(field, g, end - n, end) for g, n, end in zip(groups, numbers, ends, strict=True)]
    positions = np.concatenate([_positions(field, group) for group in groups])
    corners = [_corners(field, group, i) for group, n in zip(groups, numbers, strict=True) for i in range(n)]
    sizes = [len(c) for c in corners]
    total = int(ends[-1])
    return Tables(
        groups=np.array(rows, np.int64),
        counts=np.concatenate([count(field, group) for group in groups]),
        deltas=np.zeros(total, np.int32),
        targets=np.concatenate([group.targets for group in groups]) * positions,
        factors=np.repeat([group.factor for group in groups], numbers) / positions**2,
        energies=np.zeros(len(rows)),
        trials=np.zeros(len(rows)),
        first_corner=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        corners=np.array([row for c in corners for row in c], np.int64).reshape(-1, 6),
    )


def count(field: Field, group: Group) -> Ints:
    """Numbers of positions at which all vertices, or all voxels of the segment, lie in the phase."""
    phase = (field.labels == group.phase).reshape(field.padded)
    shape, margin = tuple(field.shape.tolist()), field.margin.tolist()
    found, inside = [], phase[inner(shape, margin)]
    for i in range(len(group.targets)):
        vertices = [_three(v, 0) for v in group.vertices(i)]
        views = [phase[inner(shape, [m + s for m, s in zip(margin, v, strict=True)])] for v in vertices]
        # A segment is the one before and a voxel more.
        inside = inside & views[-1] if group.filled else np.logical_and.reduce(views)
        found.append(np.count_nonzero(inside))
    return np.array(found, np.int64)


def inner(shape: Sequence[int], start: Sequence[int]) -> tuple[slice, ...]:
    """The block of a shape at a start."""
    return tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))


def _three(vector: Sequence[int], fill: int) -> Vector:
    return (*(fill,) * (3 - len(vector)), *vector)


def _reach(group: Group, axis: int) -> int:
    """Farthest from one vertex to another along an axis."""
    spans = [[v[axis] for v in group.vertices(i)] for i in range(len(group.targets))]
    return max(max(span) - min(span) for span in spans)


def _place(field: Field, vector: Vector) -> int:
    z, y, x = _three(vector, 0)
    return int((z * field.padded[1] + y) * field.padded[2] + x)


def _row(field: Field, group: Group, first: int, end: int) -> list[int]:
    kind = FIGURES if group.start is None else SEGMENTS if group.filled else PAIRS
    return [kind, group.phase, first, end, _place(field, group.start or ()), _place(field, group.step)]


def _positions(field: Field, group: Group) -> Floats:
    """Number of positions that each value is the mean over."""
    numbers = []
    for i in range(len(group.targets)):
        span = [0, 0, 0] if field.copies else [max(c) - min(c) for c in zip(*group.vertices(i), strict=True)]
        numbers.append(np.prod(field.shape - _three(span, 0)))
    return np.array(numbers, np.float64)


def _corners(field: Field, group: Group, i: int) -> list[list[int]]:
    """Rows of ``Tables.corners`` of one value."""
    if group.start is not None:
        return []
    vertices = group.vertices(i)
    rows = []
    for here, there in product(vertices, repeat=2):
        if there == vertices[0]:
            rows.append([0])
        if there != here:
            rows[-1][0] += 1
            rows[-1].append(_place(field, tuple(a - b for a, b in zip(there, here, strict=True))))
    return [row + [0] * (6 - len(row)) for row in rows]


def window(field: Field) -> NDArray[np.uint8]:
    """The medium without margins, ``(D, H, W)``, a view."""
    shape: Any = tuple(field.shape.tolist())
    return field.labels.reshape(field.padded)[inner(shape, field.margin.tolist())]
