"""Distance between the characteristic functions of two sets of patterns, as a loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mcrgen.descriptors.pattern_characteristic import pattern_frequencies

_CONTRAST = 2.0  # of patterns in [-1, 1]; frequencies are per unit of an indicator


class CharacteristicDistance(nn.Module):
    """Root mean square difference of characteristic functions at random frequencies, drawn anew at each call.

    The maximum mean discrepancy of patterns with the random features of
    :func:`mcrgen.descriptors.pattern_characteristic.pattern_characteristic`, in place of the sliced-Wasserstein distance of the
    SWNN paper: nothing is sorted, and windows within the patterns see edges and corners.
    """

    def __init__(self, *, frequencies: int, size: int) -> None:
        """Store the number of frequencies and the edge length T of a pattern."""
        super().__init__()
        self.frequencies = frequencies
        self.size = size

    def forward(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Distance between the rows of ``x`` ``(N, C * T * T)`` and ``y`` ``(M, C * T * T)`` in [-1, 1].

        The generator lives on their device. Where the two agree, the gradient is zero.
        """
        channels = x.shape[1] // self.size**2
        drawn = pattern_frequencies(self.frequencies, channels, self.size, generator)
        frequencies = drawn.flatten(1).T.to(x.dtype) / _CONTRAST
        with torch.autocast(x.device.type, enabled=False):
            one, other = (_means(patterns @ frequencies) for patterns in (x, y))
            distance: Tensor = torch.linalg.vector_norm(one - other) / math.sqrt(self.frequencies)
            return distance


def _means(phases: Tensor) -> Tensor:
    return torch.stack([phases.cos().mean(dim=0), phases.sin().mean(dim=0)])
