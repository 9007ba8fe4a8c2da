"""Matching the expected autocovariance of generated slices to a target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mcrgen.descriptors.two_point import autocovariance_map

DECAY = 0.95


class CovarianceMatching(nn.Module):
    """Squared relative error between the running mean autocovariance of slices and a target map.

    One slice is too small a sample to be held to the target: a loss on it alone would punish the natural spread between slices.
    The error is therefore taken of a running mean over the steps, and its gradient goes through the current slice only:
    d/dx |m - t|^2 / |t|^2 with dm/dx replaced by that of the slice's own map. The maps hold all lags of a square, so that
    diagonal stripes count.

    Local patterns do not see beyond their own width; this does, up to its largest lag.
    """

    target: Tensor
    mean: Tensor
    fractions: Tensor
    weight: Tensor

    def __init__(self, target: Tensor) -> None:
        """Store the target and start an empty running mean.

        Args:
            target: ``(C, 2 L + 1, 2 L + 1)`` autocovariance of the indicator channels, zero lag in the centre.
        """
        super().__init__()
        self.register_buffer("target", target)
        self.register_buffer("mean", torch.zeros_like(target))
        self.register_buffer("fractions", torch.zeros(len(target), dtype=target.dtype))
        self.register_buffer("weight", torch.zeros((), dtype=target.dtype))

    def forward(self, slices: Tensor) -> Tensor:
        """Add indicator slices ``(B, C, H, W)`` in [0, 1] to the running mean and return the scalar error.

        The value is that of the running mean; the gradient is the one described above. Slices are centred by the running mean
        of their phase fractions: centred by their own, they would hide the spread of those.
        """
        with torch.no_grad():
            self.weight.mul_(DECAY).add_(1.0 - DECAY)
            self.fractions.mul_(DECAY).add_(slices.double().mean(dim=(0, 2, 3)), alpha=1.0 - DECAY)
        covariance = autocovariance_map(slices, self.target.shape[-1] // 2, self.fractions / self.weight)
        norm = self.target.square().sum()
        with torch.no_grad():
            self.mean.mul_(DECAY).add_(covariance, alpha=1.0 - DECAY)
            gap = self.mean / self.weight - self.target
            error = gap.square().sum() / norm
        surrogate = 2.0 * (gap * covariance).sum() / norm
        return error + surrogate - surrogate.detach()
