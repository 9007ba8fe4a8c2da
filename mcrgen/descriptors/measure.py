"""The curves of one phase of one medium, measured in one pass over its planes: in memory or from a file, 2D or 3D."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcrgen.descriptors.bits import BitBlock, Shift, count_all
from mcrgen.descriptors.n_point import positions
from mcrgen.descriptors.polytopes import POLYTOPES, largest_edge, section_configurations
from mcrgen.descriptors.run_lengths import RunLengths, RunsAcrossSlabs, run_lengths
from mcrgen.errors import InputError

AXES = {2: "yx", 3: "zyx"}
NORMALS = {2: "z", 3: "zyx"}
POLYTOPE_CURVES = ("p3h", "p3v", "p4", "p6")
CURVES = ("s2", "lineal_path", "chord_length", *POLYTOPE_CURVES)

_SLAB_VOXELS = 1 << 24

Planes = Callable[[int, int], NDArray[np.bool_]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A descriptor over lags 0, 1, 2, ... voxels.

    Attributes:
        parts: axis (``z``, ``y``, ``x``) or section normal -> values.
        order: n of an n-point probability, whose scaled autocovariance can be taken; None for other curves.
    """

    parts: dict[str, Floats]
    order: int | None = None

    @cached_property
    def mean(self) -> Floats:
        """Mean over the parts."""
        mean: Floats = np.mean(list(self.parts.values()), axis=0)
        return mean


@dataclass(frozen=True)
class Measurement:
    """Descriptors of the phase of interest in one medium.

    Attributes:
        shape: ``(H, W)`` or ``(D, H, W)`` in voxels.
        fraction: phase fraction.
        interface_density: axis -> phase changes per voxel length of a test line.
        curves: name -> curve; see :data:`CURVES`.
        maps: section normal -> autocovariance map, the zero lag in the centre; a 2D medium has the one normal ``z``.
    """

    shape: tuple[int, ...]
    fraction: float
    interface_density: dict[str, float]
    curves: dict[str, Curve]
    maps: dict[str, Floats]

    @property
    def specific_surface(self) -> float:
        """S_V = 2 P_L in 1/voxel; see :func:`mcrgen.descriptors.specific_surface.specific_surface`."""
        return 2.0 * float(np.mean(list(self.interface_density.values())))

    @property
    def variation(self) -> float:
        """Normalised total variation; see :func:`mcrgen.descriptors.variation.normalised_variation`."""
        return float(sum(self.interface_density.values()))


def measure(
    phase: NDArray[np.bool_],
    *,
    max_lag: int,
    curves: Iterable[str] = CURVES,
    map_lag: int | None = None,
) -> Measurement:
    """Measure a medium in memory; see :func:`measure_planes`.

    Args:
        phase: ``(H, W)`` or ``(D, H, W)``, where the phase of interest is.
        max_lag: largest lag in voxels.
        curves: which of :data:`CURVES`.
        map_lag: largest lag of the autocovariance maps of sections; None for no maps.
    """
    volume = phase.reshape(_volume(phase.shape))
    return measure_planes(lambda start, stop: volume[start:stop], phase.shape, max_lag=max_lag, curves=curves, map_lag=map_lag)


def measure_planes(
    planes: Planes,
    shape: tuple[int, ...],
    *,
    max_lag: int,
    curves: Iterable[str] = CURVES,
    map_lag: int | None = None,
    images: int = 1,
    slab: int | None = None,
    advance: Callable[[int], None] = lambda planes: None,
) -> Measurement:
    """Measure a medium slab by slab, each read once; the memory is that of a slab and of the planes its shifts reach into.

    All estimators are those of the finite window, made of integer counts: the result does not depend on the slabs. S2 as in
    :func:`~mcrgen.descriptors.two_point.two_point_correlation`, the lineal path as in
    :func:`~mcrgen.descriptors.lineal_path.lineal_path`, chords as in
    :func:`~mcrgen.descriptors.chord_length.chord_length_distribution` (complete chords, up to the longest there is), polytopes
    as in :func:`~mcrgen.descriptors.polytopes.polytope_function` (up to the largest that fits), maps as in
    :func:`~mcrgen.descriptors.two_point.autocovariance_map` with the medium's phase fraction as the mean.

    Args:
        planes: ``planes(start, stop)`` gives planes along z as ``(stop - start, H, W)``; a 2D medium is one plane.
        shape: ``(H, W)`` or ``(D, H, W)``.
        max_lag: largest lag in voxels, below every edge.
        curves: which of :data:`CURVES`.
        map_lag: largest lag of the autocovariance maps; None for no maps.
        images: number of separate images of a 2D shape, which are the planes, and are measured as samples of one medium.
        slab: planes of a slab; by default as many as make 16 million voxels.
        advance: called with the number of planes done.

    Raises:
        InputError: an axis of a single voxel, or a lag that does not fit.
    """
    curves = tuple(curves)
    if min(shape) < 2:
        raise InputError(f"shape: expected 2 voxels or more along every axis, got {tuple(shape)}.")
    for name, lag in (("max_lag", max_lag), ("map_lag", map_lag or 0)):
        if not 0 <= lag < min(shape):
            raise InputError(f"{name}: expected 0 to {min(shape) - 1} for a medium of {tuple(shape)}, got {lag}.")
    plan = _Plan(shape, curves, max_lag, map_lag, images)
    volume = plan.volume
    slab = slab or max(1, _SLAB_VOXELS // (volume[1] * volume[2]))
    counts = np.zeros(len(plan.configurations), np.int64)
    runs = _Runs(volume, flat=len(shape) == 2)
    projections = _Projections(volume, "" if map_lag is None else NORMALS[len(shape)])
    held = planes(0, min(slab, volume[0]))
    for start in range(0, volume[0], slab):
        stop = min(start + slab, volume[0])
        wanted = min(stop + max(plan.halo, slab), volume[0])
        held = np.concatenate([held, planes(start + len(held), wanted)]) if wanted > start + len(held) else held
        if plan.configurations:
            block = BitBlock(held[None, : min(len(held), stop - start + plan.halo)], plan.reach)
            counts += count_all(block, plan.configurations, stop - start)[0]
        runs.add(held[: stop - start])
        projections.add(held[: stop - start], start)
        held = held[stop - start :]
        advance(stop - start)
    return plan.measurement(counts, runs.total(), projections.images)


class _Plan:
    """Which configurations are counted, and what becomes of the counts."""

    def __init__(self, shape: tuple[int, ...], curves: Sequence[str], max_lag: int, map_lag: int | None, images: int) -> None:
        self.shape = shape
        self.curves = curves
        self.max_lag = max_lag
        self.map_lag = map_lag
        self.volume = _volume(shape, images)
        self.first_axis = 3 - len(shape)
        self.wanted: dict[tuple[str, str], list[list[Shift]]] = {}
        for name in curves:
            if name == "s2":
                self._add_s2()
            elif name in POLYTOPES:
                self._add_polytope(name)
        if map_lag is not None:
            self._add_maps(map_lag)
        self.configurations = [c for configurations in self.wanted.values() for c in configurations]
        self.halo = max((dz for c in self.configurations for dz, _, _ in c), default=0)
        self.reach = max((dx for c in self.configurations for _, _, dx in c), default=0)

    def _add_s2(self) -> None:
        for i, name in enumerate(AXES[len(self.shape)], start=self.first_axis):
            self.wanted["s2", name] = [[(0, 0, 0), _along(i, r)] for r in range(self.max_lag + 1)]

    def _add_polytope(self, kind: str) -> None:
        lags = range(min(self.max_lag, largest_edge(kind, self.shape)) + 1)
        for normal, name in enumerate(NORMALS[len(self.shape)]):
            self.wanted[kind, name] = [
                _from_zero(figure) for r in lags for figure in section_configurations(kind, r, 3, normal)
            ]

    def _add_maps(self, lag: int) -> None:
        for normal, name in enumerate(NORMALS[len(self.shape)]):
            self.wanted["map", name] = [
                _from_zero([_in_section((0, 0), normal), _in_section(step, normal)]) for step in half_square(lag)
            ]

    def measurement(self, counts: NDArray[np.int64], runs: dict[str, RunLengths], images: dict[str, Floats]) -> Measurement:
        values: dict[tuple[str, str], Floats] = {}
        first = 0
        for key, configurations in self.wanted.items():
            number = [positions(c, self.volume) for c in configurations]
            values[key] = counts[first : first + len(configurations)] / number
            first += len(configurations)
        last_axis = AXES[len(self.shape)][-1]
        fraction = float(runs[last_axis].fraction()[0])
        return Measurement(
            tuple(self.shape),
            fraction,
            {name: float(r.interface_density()[0]) for name, r in runs.items()},
            {name: self._curve(name, values, runs) for name in self.curves},
            {name: _covariance(v, images[name], fraction, self.map_lag or 0) for (k, name), v in values.items() if k == "map"},
        )

    def _curve(self, name: str, values: dict[tuple[str, str], Floats], runs: dict[str, RunLengths]) -> Curve:
        if name == "lineal_path":
            return Curve({axis: r.lineal_path(self.max_lag)[0] for axis, r in runs.items()})
        if name == "chord_length":
            longest = max(int(np.flatnonzero(r.chords[0]).max(initial=0)) for r in runs.values())
            return Curve({axis: _density(r, longest) for axis, r in runs.items()})
        order = 2 if name == "s2" else POLYTOPES[name].order
        return Curve({part: v for (key, part), v in values.items() if key == name}, order)


def _volume(shape: Sequence[int], images: int = 1) -> Shift:
    """2D media as a volume of one plane each."""
    d, h, w = (images,) * (3 - len(shape)) + tuple(shape)
    return d, h, w


def _along(axis: int, r: int) -> Shift:
    z, y, x = (r if i == axis else 0 for i in range(3))
    return z, y, x


def _in_section(step: tuple[int, int], normal: int) -> tuple[int, ...]:
    return (*step[:normal], 0, *step[normal:])


def _from_zero(configuration: Iterable[tuple[int, ...]]) -> list[Shift]:
    shifts = np.array(list(configuration))
    return [(int(z), int(y), int(x)) for z, y, x in shifts - shifts.min(axis=0)]


def half_square(lag: int) -> list[tuple[int, int]]:
    """Steps (row, column) up to ``lag`` either way, one of each pair of opposite ones."""
    return [(dy, dx) for dy in range(lag + 1) for dx in range(-lag, lag + 1) if dy > 0 or dx >= 0]


def _density(runs: RunLengths, longest: int) -> Floats:
    """Share of the chords of each length; an axis shorter than the longest chord of another has none of those."""
    chords = np.zeros(longest + 1)
    found = runs.chords[0, : longest + 1]
    chords[: len(found)] = found
    density: Floats = chords / max(1.0, chords.sum())
    return density


def _covariance(pairs: Floats, image: Floats, mean: float, lag: int) -> Floats:
    """Covariance map of sections from their pair probabilities and the mean of all sections.

    <(I(x) - m) (I(x + r) - m)> = P(r) - m (<I(x)> + <I(x + r)>) + m^2, where the two means are over the windows that x and
    x + r run through.
    """
    h, w = image.shape
    summed = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    result = np.empty((2 * lag + 1, 2 * lag + 1))

    def window_mean(top: int, left: int, dy: int, dx: int) -> float:
        bottom, right = top + h - dy, left + w - dx
        total = summed[bottom, right] - summed[top, right] - summed[bottom, left] + summed[top, left]
        return float(total / ((h - dy) * (w - dx)))

    for probability, (dy, dx) in zip(pairs, half_square(lag), strict=True):
        means = window_mean(0, max(0, -dx), dy, abs(dx)) + window_mean(dy, max(0, dx), dy, abs(dx))
        value = probability - mean * means + mean**2
        result[lag + dy, lag + dx] = result[lag - dy, lag - dx] = value
    return result


class _Runs:
    """Run lengths along every axis."""

    def __init__(self, volume: Shift, *, flat: bool) -> None:
        self.flat = flat
        self.across = RunsAcrossSlabs(volume[0])
        self.within: dict[str, RunLengths] = {}

    def add(self, slab: NDArray[np.bool_]) -> None:
        for plane in slab:
            for name, lines in (("y", plane.T), ("x", plane)):
                found = run_lengths(lines[None])
                self.within[name] = self.within[name] + found if name in self.within else found
        if not self.flat:
            self.across.add(slab)

    def total(self) -> dict[str, RunLengths]:
        across = {} if self.across.total is None else {"z": self.across.total}
        return across | self.within


class _Projections:
    """Mean of all sections normal to each axis."""

    def __init__(self, volume: Shift, normals: str) -> None:
        d, h, w = volume
        self.images = {n: np.zeros(s) for n, s in zip("zyx", ((h, w), (d, w), (d, h)), strict=True) if n in normals}
        self.shape = volume

    def add(self, slab: NDArray[np.bool_], start: int) -> None:
        if "z" in self.images:
            self.images["z"] += slab.sum(axis=0) / self.shape[0]
        for axis, name in ((1, "y"), (2, "x")):
            if name in self.images:
                self.images[name][start : start + len(slab)] = slab.mean(axis=axis)
