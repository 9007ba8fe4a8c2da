"""What both methods of ``mcrgen reconstruct`` give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcrgen.commands._reconstruct_config import ReconstructConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.plotting.convergence import Course


@dataclass(frozen=True)
class Made:
    """A finished medium.

    Attributes:
        labels: its phases.
        errors: relative error of each descriptor, and ``phase_fractions`` wanted and found.
        loss: at the end.
        steps: steps or swaps taken.
        why: why it ended.
        course: how it went.
        failed: whether the loss was not a number; the medium is then the last good one.
        interrupted: whether a signal asked to stop when it was all but finished: nothing else is to be begun.
    """

    labels: NDArray[np.uint8]
    errors: dict[str, Any]
    loss: float
    steps: int
    why: str
    course: Course
    failed: bool
    interrupted: bool = False


def weight(config: ReconstructConfig, name: str) -> float:
    """Weight of a descriptor."""
    given: float | None = getattr(config.descriptors.weights, name)
    return 1.0 if given is None else given


def error_summary(by_normal: Mapping[str, float]) -> dict[str, float]:
    """Relative errors |D - D*| / |D*| by section normal, their mean, and the mean of their squares."""
    errors = list(by_normal.values())
    return {
        "mean": sum(errors) / len(errors),
        "squared": sum(error**2 for error in errors) / len(errors),
        **by_normal,
    }


def fraction_errors(labels: NDArray[np.uint8], wanted: tuple[float, ...]) -> dict[str, Any]:
    """Phase fractions that a medium should have, and those it has."""
    import numpy as np

    found = np.bincount(labels.ravel(), minlength=len(wanted)) / labels.size
    return {"phase_fractions": {"wanted": list(wanted), "found": found.tolist()}}
