"""Control of phase fractions by choosing which patterns a network learns from."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError

MIN_PATTERNS = 64
"""Fewest patterns to learn from: with less variety a network only copies."""

END_SHARE = 0.05
"""Share of the steps that go to each end of a range of targets."""

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class FractionRange:
    """Targets for the fraction of the phase of interest of a two-phase medium: a range, or one target where the ends are equal.

    Attributes:
        low: lowest target.
        high: highest target.
    """

    low: float
    high: float

    def at(self, step: int, seed: int) -> float:
        """Target of a step: uniform in the range, and ``END_SHARE`` of the steps at each end.

        The additive recurrence of the golden ratio (Kuipers and Niederreiter, Uniform Distribution of Sequences, 1974) from an
        offset drawn by the seed covers the range evenly however few steps there are. A regression is least certain at the ends
        of its range, where it has neighbours on one side only: hence their share of the steps.
        """
        position = (np.random.default_rng(seed).random() + step * _GOLDEN) % 1.0
        return float(np.interp(position, (END_SHARE, 1.0 - END_SHARE), (self.low, self.high)))

    def require_within(self, reach: tuple[float, float]) -> None:
        """Raise unless patterns reach all the targets.

        Args:
            reach: lowest and highest fraction that the patterns reach.

        Raises:
            InputError: part of the range is out of reach; the message says what is within.
        """
        if reach[0] <= self.low <= self.high <= reach[1]:
            return
        name, what, got = "data.phase_fraction", "a target", f"{self.low:g}"
        if self.low != self.high:
            name, what, got = "data.phase_fraction_range", "an ascending range", f"{self.low:g} to {self.high:g}"
        low, high = math.ceil(reach[0] * 1e4) / 1e4, math.floor(reach[1] * 1e4) / 1e4  # rounded inwards: they can be asked for
        raise InputError(
            f"{name}: expected {what} within what the exemplar's patterns reach, {low:.4f} to {high:.4f}, got {got}."
        )


@dataclass(frozen=True)
class PhaseFractions:
    """A target for the fraction of each phase.

    Attributes:
        values: one fraction for each phase; they sum to one.
    """

    values: tuple[float, ...]


Target: TypeAlias = FractionRange | PhaseFractions | None
"""Phase fractions to learn; None for the exemplar's own."""


def reachable_range(fractions: NDArray[np.floating]) -> tuple[float, float]:
    """Lowest and highest mean of at least ``MIN_PATTERNS`` of the patterns that have these phase fractions ``(N,)``."""
    ordered = np.sort(fractions.astype(np.float64))
    least = min(MIN_PATTERNS, len(ordered))
    return float(ordered[:least].mean()), float(ordered[-least:].mean())


@dataclass(frozen=True)
class Choice:
    """Patterns to learn from.

    Attributes:
        indices: ``(K,)`` which patterns.
        cumulative: ``(K,)`` cumulative probabilities, the last of them one; None where all are equally probable.
    """

    indices: NDArray[np.intp]
    cumulative: NDArray[np.float64] | None = None

    @property
    def weights(self) -> NDArray[np.float64]:
        """Probability of each pattern ``(K,)``."""
        if self.cumulative is None:
            return np.full(len(self.indices), 1.0 / len(self.indices))
        return np.diff(self.cumulative, prepend=0.0)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Independent draws ``(count,)``."""
        if self.cumulative is None:
            positions = rng.integers(len(self.indices), size=count)
        else:
            # Ascending searches stay in the cache, which counts among millions of patterns.
            positions = rng.permutation(np.searchsorted(self.cumulative, np.sort(rng.random(count)), side="right"))
        drawn: NDArray[np.intp] = self.indices[positions]
        return drawn


class SortedPatterns:
    """Patterns sorted by phase fraction, to be cut for any target (SWNN paper, control strategy, steps 1-4).

    The upper part (target above the overall mean) or the lower part (below it) whose mean is the target is kept.

    Deviations from the paper: patterns are drawn from the kept part instead of replicated to the original number; patterns of
    equal fraction are sorted at random, not by place, so that a cut through them does not prefer a corner of the image.
    """

    def __init__(self, fractions: NDArray[np.floating], seed: int) -> None:
        """Sort patterns by their fractions ``(N,)``; the seed orders those of equal fraction."""
        shuffled = np.random.default_rng(seed).permutation(len(fractions))
        self._order = shuffled[np.argsort(fractions[shuffled], kind="stable")]
        self._sums = np.concatenate([[0.0], np.cumsum(fractions[self._order], dtype=np.float64)])

    def choice(self, target: float) -> Choice:
        """Keep the part, of at least ``MIN_PATTERNS`` patterns, whose mean is nearest to the target."""
        count = len(self._order)
        total = float(self._sums[-1])
        upper = target > total / count

        def shortfall(kept: int) -> float:
            """What the mean lacks on the way from the kept end to the overall mean, with the sign turned: it only grows."""
            if upper:
                return target - (total - float(self._sums[count - kept])) / kept
            return float(self._sums[kept]) / kept - target

        least = min(MIN_PATTERNS, count)
        beyond = least + bisect_right(range(least, count + 1), 0.0, key=shortfall)
        kept = min((max(beyond - 1, least), min(beyond, count)), key=lambda k: abs(shortfall(k)))
        return Choice(self._order[count - kept :] if upper else self._order[:kept])
