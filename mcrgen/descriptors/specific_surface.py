"""Specific surface: from phase changes between neighbouring voxels, or from the slope of S2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError

_SLOPE_FACTOR = {2: math.pi, 3: 4.0}


def interface_density(indicator: Tensor, *, periodic: bool = False) -> Tensor:
    """Interface crossings per unit length P_L of test lines along each axis.

    Counted is |I(x + e) - I(x)| over all neighbouring pairs, so grey values count in part; differentiable (subgradient 0 where
    neighbours are equal).

    Args:
        indicator: ``(B, C, *spatial)``.
        periodic: also count the pairs across the wrap. By default only the n - 1 pairs inside the window count, because
            measured media do not repeat.

    Returns:
        ``(B, C, number of spatial axes)`` float64, in crossings per voxel length.

    Raises:
        InputError: an axis of a single voxel, which has no neighbouring pair.
    """
    if min(indicator.shape[2:]) < 2:
        raise InputError(f"indicator: expected 2 voxels or more along every axis, got {tuple(indicator.shape[2:])}.")
    field = as_real(indicator)
    axes = range(2, field.ndim)
    wraps = [field.narrow(a, 0, 1) if periodic else None for a in axes]
    changes = [field.diff(dim=a, append=wrap).abs() for a, wrap in zip(axes, wraps, strict=True)]
    return torch.stack([c.flatten(2).mean(dim=2, dtype=torch.float64) for c in changes], dim=-1)


def voxel_face_area(indicator: Tensor, *, periodic: bool = False) -> Tensor:
    """Area of the voxel faces between the phase and the rest, per volume; in 2D length of pixel edges per area.

    The sum of :func:`interface_density` over the axes: each axis is normalised by its own number of neighbouring pairs, not by
    the number of voxels, so that a finite window does not lower the result. It is the surface of the voxel model itself: 3/2 of
    the area of a smooth isotropic surface (:func:`specific_surface`).

    Args:
        indicator: ``(B, C, *spatial)``.
        periodic: as in :func:`interface_density`.

    Returns:
        ``(B, C)`` float64, in 1/voxel.

    Raises:
        InputError: as in :func:`interface_density`.
    """
    return interface_density(indicator, periodic=periodic).sum(dim=-1)


def specific_surface(indicator: Tensor, *, periodic: bool = False) -> Tensor:
    """Interface area per unit volume S_V = 2 P_L, P_L averaged over the axes (Underwood, Quantitative Stereology, 1970).

    Right for isotropic media and the same from a section as from the volume, unlike the count of voxel faces, which is 3 P_L
    and overstates a smooth surface by one half. In terms of the periodic two-point correlation, S_V = 4 (S2(0) - S2(1)).

    Args:
        indicator: ``(B, C, *spatial)``.
        periodic: as in :func:`interface_density`.

    Returns:
        ``(B, C)`` float64, in 1/voxel.

    Raises:
        InputError: as in :func:`interface_density`.
    """
    return 2.0 * interface_density(indicator, periodic=periodic).mean(dim=-1)


def specific_surface_from_s2(s2: Tensor, dimension: int) -> Tensor:
    """Specific surface from the slope of the two-point correlation at zero lag (Debye, Anderson & Brumberger, 1957).

    S_V = -4 dS2/dr in 3D; in 2D the perimeter per area, -pi dS2/dr. Right for isotropic media. The slope is the forward
    difference S2(1) - S2(0). Of a periodic S2 it equals :func:`specific_surface`; of a finite window, S2(0) is the mean over
    all voxels and S2(1) that over the pairs inside, so that a medium whose rim differs from its middle biases the difference:
    measure the surface itself where the medium is at hand.

    Args:
        s2: ``(..., lags)`` two-point correlation at lags 0, 1, ... of one phase.
        dimension: 3 for the area per volume, also from S2 of a section; 2 for the perimeter per area.

    Returns:
        ``(...)`` in 1/voxel.

    Raises:
        InputError: ``dimension`` is neither 2 nor 3, or there are fewer than two lags.
    """
    if dimension not in _SLOPE_FACTOR:
        raise InputError(f"dimension: expected 2 or 3, got {dimension}.")
    if s2.shape[-1] < 2:
        raise InputError(
            f"s2: expected the lags 0 and 1 at least, got {s2.shape[-1]} lags; measure with a max_lag of 1 or more."
        )
    return _SLOPE_FACTOR[dimension] * (s2[..., 0] - s2[..., 1])


class InterfaceDensity(Descriptor):
    """:func:`interface_density` with its settings."""

    function = staticmethod(interface_density)


class VoxelFaceArea(Descriptor):
    """:func:`voxel_face_area` with its settings."""

    function = staticmethod(voxel_face_area)


class SpecificSurface(Descriptor):
    """:func:`specific_surface` with its settings."""

    function = staticmethod(specific_surface)


class SpecificSurfaceFromS2(Descriptor):
    """:func:`specific_surface_from_s2` with its settings."""

    function = staticmethod(specific_surface_from_s2)
