"""Matching the expected autocovariance of generated slices to a target."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcrgen.descriptors.two_point import autocovariance_map

DECAY = 0.95


class CovarianceTargets(NamedTuple):
    """What the autocovariance of slices should be.

    Attributes:
        maps: ``(K, C, 2 L + 1, 2 L + 1)`` autocovariances of the indicator channels, zero lag in the centre.
        at: ``(K,)`` phase fractions that they belong to, ascending at equal distances; None for K = 1.
        means: ``(C,)`` phase fractions that slices are to have as well; None to leave them free. An autocovariance alone does
            not tell a phase from its complement.
    """

    maps: Tensor
    at: Tensor | None = None
    means: Tensor | None = None


class CovarianceMatching(nn.Module):
    """Squared relative error between the running mean autocovariance of slices and a target map.

    One slice is too small a sample to be held to the target: a loss on it alone would punish the natural spread between slices.
    The error is therefore taken of a running mean over the steps, and its gradient goes through the current slice only:
    d/dx |m - t|^2 / |t|^2 with dm/dx replaced by that of the slice's own map. The maps hold all lags of a square, so that
    diagonal stripes count.

    Where slices are made at phase fractions that vary over a range, the target is interpolated between maps at some of them,
    and each of these has a running mean of its own, of the slices nearest to it: a surplus at one fraction cannot hide a lack
    at another.

    Local patterns do not see beyond their own width; this does, up to its largest lag.
    """

    targets: Tensor
    at: Tensor
    gap: Tensor
    excess: Tensor
    weight: Tensor
    means: Tensor | None

    def __init__(self, targets: CovarianceTargets) -> None:
        """Store the targets, those of one section normal, and start empty running means."""
        super().__init__()
        maps = targets.maps
        count, channels = maps.shape[:2]
        self.register_buffer("targets", maps)
        self.register_buffer("at", torch.zeros(1, dtype=maps.dtype) if targets.at is None else targets.at)
        self.register_buffer("gap", torch.zeros_like(maps))
        self.register_buffer("excess", torch.zeros(count, channels, dtype=maps.dtype))
        self.register_buffer("weight", torch.zeros(count, dtype=maps.dtype))
        self.register_buffer("means", targets.means, persistent=False)

    def forward(self, slices: Tensor, fraction: Tensor | None = None) -> Tensor:
        """Add indicator slices ``(B, C, H, W)`` in [0, 1] to the running mean and return the scalar error.

        The value is that of the running mean; the gradient is the one described above. Slices are centred by the means that the
        targets have, or else by the running mean of their phase fractions: centred by their own, they would hide the spread
        of those.

        Args:
            slices: the slices.
            fraction: phase fraction they were made for, if there are several targets.
        """
        nearest, target, offset = self._place(fraction)
        with torch.no_grad():
            self.weight[nearest] = DECAY * self.weight[nearest] + 1.0 - DECAY
            self._average(self.excess[nearest], slices.double().mean(dim=(0, 2, 3)) - offset)
        running = self.excess[nearest] / self.weight[nearest] + offset
        covariance = autocovariance_map(slices, target.shape[-1] // 2, running if self.means is None else self.means)
        norm = target.square().sum()
        with torch.no_grad():
            self._average(self.gap[nearest], covariance - target)
            gap = self.gap[nearest] / self.weight[nearest]
            error = gap.square().sum() / norm
        surrogate = 2.0 * (gap * covariance).sum() / norm
        return error + surrogate - surrogate.detach()

    def _place(self, fraction: Tensor | None) -> tuple[int, Tensor, Tensor]:
        """Which running mean a phase fraction belongs to, the target there, and its distance from the fraction of that mean."""
        if len(self.at) == 1 or fraction is None:
            return 0, self.targets[0], self.at.new_zeros(())
        last = len(self.at) - 1
        place = ((fraction.double() - self.at[0]) * last / (self.at[-1] - self.at[0])).clamp(0, last)
        low = min(int(place), last - 1)
        nearest = int(place.round())
        return nearest, torch.lerp(self.targets[low], self.targets[low + 1], place - low), fraction.double() - self.at[nearest]

    def _average(self, mean: Tensor, value: Tensor) -> None:
        mean.mul_(DECAY).add_(value, alpha=1.0 - DECAY)
