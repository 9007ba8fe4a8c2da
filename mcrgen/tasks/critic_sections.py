"""Sections of generated volumes, for critics of images (Kench and Cooper, Nature Machine Intelligence 3 (2021) 299)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_planes(volumes: int, planes: int, count: int, draw: torch.Generator) -> Tensor:
    """Numbers ``(volumes, count)`` of different planes, of each volume's so many, in random order."""
    return torch.stack([torch.randperm(planes, generator=draw, device=draw.device)[:count] for _ in range(volumes)])


def sections(volumes: Tensor, kinds: Sequence[Sequence[int]], planes: Tensor) -> Tensor:
    """Planes of volumes.

    Args:
        volumes: ``(B, C, N, N, N)``.
        kinds: axes (0 z, 1 y, 2 x) of normal, rows and columns; planes are numbered along one kind's normal after the other's.
        planes: ``(B, count)`` numbers below ``N * len(kinds)``.

    Returns:
        ``(B * count, C, N, N)``, in the order of their numbers, those of the first volume first.
    """
    size, cut, places = volumes.shape[-1], [], []
    for place, (normal, row, column) in enumerate(kinds):
        volume, which = (planes // size == place).nonzero(as_tuple=True)
        laid = volumes.permute(0, 2 + normal, 1, 2 + row, 2 + column)
        cut.append(laid[volume, planes[volume, which] % size])
        places.append(volume * planes.shape[1] + which)
    return torch.cat(cut)[torch.cat(places).argsort()]
