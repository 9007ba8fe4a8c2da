"""n-point polytope functions: triangles, squares and hexagons whose corners all lie in one phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from torch import Tensor

from mcrgen.descriptors.module import Descriptor
from mcrgen.descriptors.n_point import n_point_probability
from mcrgen.errors import InputError, near_name

Corner = tuple[int, int]


def _half(r: int) -> int:
    return int(r / 2 + 0.5)


def _height(r: int) -> int:
    return int(r * sqrt(3) / 2 + 0.5)


def _pair(r: int) -> list[Corner]:
    return [(0, 0), (0, r)]


def _triangle(r: int) -> list[Corner]:
    return [(0, 0), (0, r), (_height(r), _half(r))]


def _square(r: int) -> list[Corner]:
    return [(0, 0), (0, r), (r, 0), (r, r)]


def _hexagon(r: int) -> list[Corner]:
    h, a = _height(r), _half(r)
    return [(0, a), (0, a + r), (h, 0), (h, 2 * r), (2 * h, a), (2 * h, a + r)]


def _turned(figure: Callable[[int], list[Corner]]) -> Callable[[int], list[Corner]]:
    return lambda r: [(column, row) for row, column in figure(r)]


@dataclass(frozen=True)
class Polytope:
    """A regular figure in the plane of a section.

    Attributes:
        order: number n of its corners.
        label: name in figures.
        figures: edge length in voxels -> corners (row, column), rounded to the nearest voxel; probabilities are averaged over
            the figures.
    """

    order: int
    label: str
    figures: tuple[Callable[[int], list[Corner]], ...]


POLYTOPES = {
    "p2": Polytope(2, "$P_2$", (_pair, _turned(_pair))),
    "p3h": Polytope(3, "$P_{3H}$", (_triangle,)),
    "p3v": Polytope(3, "$P_{3V}$", (_turned(_triangle),)),
    "p4": Polytope(4, "$P_4$", (_square,)),
    "p6": Polytope(6, "$P_6$", (_hexagon,)),
}


def polytope_function(indicator: Tensor, kind: str, max_lag: int, *, periodic: bool = False) -> Tensor:
    """n-point polytope function P_n(r): probability that all n corners of a regular polygon of edge r lie in the phase.

    ``p2`` (pairs along the rows and along the columns), ``p3h`` and ``p3v`` (equilateral triangles with the base along the
    rows or along the columns), ``p4`` (squares), ``p6`` (regular hexagons with an edge along the rows), at the orientation
    given by the pixel grid (Chen, Xu, Chawla, Ren, Jiao, Acta Mater. 179 (2019) 317; Amiri et al., Sci. Rep. 13 (2023) 1732).
    The mean is taken over all positions, not over a random sample of them as in the papers; finite window or periodic as in
    :func:`~mcrgen.descriptors.n_point.n_point_probability`.

    Args:
        indicator: ``(B, C, H, W)`` or ``(B, C, D, H, W)``.
        kind: one of ``p2``, ``p3h``, ``p3v``, ``p4``, ``p6``.
        max_lag: largest edge length in voxels.
        periodic: wrap around.

    Returns:
        ``(B, C, P, max_lag + 1)`` float64 for P section normals: one for slices, z, y, x for volumes; within a section the
        later axis is the columns'.

    Raises:
        InputError: an unknown kind, or an edge with which the figure does not fit into a section.
    """
    shape = tuple(indicator.shape[2:])
    largest = largest_edge(kind, shape)
    if not 0 <= max_lag <= (max_lag if periodic else largest):
        raise InputError(f"max_lag: expected 0 to {largest} for {kind} in a medium of {shape}, got {max_lag}.")
    normals = range(3 if len(shape) == 3 else 1)
    lags = range(max_lag + 1)
    configurations = [c for normal in normals for r in lags for c in section_configurations(kind, r, len(shape), normal)]
    values = n_point_probability(indicator, configurations, periodic=periodic)
    return values.reshape(*indicator.shape[:2], len(normals), max_lag + 1, -1).mean(dim=-1)


class PolytopeFunction(Descriptor):
    """:func:`polytope_function` with its settings."""

    function = staticmethod(polytope_function)


def section_configurations(kind: str, r: int, dimension: int, normal: int) -> list[list[tuple[int, ...]]]:
    """The figures of edge ``r`` as voxel shifts, in a 2D medium or in the sections normal to an axis of a volume."""
    figures = [figure(r) for figure in _polytope(kind).figures]
    if dimension == 2:
        return [[tuple(corner) for corner in figure] for figure in figures]
    return [[(*corner[:normal], 0, *corner[normal:]) for corner in figure] for figure in figures]


def largest_edge(kind: str, shape: tuple[int, ...]) -> int:
    """Largest edge length with which a figure fits into every section of a medium."""
    polytope = _polytope(kind)
    sections = [shape] if len(shape) == 2 else [shape[:n] + shape[n + 1 :] for n in range(3)]
    r = 0
    while all(
        max(corner[i] for corner in figure(r + 1)) < section[i]
        for section in sections
        for figure in polytope.figures
        for i in range(2)
    ):
        r += 1
    return r


def _polytope(kind: str) -> Polytope:
    if kind not in POLYTOPES:
        raise InputError(f"kind: expected one of {', '.join(POLYTOPES)}, got '{kind}'{near_name(kind, POLYTOPES)}.")
    return POLYTOPES[kind]
