"""What annealing matches: descriptors with their target values, and where in the medium each value is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcrgen.descriptors.polytopes import largest_edge, section_configurations
from mcrgen.errors import InputError, require_positive

Vector = tuple[int, ...]


class Energy(StrEnum):
    """Descriptors whose counts follow a swap of two voxels."""

    s2 = "s2"
    s2_diagonal = "s2_diagonal"
    s2_map = "s2_map"
    lineal_path = "lineal_path"
    p3h = "p3h"
    p3v = "p3v"
    p4 = "p4"
    p6 = "p6"


@dataclass(frozen=True, eq=False)
class EnergyTerm:
    """One descriptor of the energy, sum (D - D*)^2 / sum D*^2 over phases, directions and lags, times a weight.

    At lag 0 it is the phase fraction, which swaps keep: a target of another fraction leaves that much energy for good.

    Attributes:
        energy: the descriptor D.
        targets: its values D*, for each of ``phases`` along the first axis. ``s2``, ``lineal_path``: ``(P, axes, R + 1)``, lags
            0 to R along each spatial axis. ``s2_diagonal``: ``(P, diagonals, R + 1)`` in the order of :func:`diagonals`, a
            lag being a step along both axes. ``s2_map``: ``(P, 2 L + 1, ...)`` as of
            :func:`~mcrgen.descriptors.two_point_map.two_point_map`, the zero lag in the centre; of two opposite lags, which are
            equal, the later one is read. Polytopes: ``(P, normals, R + 1)`` as of
            :func:`~mcrgen.descriptors.polytopes.polytope_function`.
        phases: labels whose indicator D is of. Of two phases one is enough for S2: the other's is the same but for constants.
        weight: factor of the term.
    """

    energy: Energy
    targets: NDArray[np.floating[Any]]
    phases: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Group:
    """Values that are counted and summed together: one direction of one descriptor in one phase, or one row of its map.

    Attributes:
        phase: label of the phase.
        targets: ``(n,)``.
        factor: of a squared deviation in the energy.
        start: lag vector of the first pair or segment; None for polytopes.
        step: difference between one lag vector and the next.
        figures: the vertices of each value's polytope; empty otherwise.
        filled: whether all voxels of the segment must be in the phase, not only its ends.
    """

    phase: int
    targets: NDArray[np.float64]
    factor: float
    start: Vector | None
    step: Vector
    figures: tuple[tuple[Vector, ...], ...]
    filled: bool

    def vertices(self, i: int) -> tuple[Vector, ...]:
        """Vertices of value i, the first one at the origin; of a segment its ends."""
        if self.start is None:
            first = self.figures[i][0]
            shifts = (tuple(a - b for a, b in zip(corner, first, strict=True)) for corner in self.figures[i])
            return tuple(dict.fromkeys(shifts))
        lag = tuple(a + i * b for a, b in zip(self.start, self.step, strict=True))
        return tuple(dict.fromkeys(((0,) * len(lag), lag)))


def diagonals(dimension: int) -> list[Vector]:
    """Steps along the diagonals of the coordinate planes: two in 2D, six in 3D, pairs of axes in order, + before -."""
    found = []
    for first, second in combinations(range(dimension), 2):
        for sign in (1, -1):
            found.append(tuple(1 if i == first else sign if i == second else 0 for i in range(dimension)))
    return found


def groups_of(term: EnergyTerm, shape: Vector) -> list[Group]:
    """The groups of a term in a medium of a shape.

    Raises:
        InputError: targets of a shape that the descriptor does not have, not finite, all zero, or with lags that the medium
            does not have; a weight that is not positive.
    """
    require_positive("weight", term.weight)
    targets = np.asarray(term.targets, dtype=np.float64)
    _require_targets(term, targets, shape)
    make = {Energy.s2: _axes, Energy.lineal_path: _axes, Energy.s2_diagonal: _diagonal, Energy.s2_map: _rows}
    found = [(p, part) for p, t in zip(term.phases, targets, strict=True) for part in make.get(term.energy, _sections)(term, t)]
    norm = sum(float(part.targets @ part.targets) for _, part in found)
    if norm == 0:
        raise InputError(f"targets: expected values of {term.energy} above 0, got zeros only; leave the term out.")
    filled = term.energy is Energy.lineal_path
    return [Group(p, q.targets, term.weight / norm, q.start, q.step, q.figures, filled) for p, q in found]


class _Part(NamedTuple):
    """A group without its phase."""

    targets: NDArray[np.float64]
    start: Vector | None
    step: Vector
    figures: tuple[tuple[Vector, ...], ...] = ()


def _axes(term: EnergyTerm, targets: NDArray[np.float64]) -> Iterator[_Part]:
    zero = (0,) * len(targets)
    for axis, values in enumerate(targets):
        yield _Part(values, zero, (*zero[:axis], 1, *zero[axis + 1 :]))


def _diagonal(term: EnergyTerm, targets: NDArray[np.float64]) -> Iterator[_Part]:
    dimension = 2 if len(targets) == 2 else 3
    for step, values in zip(diagonals(dimension), targets, strict=True):
        yield _Part(values, (0,) * dimension, step)


def _rows(term: EnergyTerm, targets: NDArray[np.float64]) -> Iterator[_Part]:
    """The half of the map behind the zero lag, row by row."""
    limit = len(targets) // 2
    zero, step = (0,) * targets.ndim, (*(0,) * (targets.ndim - 1), 1)
    for row in product(range(-limit, limit + 1), repeat=targets.ndim - 1):
        if row >= zero[1:]:
            first = 0 if row == zero[1:] else -limit
            yield _Part(targets[tuple(limit + r for r in row)][limit + first :], (*row, first), step)


def _sections(term: EnergyTerm, targets: NDArray[np.float64]) -> Iterator[_Part]:
    dimension = 2 if len(targets) == 1 else 3
    for normal, values in enumerate(targets):
        figures = [section_configurations(term.energy.value, r, dimension, normal)[0] for r in range(len(values))]
        yield _Part(values, None, (0,) * dimension, tuple(map(tuple, figures)))


def _require_targets(term: EnergyTerm, targets: NDArray[np.float64], shape: Vector) -> None:
    dimension = len(shape)
    directions = {Energy.s2: dimension, Energy.lineal_path: dimension, Energy.s2_diagonal: len(diagonals(dimension))}
    if term.energy is Energy.s2_map:
        lags = targets.shape[1] // 2 + 1 if targets.ndim > 1 else 0
        expected: tuple[int, ...] = (len(term.phases), *(2 * lags - 1,) * dimension)
        longest = min(shape)
    else:
        lags = targets.shape[-1] if targets.ndim else 0
        expected = (len(term.phases), directions.get(term.energy, 1 if dimension == 2 else 3), lags)
        longest = min(shape) if term.energy in directions else largest_edge(term.energy.value, shape) + 1
    if targets.shape != expected or not term.phases:
        raise InputError(f"targets: expected {term.energy} of the shape {expected}, got {targets.shape}.")
    if not 1 <= lags <= longest:
        raise InputError(f"targets: expected lags up to {longest - 1} of {term.energy} in a medium of {shape}, got {lags - 1}.")
    if not np.isfinite(targets).all():
        raise InputError(f"targets: expected finite values of {term.energy}, got NaN or infinity; measure fewer lags.")
