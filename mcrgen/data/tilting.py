"""Control of all phase fractions at once: the nearest pattern distribution with given means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcrgen.data.control import MIN_PATTERNS, reachable_range
from mcrgen.errors import InputError

_SUM_TOLERANCE = 1e-6
_TOLERANCE = 1e-8
_MAX_ITERATIONS = 200


def tilted_weights(fractions: NDArray[np.floating], targets: Sequence[float]) -> NDArray[np.float64]:
    """Probabilities of patterns whose mean phase fractions are the targets, nearest to equal probabilities.

    Among all distributions over the patterns with these means, the one with the least Kullback-Leibler divergence from the
    uniform one is exponentially tilted, w_i ~ exp(lambda . f_i) (Csiszar, Ann. Probab. 3, 1975, theorem 3.1); lambda minimises
    the convex dual log(sum_i exp(lambda . (f_i - t))), here by Newton's method with backtracking over the distinct rows.

    Args:
        fractions: ``(N, P)`` phase fractions of each pattern; rows sum to one.
        targets: P means to reach; they sum to one.

    Returns:
        ``(N,)`` probabilities, which sum to one.

    Raises:
        InputError: not one target for each phase, the targets do not sum to one, or the patterns do not reach them: the message
            says what each phase reaches.
    """
    _check_targets(targets, fractions.shape[1])
    rows, inverse, counts = _distinct_rows(fractions)
    probabilities, error = _tilt(rows - np.asarray(targets), counts)
    weights: NDArray[np.float64] = (probabilities / counts)[inverse]
    effective = 1.0 / np.square(weights).sum()
    # All the patterns there are may be too few, but not by the targets' fault.
    if error > _TOLERANCE or effective < min(MIN_PATTERNS, len(weights)) * (1.0 - _TOLERANCE):
        reach = ", ".join("{:.4f} to {:.4f}".format(*reachable_range(column)) for column in fractions.T)
        raise InputError(
            f"data.phase_fractions: expected targets that the exemplar's patterns reach together (phase by phase, each on its "
            f"own, they reach {reach}), got {_listed(targets)}; move the targets towards the exemplar's own fractions."
        )
    return weights


def _check_targets(targets: Sequence[float], phases: int) -> None:
    """Raise unless there is one target for each phase and they sum to one."""
    if len(targets) != phases:
        raise InputError(f"data.phase_fractions: expected {phases} fractions, one for each phase, got {len(targets)}.")
    if not abs(sum(targets) - 1.0) <= _SUM_TOLERANCE:
        raise InputError(
            f"data.phase_fractions: expected fractions that sum to 1, got {_listed(targets)} with the sum {sum(targets):.6g}."
        )


def _listed(targets: Sequence[float]) -> str:
    return ", ".join(f"{t:g}" for t in targets)


def _distinct_rows(
    fractions: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Distinct rows, which of them each row is, and how often each occurs.

    Fractions of windows are whole numbers of pixels: a few hundred rows stand for millions of windows. Column by column is
    faster than sorting rows; the last one follows from the others.
    """
    key = np.zeros(len(fractions), np.intp)
    for column in fractions[:, :-1].T:
        values = np.unique(column)
        mixed = key * len(values) + np.searchsorted(values, column)
        key = np.searchsorted(np.unique(mixed), mixed)
    counts = np.bincount(key)
    member = np.empty(len(counts), np.intp)
    member[key] = np.arange(len(key))
    return fractions[member].astype(np.float64), key, counts


def _tilt(excess: NDArray[np.float64], counts: NDArray[np.intp]) -> tuple[NDArray[np.float64], float]:
    """Probabilities of the distinct rows, and the largest error of their means.

    Args:
        excess: ``(K, P)`` distinct rows less the targets.
        counts: ``(K,)`` how often each occurs.
    """
    # The last phase follows from the others, so that its multiplier is redundant.
    excess = excess[:, :-1]
    multipliers = np.zeros(excess.shape[1])
    value, probabilities = _dual(multipliers, excess, counts)
    for _ in range(_MAX_ITERATIONS):
        gradient: NDArray[np.float64] = probabilities @ excess
        if np.abs(gradient).max() <= _TOLERANCE:
            break
        centred = excess - gradient
        curvature = (probabilities[:, None] * centred).T @ centred
        # Phases that no pattern varies leave the curvature singular; least squares leaves their multipliers alone.
        newton = np.linalg.lstsq(curvature, -gradient, rcond=None)[0].astype(np.float64)
        found = _line_search(multipliers, newton, value, float(gradient @ newton), excess, counts)
        if found is None:
            break
        multipliers, value, probabilities = found
    return probabilities, float(np.abs(probabilities @ excess).max())


def _line_search(
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    value: float,
    slope: float,
    excess: NDArray[np.float64],
    counts: NDArray[np.intp],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]] | None:
    """Halve the step until the dual falls by enough (Armijo); None where it no longer does."""
    for halvings in range(40):
        step = 0.5**halvings
        multipliers = start + step * direction
        reached, probabilities = _dual(multipliers, excess, counts)
        if reached <= value + 1e-4 * step * slope + 1e-14:
            return multipliers, reached, probabilities
    return None


def _dual(
    multipliers: NDArray[np.float64], excess: NDArray[np.float64], counts: NDArray[np.intp]
) -> tuple[float, NDArray[np.float64]]:
    """Value of the dual, and the probabilities of the distinct rows that belong to it."""
    exponents = excess @ multipliers + np.log(counts)
    top = exponents.max()
    terms = np.exp(exponents - top)
    total = terms.sum()
    return float(top + np.log(total)), terms / total
