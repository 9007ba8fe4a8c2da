"""Sliced-Wasserstein distance between two sets of vectors, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mcrgen.descriptors.sliced_wasserstein import random_directions, sliced_wasserstein


class SlicedWasserstein(nn.Module):
    """:func:`sliced_wasserstein` with its settings: fresh random directions at each call."""

    def __init__(self, *, projections: int, p: float) -> None:
        """Store the number of random directions and the exponent."""
        super().__init__()
        self.projections = projections
        self.p = p

    def forward(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Distance between the rows of ``x`` ``(N, D)`` and ``y`` ``(M, D)``; the generator lives on their device."""
        return sliced_wasserstein(x, y, random_directions(self.projections, x.shape[1], generator), self.p)
