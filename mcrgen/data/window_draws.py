"""Drawing windows, all alike or so that all phases are seen equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.data.sliding_windows import SlidingWindows
from mcrgen.data.window_shares import window_counts


class WindowDraw:
    """Numbers of windows, drawn with replacement."""

    def __init__(self, windows: SlidingWindows, phases: int | None) -> None:
        """Prepare the probabilities.

        Args:
            windows: what is drawn from.
            phases: draw one of so many phases first, each that occurs as probable as the others, then a window with a
                probability proportional to the voxels of that phase in it; None for equal probabilities of all windows.
        """
        self._count = len(windows)
        self._totals = None if phases is None else _running_totals(windows, phases)

    def random(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Independent draws."""
        if self._totals is None:
            return rng.integers(self._count, size=count)
        phases = rng.integers(len(self._totals), size=count)
        return _holders(self._totals, phases, rng.integers(self._totals[phases, -1]))

    def spread(self, count: int) -> NDArray[np.int64]:
        """Windows at evenly spread quantiles of the distribution; no more than there are where they are equally probable."""
        if self._totals is None:
            kept = min(count, self._count)
            return ((np.arange(kept) + 0.5) / kept * self._count).astype(np.int64)
        phases, quantiles = np.arange(count) % len(self._totals), (np.arange(count) + 0.5) / count
        return _holders(self._totals, phases, (quantiles * self._totals[phases, -1]).astype(np.int64))


def _running_totals(windows: SlidingWindows, phases: int) -> NDArray[np.int64]:
    """Voxels ``(P, N)`` of each phase in all windows up to each one; phases that none of them holds are left out."""
    totals = np.concatenate([window_counts(grid, phases) for grid in windows.grids], axis=1)
    np.cumsum(totals, axis=1, out=totals)
    return totals[totals[:, -1] > 0]


def _holders(totals: NDArray[np.int64], phases: NDArray[np.int64], voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The windows that hold certain voxels of certain phases, all windows' voxels being numbered one after the other."""
    found = np.empty_like(phases)
    for phase, of_phase in enumerate(totals):
        mine = phases == phase
        found[mine] = np.searchsorted(of_phase, voxels[mine], side="right")
    return found
