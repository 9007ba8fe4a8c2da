"""The slices of a medium that is being reconstructed."""

from __future__ import annotations

import torch
from torch import Tensor

_IMAGE = 3


def normals_of(medium: Tensor) -> range:
    """Section normals of a medium ``(C, *spatial)``: z, y and x of a volume, one of an image."""
    return range(1 if medium.ndim == _IMAGE else 3)


def sections(medium: Tensor, normal: int) -> Tensor:
    """All slices ``(N, C, H, W)`` normal to an axis, as a view: rows and columns are the other two axes in their order.

    Args:
        medium: ``(C, D, H, W)``, or ``(C, H, W)``, which is its own only slice.
        normal: 0 for z, 1 for y, 2 for x.
    """
    return medium[None] if medium.ndim == _IMAGE else medium.movedim(1 + normal, 0)


def some_sections(medium: Tensor, normal: int, count: int | None, generator: torch.Generator) -> Tensor:
    """Numbers of the slices to look at: all, or ``count`` different ones drawn at random, ascending."""
    there = len(sections(medium, normal))
    if count is None or count >= there:
        return torch.arange(there, device=medium.device)
    return torch.randperm(there, generator=generator, device=generator.device)[:count].sort().values.to(medium.device)
