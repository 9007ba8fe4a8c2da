"""The characteristic function of the distribution of local patterns."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError, require_positive

_SMALLEST_WINDOW = 3
_SHORTEST, _LONGEST = 2.0, 8.0
_VALUES_AT_A_TIME = 2**21  # what fits into a cache


def pattern_characteristic(slices: Tensor, frequencies: Tensor, *, periodic: bool = False) -> Tensor:
    """Mean of exp(i w.p) over all T x T patterns p of each slice, for each of K frequencies w, differentiable in the slices.

    Two distributions are equal exactly if these means are for all frequencies; the mean squared difference over random ones is
    the squared maximum mean discrepancy of a translation-invariant kernel (Gretton et al., JMLR 13 (2012) 723; random features:
    Rahimi and Recht, NIPS 2007, eq. 2). What the sliced-Wasserstein distance compares along directions by sorting is compared
    here by means: that of several slices is the mean of theirs, and the gradient is smooth.

    Args:
        slices: ``(B, C, H, W)``.
        frequencies: ``(K, C, T, T)`` in radians per unit of the indicator, such as :func:`pattern_frequencies` draws them.
        periodic: wrap around. By default patterns lie inside the slices, because measured media do not repeat.

    Returns:
        ``(B, 2, K)``: real and imaginary parts, in [-1, 1].

    Raises:
        InputError: frequencies for another number of channels, or patterns larger than the slices.
    """
    slices = as_real(slices)
    size, shortest = frequencies.shape[-1], min(slices.shape[2:])
    if frequencies.shape[1] != slices.shape[1]:
        raise InputError(f"frequencies: expected {slices.shape[1]} channels as in the slices, got {frequencies.shape[1]}.")
    if size > shortest:
        raise InputError(f"frequencies: expected patterns of at most {shortest} pixels for these slices, got {size}.")
    frequencies = frequencies.to(slices)
    if periodic:
        slices = F.pad(slices, (0, size - 1, 0, size - 1), mode="circular")
    means: Tensor = _Means.apply(slices, frequencies)
    return means


class _Means(torch.autograd.Function):
    """Means of cosines and sines, with the memory of a few slices at a time: what one is made of is made again going back."""

    @staticmethod
    def forward(ctx: Any, slices: Tensor, frequencies: Tensor) -> Tensor:
        ctx.save_for_backward(slices, frequencies)
        phases = (_phases(part, frequencies) for part in torch.split(slices, _at_a_time(slices, frequencies)))
        return torch.cat([torch.stack([p.cos().mean(dim=2), p.sin_().mean(dim=2)], dim=1) for p in phases])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        slices, frequencies = ctx.saved_tensors
        few, pulls = _at_a_time(slices, frequencies), []
        for part, pull in zip(torch.split(slices, few), torch.split(gradient, few), strict=True):
            phases = _phases(part, frequencies)
            real, imaginary = (pull / phases.shape[2])[..., None].unbind(dim=1)
            of_phases = phases.cos().mul_(imaginary).sub_(phases.sin_().mul_(real))
            columns = frequencies.flatten(1).T @ of_phases
            pulls.append(F.fold(columns, tuple(slices.shape[2:]), frequencies.shape[-1]))
        return torch.cat(pulls), None


def _phases(slices: Tensor, frequencies: Tensor) -> Tensor:
    """w.p ``(B, K, places)``. One matrix product: of few channels, it is many times faster than a convolution."""
    return frequencies.flatten(1) @ F.unfold(slices, frequencies.shape[-1])


def _at_a_time(slices: Tensor, frequencies: Tensor) -> int:
    return max(1, _VALUES_AT_A_TIME // (len(frequencies) * slices[0, 0].numel()))


def pattern_frequencies(count: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    """Random frequencies ``(count, channels, size, size)``, float32, on the generator's device.

    Each is zero outside a square window of 3 x 3 to ``size`` x ``size`` pixels at a random place, uniform in its direction
    within the window and in its length from 2 to 8. Corners and edges thus show in windows that hold little else; a direction
    through all pixels hardly tells sharp ones from blunt ones.

    Args:
        count: number K of frequencies.
        channels: C of the slices.
        size: edge length T of a pattern in pixels.
        generator: random state.

    Raises:
        InputError: a number below 1.
    """
    for name, value in (("count", count), ("channels", channels), ("size", size)):
        require_positive(name, value)
    device, smallest = generator.device, min(_SMALLEST_WINDOW, size)
    edge = torch.randint(smallest, size + 1, (count, 1), generator=generator, device=device)
    first = (torch.rand(count, 2, generator=generator, device=device) * (size - edge + 1)).long()
    place = torch.arange(size, device=device)
    rows, columns = ((place >= start) & (place < start + edge) for start in torch.split(first, 1, dim=1))
    window = rows[:, None, :, None] & columns[:, None, None, :]
    raw = torch.randn(count, channels, size, size, generator=generator, device=device) * window
    length = _SHORTEST + (_LONGEST - _SHORTEST) * torch.rand(count, 1, generator=generator, device=device)
    return (F.normalize(raw.flatten(1)) * length).view_as(raw)


class PatternCharacteristic(Descriptor):
    """:func:`pattern_characteristic` with its settings."""

    function = staticmethod(pattern_characteristic)
