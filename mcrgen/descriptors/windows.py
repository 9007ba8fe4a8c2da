"""Windows of a medium: how much a descriptor scatters between samples of one size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from mcrgen.descriptors.measure import Measurement, measure

Window = tuple[slice, ...]
Read = Callable[[Window], NDArray[np.bool_]]

_MOST = 64
_BAND = (0.025, 0.975)


@dataclass(frozen=True)
class Band:
    """Where 95 % of the curves of windows lie: it tells how windows of that size scatter, not how far the medium is known.

    Attributes:
        low: lower edge over the lags.
        high: upper edge.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def share_inside(self, curve: NDArray[np.float64]) -> float:
        """Share of the lags at which a curve lies in the band; lags that only one of the two has are left out."""
        n = min(len(curve), len(self.low))
        return float(np.mean((self.low[:n] <= curve[:n]) & (curve[:n] <= self.high[:n])))


def grid_windows(shape: Sequence[int], edge: int) -> list[Window]:
    """Windows of one edge length, evenly spread over a medium from border to border, neighbours overlapping by half or less.

    At most 64: the axes are thinned out evenly, so that in a large medium neighbours need not meet.
    """
    counts = [max(1, int(2 * length / edge) - 1) for length in shape]
    while prod(counts) > _MOST:
        counts[counts.index(max(counts))] -= 1
    starts = [np.linspace(0, length - edge, count).round().astype(int) for length, count in zip(shape, counts, strict=True)]
    return [tuple(slice(int(s), int(s) + edge) for s in corner) for corner in itertools.product(*starts)]


def random_windows(shape: Sequence[int], edge: int, count: int, rng: np.random.Generator) -> list[Window]:
    """Windows of one edge length at random places."""
    corners = [rng.integers(length - edge + 1, size=count).tolist() for length in shape]
    return [tuple(slice(s, s + edge) for s in corner) for corner in zip(*corners, strict=True)]


def measure_windows(read: Read, windows: Sequence[Window], curves: Sequence[str], max_lag: int) -> list[Measurement]:
    """Measure each window by itself; ``read(window)`` gives where the phase of interest is in it."""
    return [measure(read(window), max_lag=max_lag, curves=curves) for window in windows]


def bands(measurements: Sequence[Measurement], transform: Callable[[Measurement, str], NDArray[np.float64]]) -> dict[str, Band]:
    """Band of each curve: the 2.5th and 97.5th percentiles over windows.

    Args:
        measurements: of at least two windows of one size.
        transform: the curve to take of a measurement and a name, its mean or its scaled form.
    """
    found = {}
    for name in measurements[0].curves:
        curves = [transform(m, name) for m in measurements]
        longest = max(map(len, curves))
        stack = np.stack([np.pad(c, (0, longest - len(c))) for c in curves])  # chord lengths end where a window's longest does
        found[name] = Band(*np.quantile(stack, _BAND, axis=0))
    return found
