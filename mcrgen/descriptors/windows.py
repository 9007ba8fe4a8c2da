"""Windows of a medium: how much a descriptor scatters between samples of one size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrgen.descriptors.measure import Measurement, measure

Window = tuple[slice, ...]
Read = Callable[[Window], NDArray[np.bool_]]

_MOST = 64
_QUANTILE_95 = 1.96


@dataclass(frozen=True)
class Band:
    """Where 95 % of the curves of windows are expected.

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

    Of more than 64 an even selection is taken.
    """
    counts = [max(1, int(2 * length / edge) - 1) for length in shape]
    starts = [np.linspace(0, length - edge, count).round().astype(int) for length, count in zip(shape, counts, strict=True)]
    windows = [tuple(slice(int(s), int(s) + edge) for s in corner) for corner in itertools.product(*starts)]
    return windows[:: -(-len(windows) // _MOST)]


def random_windows(shape: Sequence[int], edge: int, count: int, rng: np.random.Generator) -> list[Window]:
    """Windows of one edge length at random places."""
    corners = [rng.integers(length - edge + 1, size=count).tolist() for length in shape]
    return [tuple(slice(s, s + edge) for s in corner) for corner in zip(*corners, strict=True)]


def measure_windows(read: Read, windows: Sequence[Window], curves: Sequence[str], max_lag: int) -> list[Measurement]:
    """Measure each window by itself; ``read(window)`` gives where the phase of interest is in it."""
    return [measure(read(window), max_lag=max_lag, curves=curves) for window in windows]


def bands(measurements: Sequence[Measurement], transform: Callable[[Measurement, str], NDArray[np.float64]]) -> dict[str, Band]:
    """Band of each curve: mean and 1.96 standard deviations either way, over windows.

    Args:
        measurements: of at least two windows of one size.
        transform: the curve to take of a measurement and a name, its mean or its scaled form.
    """
    found = {}
    for name in measurements[0].curves:
        curves = [transform(m, name) for m in measurements]
        longest = max(map(len, curves))
        stack = np.stack([np.pad(c, (0, longest - len(c))) for c in curves])  # chord lengths end where a window's longest does
        centre, spread = stack.mean(axis=0), _QUANTILE_95 * stack.std(axis=0, ddof=1)
        found[name] = Band(centre - spread, centre + spread)
    return found
