"""Line search for a quasi-Newton direction where evaluations are dear."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

DECREASE = 1e-4
CURVATURE = 0.9
EXTRAPOLATION = 4.0
MARGIN = 0.1
MOST_TRIALS = 12


@dataclass(frozen=True)
class Trial:
    """A point of the line.

    Attributes:
        step: how far along the direction.
        loss: the loss there.
        slope: its derivative along the direction.
        gradient: its flat gradient.
    """

    step: float
    loss: float
    slope: float
    gradient: Tensor


def search(evaluate: Callable[[float], Trial], start: Trial, limit: float) -> Trial | None:
    """Return a point that meets the weak Wolfe conditions, or the best that a few trials found; None if the loss never fell.

    The first trial is the full step. The interval is widened up to ``limit`` while the loss falls steeply, and narrowed by
    cubic interpolation once a trial fails (Nocedal and Wright, Numerical Optimization, 2006, eq. 3.6 and 3.59). At the limit
    the condition on the curvature is waived, because nothing lies beyond. A loss or slope that is not finite is a failure.

    Near the minimum a decrease drowns in the rounding of the loss, while slopes still tell: a point that is no higher than
    the start also counts where its slope says so (the approximate Wolfe conditions of Hager and Zhang, SIAM J. Optim. 16 (2005)
    170, with no increase allowed).

    Args:
        evaluate: the trial at a step.
        start: step 0; its slope is negative.
        limit: the longest step, 1 or more.
    """
    low, high, step = start, None, 1.0
    for _ in range(MOST_TRIALS):
        trial = evaluate(step)
        if not _falls(trial, start):
            high = trial
        elif trial.slope >= CURVATURE * start.slope or step >= limit:
            return trial
        else:
            low = trial
        step = min(limit, EXTRAPOLATION * step) if high is None else _between(low, high)
    return low if low.step > 0 else None


def _falls(trial: Trial, start: Trial) -> bool:
    if not (math.isfinite(trial.loss) and math.isfinite(trial.slope)):
        return False
    enough = trial.loss <= start.loss + DECREASE * trial.step * start.slope
    return enough or (trial.loss <= start.loss and trial.slope <= (2 * DECREASE - 1) * start.slope)


def _between(low: Trial, high: Trial) -> float:
    """Minimiser of the cubic through both ends, kept off them so that the interval shrinks for certain."""
    width = high.step - low.step
    share = MARGIN
    if math.isfinite(high.loss) and math.isfinite(high.slope):
        share = _cubic_minimiser(low, high, width)
    return low.step + width * min(max(share, MARGIN), 1 - MARGIN)


def _cubic_minimiser(low: Trial, high: Trial, width: float) -> float:
    middle = 3 * (low.loss - high.loss) / width + low.slope + high.slope
    discriminant = middle**2 - low.slope * high.slope
    if discriminant < 0:
        return 0.5
    root = math.sqrt(discriminant)
    below = high.slope - low.slope + 2 * root
    return 1 - (high.slope + root - middle) / below if below > 0 else 0.5
