"""How different the local patterns of two media are."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.sliced_wasserstein import random_directions, sliced_wasserstein
from mcrgen.errors import InputError, require_positive, require_seed


def pattern_distance(
    reference: Tensor,
    candidate: Tensor,
    size: int,
    *,
    projections: int = 256,
    count: int = 10_000,
    seed: int = 0,
    p: float = 1.0,
) -> Tensor:
    """Sliced-Wasserstein distance SW_p between the distributions of local patterns of two media, a score: 0 where they agree.

    The p-th root of :func:`mcrgen.descriptors.sliced_wasserstein.sliced_wasserstein`. Two samples of one medium differ by their
    sampling noise, which is the floor to compare with; a medium differs from itself by exactly 0. Differentiable in both media,
    except at 0 if ``p`` > 1.

    Args:
        reference: slices ``(B, C, H, W)``.
        candidate: slices ``(B', C, H', W')``.
        size: edge length T of a pattern in pixels.
        projections: number of random directions.
        count: largest number of patterns per medium; from more, this many are drawn without repetition.
        seed: of the drawn patterns and directions, which are the same on every device.
        p: exponent, at least 1.

    Returns:
        Scalar.

    Raises:
        InputError: the numbers of channels differ, the patterns do not fit the slices, or a setting is out of range.
    """
    reference, candidate = as_real(reference), as_real(candidate)
    for name, medium in (("reference", reference), ("candidate", candidate)):
        shortest = min(medium.shape[2:])
        if not 1 <= size <= shortest:
            raise InputError(f"size: expected 1 to {shortest} for the slices of the {name}, got {size}.")
    if reference.shape[1] != candidate.shape[1]:
        raise InputError(f"candidate: expected the {reference.shape[1]} channels of the reference, got {candidate.shape[1]}.")
    if not p >= 1.0:
        raise InputError(f"p: expected 1 or more, got {p}.")
    require_positive("projections", projections)
    require_positive("count", count)
    require_seed(seed)
    x, y = (_drawn_patterns(medium, size, count, seed) for medium in (reference, candidate))
    directions = random_directions(projections, x.shape[1], torch.Generator().manual_seed(seed)).to(x)
    return sliced_wasserstein(x, y, directions, p) ** (1.0 / p)


def _drawn_patterns(slices: Tensor, size: int, count: int, seed: int) -> Tensor:
    """At most ``count`` of the local patterns; those that are not drawn are never made."""
    b, c, h, w = slices.shape
    places = (b, h - size + 1, w - size + 1)
    if math.prod(places) <= count:
        return local_patterns(slices, size)
    drawn = np.random.default_rng(seed).choice(math.prod(places), count, replace=False, shuffle=False)
    indices = torch.unravel_index(torch.from_numpy(drawn).to(slices.device), places)
    batch, row, column = (i[:, None, None, None] for i in indices)
    offset = torch.arange(size, device=slices.device)
    channel = torch.arange(c, device=slices.device)[:, None, None]
    return slices[batch, channel, row + offset[:, None], column + offset].flatten(1)


class PatternDistance(Descriptor):
    """:func:`pattern_distance` with its settings."""

    function = staticmethod(pattern_distance)
