"""Minkowski functionals (intrinsic volumes) of a phase, per unit area or volume."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError


@dataclass(frozen=True)
class MinkowskiDensities:
    """Minkowski functionals per unit area (slices) or volume, each ``(B, C)`` float64.

    Attributes:
        fraction: phase fraction.
        boundary: perimeter per area, or surface per volume, in 1/voxel.
        mean_curvature: integral of the mean curvature over the surface per volume, in 1/voxel^2, positive where the phase is
            convex; None for slices, where the integral of the curvature is 2 pi times the Euler number.
        euler: Euler number per area in 1/voxel^2, or per volume in 1/voxel^3: objects minus holes in 2D, objects minus tunnels
            plus cavities in 3D.
    """

    fraction: Tensor
    boundary: Tensor
    mean_curvature: Tensor | None
    euler: Tensor


def minkowski_functionals(indicator: Tensor, *, connectivity: int | None = None, periodic: bool = False) -> MinkowskiDensities:
    """Minkowski functionals of a phase by Crofton's formulae and by counting the cells of its voxel complex.

    The boundary is 2 P_L (slices: pi/2 P_L), with P_L the interface crossings per unit length of test lines, averaged over the
    directions to all 26 (8) neighbours, each weighted by its Voronoi cell on the sphere (Ohser and Mücklich, Statistical
    Analysis of Microstructures in Materials Science, 2000; Legland, Kiêu and Devaux, Image Anal. Stereol. 26 (2007) 83). The
    error of a plane depends on its direction: -5.2 to +2.6 % in 2D and -7.4 to +2.3 % in 3D; over all directions it averages to
    nothing. ``specific_surface`` uses the axes alone. The integral of mean curvature is 2 pi times the Euler number per area of
    sections normal to the axes, right for isotropic media. The Euler number is V - E + F - C of the union of closed voxels
    (full connectivity) or of the complex spanned by neighbouring voxel centres (face connectivity).

    Every count is divided by the number of places in the window where it could have been made, so the densities carry no edge
    effect. `skimage.measure.euler_number` and `perimeter_crofton`, equal otherwise, close the phase at the edge of the image.

    Mean curvature and Euler number of separate smooth bodies are right, but grooves where bodies overlap keep a systematic
    error at any resolution (Ohser, Nagel and Schladitz, Image Anal. Stereol. 28 (2009) 77): for overlapping discs that cover
    0.4 of the area, the Euler number is a third too low. Compare media of one voxel size with one connectivity.

    Args:
        indicator: ``(B, C, *spatial)``, 2D or 3D. Grey values count as the average over all thresholds between 0 and 1.
            Differentiable where neighbouring values differ.
        connectivity: of the phase, as in scikit-image: the number of spatial axes for voxels that share a corner (the default),
            1 for those that share a face. The complement of the phase is connected in the other way.
        periodic: wrap around instead of counting only inside the window. The finite window is the default because measured
            media do not repeat.

    Returns:
        Densities, each ``(B, C)`` float64.

    Raises:
        InputError: the indicator is neither 2D nor 3D or has an axis of one voxel, or the connectivity is another one.
    """
    spatial = tuple(indicator.shape[2:])
    dims = len(spatial)
    if dims not in (2, 3) or min(spatial) < 2:
        shape = tuple(indicator.shape)
        raise InputError(f"indicator: expected (B, C, [D,] H, W) with 2 voxels or more along each axis, got {shape}.")
    if connectivity not in (None, 1, dims):
        raise InputError(f"connectivity: expected 1 (faces) or {dims} (corners) for {dims}D media, got {connectivity}.")
    full, field = connectivity != 1, as_real(indicator)
    return MinkowskiDensities(
        fraction=_mean(field),
        boundary=(math.pi / 2 if dims == 2 else 2.0) * _crossings(field, periodic),
        mean_curvature=_section_curvature(field, full, periodic) if dims == 3 else None,
        euler=_euler(field, tuple(range(dims)), full, periodic),
    )


class MinkowskiFunctionals(Descriptor):
    """:func:`minkowski_functionals` with its settings."""

    function = staticmethod(minkowski_functionals)


def _mean(field: Tensor) -> Tensor:
    """Spatial mean ``(B, C)`` in float64."""
    return field.flatten(2).mean(dim=2, dtype=torch.float64)


def _pairs(field: Tensor, offset: tuple[int, ...], periodic: bool) -> tuple[Tensor, Tensor]:
    """Values at all places x and at x + offset."""
    if periodic:
        return field, field.roll([-o for o in offset], tuple(range(2, field.ndim)))
    whole = [slice(None)] * 2
    steps = list(zip(offset, field.shape[2:], strict=True))
    here = whole + [slice(max(0, -o), n - max(0, o)) for o, n in steps]
    there = whole + [slice(max(0, o), n + min(0, o)) for o, n in steps]
    return field[tuple(here)], field[tuple(there)]


@functools.cache
def _directions(dims: int) -> list[tuple[tuple[int, ...], float]]:
    """Offsets to one half of the neighbours, and the share of all directions that is closest to each or its opposite."""
    from scipy.spatial import SphericalVoronoi

    offsets = [o for o in itertools.product((-1, 0, 1), repeat=dims) if any(o)]
    areas = SphericalVoronoi([[x / math.hypot(*o) for x in o] for o in offsets]).calculate_areas()
    shares = 2 * areas / areas.sum()
    # The product runs from -1 up, so opposite offsets stand at mirrored places of the list.
    return list(zip(offsets, shares.tolist(), strict=True))[: len(offsets) // 2]


def _crossings(field: Tensor, periodic: bool) -> Tensor:
    """Interface crossings P_L per unit length of test lines, averaged over directions."""
    density = torch.zeros(field.shape[:2], dtype=torch.float64, device=field.device)
    for offset, share in _directions(field.ndim - 2):
        here, there = _pairs(field, offset, periodic)
        density = density + share / math.hypot(*offset) * _mean((here - there).abs())
    return density


def _euler(field: Tensor, axes: tuple[int, ...], full: bool, periodic: bool) -> Tensor:
    """Euler number per unit volume of the sections spanned by the given axes.

    Along each axis a cell of the complex is either a voxel or the gap between two. With closed voxels a gap is there if any
    voxel next to it is, and the voxel has the higher dimension, hence the minus sign; with voxel centres, if all are.
    """
    if not axes:
        return _mean(field)
    first, others = axes[0], axes[1:]
    here, there = _pairs(field, tuple(int(axis == first) for axis in range(field.ndim - 2)), periodic)
    gaps = torch.maximum(here, there) if full else torch.minimum(here, there)
    difference = _euler(gaps, others, full, periodic) - _euler(field, others, full, periodic)
    return difference if full else -difference


def _section_curvature(volume: Tensor, full: bool, periodic: bool) -> Tensor:
    """Integral of mean curvature per volume: 2 pi times the Euler number per area of sections, averaged over the axes."""
    sections = [_euler(volume, plane, full, periodic) for plane in ((0, 1), (0, 2), (1, 2))]
    return 2 * math.pi * torch.stack(sections).mean(dim=0)
