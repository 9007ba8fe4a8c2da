"""How far a medium remembers itself."""

from __future__ import annotations

from torch import Tensor

from mcrgen.descriptors.scaled_autocovariance import scaled_autocovariance

DECAY = 0.05


def autocorrelation_length(s2: Tensor, fraction: float) -> int:
    """First lag at which the scaled autocovariance (S2(r) - phi^2) / (phi - phi^2) falls to 0.05 or below.

    Args:
        s2: ``(lags,)`` two-point correlation from lag 0 on.
        fraction: phase fraction phi.

    Returns:
        Lag in voxels; the last lag if the curve never falls that far.

    Raises:
        InputError: ``fraction`` is not strictly between 0 and 1.
    """
    scaled = scaled_autocovariance(s2, fraction, 2)
    below = (scaled <= DECAY).nonzero()
    return int(below[0]) if len(below) else len(s2) - 1
