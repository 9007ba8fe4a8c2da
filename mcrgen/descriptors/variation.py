"""Normalised total variation."""

from __future__ import annotations

from torch import Tensor

from mcrgen.descriptors.module import Descriptor
from mcrgen.descriptors.specific_surface import voxel_face_area


def normalised_variation(indicator: Tensor, *, periodic: bool = False) -> Tensor:
    """Sum of |I(x + e) - I(x)| over all axes e, per voxel (Seibert et al., Acta Mater. 227 (2022) 117667, eq. 5).

    For a 0/1 medium this is :func:`mcrgen.descriptors.specific_surface.voxel_face_area`, and so it is computed; grey values
    count in part, which makes it the penalty on noise in a reconstruction. Differentiable, subgradient 0 where neighbours are
    equal.

    Args:
        indicator: ``(B, C, *spatial)``, 2D or 3D.
        periodic: wrap around and divide by the number of voxels, as a reconstruction needs it. By default each axis is the mean
            over the pairs inside the window, because measured media do not repeat.

    Returns:
        ``(B, C)`` float64, in 1/voxel.

    Raises:
        InputError: an axis of a single voxel.
    """
    return voxel_face_area(indicator, periodic=periodic)


class Variation(Descriptor):
    """:func:`normalised_variation` with its settings."""

    function = staticmethod(normalised_variation)
