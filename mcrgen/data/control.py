"""The SWNN paper's control of the phase fraction by choosing which patterns are learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError

MIN_PATTERNS = 64


def reachable_range(fractions: NDArray[np.floating]) -> tuple[float, float]:
    """Lowest and highest mean that :func:`control_patterns` can reach with at least ``MIN_PATTERNS`` patterns."""
    ordered = np.sort(fractions.astype(np.float64))
    least = min(MIN_PATTERNS, len(ordered))
    return float(ordered[:least].mean()), float(ordered[-least:].mean())


def control_patterns(fractions: NDArray[np.floating], target: float) -> NDArray[np.intp]:
    """Choose patterns whose mean phase fraction is the target (SWNN paper, control strategy, steps 1-4).

    Patterns are sorted by phase fraction; the upper part (target above the overall mean) or the lower part (below it) whose
    mean is the target is kept and replicated to the original number of patterns.

    Args:
        fractions: ``(N,)`` phase fraction of each pattern.
        target: mean to reach.

    Returns:
        ``(N,)`` indices into the patterns; whole copies of the kept part, and an evenly spaced remainder (the paper draws it
        at random).

    Raises:
        InputError: the target is out of reach; the message gives the range.
    """
    count = len(fractions)
    low, high = reachable_range(fractions)
    if not low <= target <= high:
        raise InputError(
            f"phase_fraction: expected a target within what the image's patterns reach, {low:.4f} to {high:.4f}, got {target}."
        )
    order = np.argsort(fractions, kind="stable")
    if target > fractions.mean():
        order = order[::-1]
    means = np.cumsum(fractions[order], dtype=np.float64) / np.arange(1, count + 1)
    least = min(MIN_PATTERNS, count)
    kept = least + int(np.abs(means[least - 1 :] - target).argmin())
    copies, remainder = divmod(count, kept)
    spread = np.arange(remainder) * kept // max(remainder, 1)
    chosen: NDArray[np.intp] = order[np.concatenate([np.tile(np.arange(kept), copies), spread])]
    return chosen
