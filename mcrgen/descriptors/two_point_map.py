"""Two-point correlation over all lag vectors, within a phase or between two, and its average over directions."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError

_CHUNK = 1 << 24


def two_point_map(
    indicator: Tensor, max_lag: int | None = None, *, other: Tensor | None = None, periodic: bool = False
) -> Tensor:
    """Two-point correlation S(r) = <I(x) J(x + r)> for all lag vectors r (Torquato, Random Heterogeneous Materials, eq. 2.24).

    By real FFTs over all spatial axes in the dtype of the input; differentiable. The rounding error is absolute, of the order
    of 1e-7 of S(0) in float32 and 1e-16 in float64; a finite window amplifies it where few pairs are left, by the number of
    voxels over the number of pairs.

    Args:
        indicator: ``(B, C, *spatial)``, 2D or 3D, any real values.
        max_lag: largest lag L in voxels along each axis, below the shortest edge; by default all lags that the medium has.
        other: J, of the same shape: the cross-correlation from ``indicator`` to another phase instead of the autocorrelation.
        periodic: wrap around instead of counting only the pairs inside the window. The finite window is the default because
            measured media do not repeat; its pair counts, the product of n - |r| over the axes, are exact.

    Returns:
        ``(B, C, 2 L + 1, ...)``, the zero lag in the centre. Without ``max_lag``: 2 n - 1 lags along a finite axis of n voxels;
        n lags along a periodic one, the zero lag at index n // 2.

    Raises:
        InputError: ``max_lag`` is not below the shortest edge, or the shapes differ.
    """
    indicator, other = as_real(indicator), None if other is None else as_real(other)
    spatial = indicator.shape[2:]
    if max_lag is not None and not 0 <= max_lag < min(spatial):
        raise InputError(f"max_lag: expected 0 to {min(spatial) - 1} for a medium of {tuple(spatial)} voxels, got {max_lag}.")
    if other is not None and other.shape != indicator.shape:
        raise InputError(f"other: expected the shape {tuple(indicator.shape)} of the indicator, got {tuple(other.shape)}.")
    reach = [_reach(n, max_lag, periodic) for n in spatial]
    padded = [n if periodic else next_fast_len(n + after, real=True) for n, (_, after) in zip(spatial, reach, strict=True)]
    few = max(1, _CHUNK // math.prod(padded))
    first = torch.split(indicator.flatten(0, 1), few)
    second = first if other is None else torch.split(other.flatten(0, 1), few)
    maps = torch.cat([_wrapped_means(a, b, padded, reach) for a, b in zip(first, second, strict=True)])
    if not periodic:
        maps = maps * (math.prod(padded) / _pairs(spatial, reach, maps))
    return maps.reshape(*indicator.shape[:2], *maps.shape[1:])


def _reach(length: int, max_lag: int | None, periodic: bool) -> tuple[int, int]:
    """Number of lags before and after zero along an axis."""
    if max_lag is not None:
        return max_lag, max_lag
    return (length // 2, (length - 1) // 2) if periodic else (length - 1, length - 1)


def _wrapped_means(a: Tensor, b: Tensor, padded: list[int], reach: list[tuple[int, int]]) -> Tensor:
    """Mean of I(x) J(x + r) over the padded, wrapped grid, cropped to the lags asked for, the zero lag in the centre."""
    axes = tuple(range(1, a.ndim))
    # Two orthonormal transforms and a plain inverse one divide by the number of voxels without a pass over the map.
    spectrum = torch.fft.rfftn(a, s=padded, dim=axes, norm="ortho")
    partner = spectrum if b is a else torch.fft.rfftn(b, s=padded, dim=axes, norm="ortho")
    means: Tensor = torch.fft.irfftn(spectrum.conj() * partner, s=padded, dim=axes)
    for axis, (before, after) in zip(axes, reach, strict=True):
        negative = means.narrow(axis, means.shape[axis] - before, before)
        means = torch.cat([negative, means.narrow(axis, 0, after + 1)], dim=axis)
    return means


def _pairs(spatial: torch.Size, reach: list[tuple[int, int]], like: Tensor) -> Tensor:
    """Number of pairs at each lag inside the window."""
    counts = torch.ones((), dtype=like.dtype, device=like.device)
    for length, (before, after) in zip(spatial, reach, strict=True):
        counts = counts[..., None] * (length - torch.arange(-before, after + 1, device=like.device).abs())
    return counts


def radial_average(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Average of maps over directions: the mean over all lags whose length rounds to the same integer.

    Args:
        maps: ``(B, C, *spatial)``, zero lag at index ``n // 2`` of each axis, as :func:`two_point_map` returns them.

    Returns:
        Radii ``(R + 1,)`` = 0, 1, ..., R in voxels, and values ``(B, C, R + 1)`` float64. R is the largest lag that the map has
        on both sides of every axis, so that no shell is cut.
    """
    radius = min((n - 1) // 2 for n in maps.shape[2:])
    lags = torch.arange(-radius, radius + 1, device=maps.device)
    squares = torch.zeros((), dtype=torch.float64, device=maps.device)
    for axis in range(2, maps.ndim):
        maps = maps.narrow(axis, maps.shape[axis] // 2 - radius, 2 * radius + 1)
        squares = squares[..., None] + lags.square()
    shells = squares.sqrt().round().long().flatten()
    sums = torch.zeros(*maps.shape[:2], int(shells.max()) + 1, dtype=torch.float64, device=maps.device)
    sums = sums.index_add(-1, shells, maps.flatten(2).double())
    return lags[radius:], sums[..., : radius + 1] / torch.bincount(shells)[: radius + 1]


class TwoPointMap(Descriptor):
    """:func:`two_point_map` with its settings."""

    function = staticmethod(two_point_map)
