"""Orientation of interfaces in slices: the distribution of their normals, and how faceted they are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError, require_positive

_TRUNCATE = 4.0
_NOISE = 1e-12  # rounding errors of a uniform place have no direction


def interface_orientation(slices: Tensor, bins: int = 36, *, sigma: float = 1.0) -> Tensor:
    """Distribution of the normals of the interface between a phase and the rest, weighted by length (rose of directions).

    The normal is the direction of the gradient of the indicator smoothed with a Gaussian; normal and opposite are one. Each
    place counts with the magnitude of its gradient, which integrates to the length of the interface, and is shared linearly
    between the two nearest bins, so that the result changes continuously as the medium does. Bin k is centred at the angle
    k pi / bins from the x axis (the last) towards the y axis: normals along an axis fall into the middle of a bin, and a
    quarter turn of the medium moves the distribution by bins / 2.

    Two-point correlation and lineal path along the axes, and the phase fraction, hardly notice whether facets are plane; this
    does.

    Args:
        slices: ``(B, C, H, W)``, grey values too; differentiable.
        bins: number of bins over half a turn, even, so that both axes have one.
        sigma: standard deviation of the Gaussian in voxels. Below 1 the grid shows in the directions of smooth interfaces;
            large ones join neighbouring interfaces.

    Returns:
        ``(B, C, bins)`` float64, each summing to one, or to zero where a phase has no interface.

    Raises:
        InputError: the number of bins is odd or below 2, sigma is not positive, or the input is not a batch of slices
            larger than the Gaussian.
    """
    if bins < 2 or bins % 2:
        raise InputError(f"bins: expected an even number of 2 or more, got {bins}.")
    gy, gx, magnitude = _gradient(slices, sigma)
    place = torch.atan2(gy, gx).remainder(math.pi) * (bins / math.pi)
    lower = place.detach().floor()
    weights = torch.stack([magnitude * (1 - place + lower), magnitude * (place - lower)])
    indices = torch.stack([lower, lower + 1]).long() % bins
    distribution = torch.zeros(*slices.shape[:2], bins, dtype=torch.float64, device=slices.device)
    for index, weight in zip(indices, weights, strict=True):
        distribution = distribution.scatter_add(2, index, weight)
    return distribution / _nonzero(distribution.sum(dim=2, keepdim=True))


def fourfold_order(slices: Tensor, *, sigma: float = 1.0) -> Tensor:
    """Fourfold orientation order |<exp(4 i theta)>| of interface normals, weighted by length.

    1 if all facets are parallel or normal to one another, as of stripes or large squares, however turned; 0 if the interface is
    isotropic, as of discs. Smoothing rounds corners, so that squares of e voxels lose about 3 sigma / e, and voxels give small
    discs facets (0.2 at a radius of 6 if centred on a voxel, below 0.05 from 12 on). theta and the weights are those of
    :func:`interface_orientation`, without its bins.

    Args:
        slices: ``(B, C, H, W)``, grey values too; differentiable where it is not zero.
        sigma: as in :func:`interface_orientation`.

    Returns:
        ``(B, C)`` float64; zero where a phase has no interface.

    Raises:
        InputError: sigma is not positive, or the input is not a batch of slices larger than the Gaussian.
    """
    gy, gx, magnitude = _gradient(slices, sigma)
    total = magnitude.sum(dim=2)
    normals = torch.complex(gx, gy) / _nonzero(magnitude)
    return (magnitude * normals**4).sum(dim=2).abs() / _nonzero(total)


def _gradient(slices: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives along y and x of the smoothed slices where the kernel fits, and their magnitude, each ``(B, C, places)``.

    Places without a gradient get the magnitude 0 and the direction x, which keeps the derivatives of all that follows finite.
    """
    require_positive("sigma", sigma)
    if slices.ndim != 4:
        raise InputError(f"slices: expected (B, C, H, W), got {tuple(slices.shape)}.")
    radius = math.ceil(_TRUNCATE * sigma)
    b, c, h, w = slices.shape
    if min(h, w) <= 2 * radius:
        raise InputError(f"slices: expected more than {2 * radius} voxels along each axis for sigma {sigma:g}, got {h} x {w}.")
    x = torch.arange(-radius, radius + 1, dtype=torch.float64, device=slices.device)
    bell = torch.exp(-0.5 * (x / sigma) ** 2)
    bell, slope = bell / bell.sum(), x * bell / (x**2 * bell).sum()
    field = as_real(slices).double().reshape(b * c, 1, h, w)
    gy, gx = _along_axes(field, slope, bell).reshape(b, c, -1), _along_axes(field, bell, slope).reshape(b, c, -1)
    squared = gy**2 + gx**2
    there = squared.detach() > _NOISE**2
    magnitude = torch.where(there, squared, 1.0).sqrt() * there
    return torch.where(there, gy, 0.0), torch.where(there, gx, 1.0), magnitude


def _along_axes(field: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """Correlation of ``(N, 1, H, W)`` with one kernel along each axis, where they fit."""
    return F.conv2d(F.conv2d(field, along_y[None, None, :, None]), along_x[None, None, None])


def _nonzero(x: Tensor) -> Tensor:
    """With ones in place of zeros, to divide by."""
    return torch.where(x > 0, x, 1.0)


class InterfaceOrientation(Descriptor):
    """:func:`interface_orientation` with its settings."""

    function = staticmethod(interface_orientation)


class FourfoldOrder(Descriptor):
    """:func:`fourfold_order` with its settings."""

    function = staticmethod(fourfold_order)
