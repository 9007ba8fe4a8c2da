"""Media that need no file: a photograph a dependency ships, and synthetic ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError, require_fraction, require_positive

_CHUNK = 1 << 20


def gravel() -> NDArray[np.uint8]:
    """Photograph of gravel, ``(512, 512)`` grey values, CC0, shipped with scikit-image."""
    from skimage.data import gravel as photograph

    image: NDArray[np.uint8] = photograph()
    return image


def gaussian_level_cut(
    shape: tuple[int, ...], fractions: tuple[float, ...], correlation: float | tuple[float, ...], seed: int
) -> NDArray[np.uint8]:
    """Phases cut from a periodic Gaussian random field at the levels that give exactly these fractions.

    Two phases of fraction 1/2 have the two-point correlation S2(r) = 1/4 + arcsin(exp(-r^2 / (4 s^2))) / (2 pi) at the lag r
    along an axis whose kernel has the standard deviation s (Torquato, Random Heterogeneous Materials, 2002, ch. 8).

    Args:
        shape: 2D or 3D size in voxels.
        fractions: phase fractions from the lowest level up; they sum to one.
        correlation: standard deviation in voxels of the Gaussian kernel that white noise is smoothed with; one for each axis
            makes the medium anisotropic.
        seed: seed of the noise.

    Returns:
        Labels 0..n-1 of the given shape.

    Raises:
        InputError: there is neither one correlation nor one for each axis.
    """
    if isinstance(correlation, tuple) and len(correlation) != len(shape):
        raise InputError(f"correlation: expected one number or {len(shape)} for the shape {shape}, got {correlation}.")
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(seed).standard_normal(shape)
    field = gaussian_filter(white, correlation, mode="wrap")
    ranks = np.empty(field.size, dtype=np.int64)
    ranks[np.argsort(field, axis=None)] = np.arange(field.size)
    edges = np.cumsum(fractions)[:-1] * field.size
    return np.digitize(ranks, edges).astype(np.uint8).reshape(shape)


def overlapping_spheres(
    shape: tuple[int, ...], radius: float, fraction: float, seed: int, *, periodic: bool = True
) -> NDArray[np.uint8]:
    """Boolean model: overlapping discs (2D) or spheres (3D) of one radius around Poisson points, sampled at voxel centres.

    Closed forms (Torquato, Random Heterogeneous Materials, 2002, ch. 5 and 6), with rho the number of centres per unit volume
    and v1 = pi R^2 or 4 pi R^3 / 3: the matrix has the phase fraction phi = exp(-rho v1), the two-point correlation
    S2(r) = exp(-rho v2(r)), and the lineal path function L(z) = phi^(1 + 2 z / (pi R)) in 2D, phi^(1 + 3 z / (4 R)) in 3D.
    The volume v2 of the union of two discs or spheres r apart is 2 v1 from r = 2 R on, and before that
    2 v1 - 2 R^2 arccos(r / (2 R)) + (r / 2) sqrt(4 R^2 - r^2) in 2D and v1 (1 + 3 r / (4 R) - r^3 / (16 R^3)) in 3D.
    Fraction and S2 hold on the voxels as they are, but for sampling noise; L is that of the continuous medium, and voxels miss
    what reaches a line only between two of them.

    Args:
        shape: 2D or 3D size in voxels.
        radius: radius R in voxels.
        fraction: expected fraction 1 - phi of the spheres; sets rho = -ln(phi) / v1.
        seed: seed of the centres.
        periodic: the medium repeats itself; otherwise spheres centred outside reach into it.

    Returns:
        Labels of the given shape: 0 the matrix, 1 the spheres.

    Raises:
        InputError: the shape is neither 2D nor 3D, the radius not positive, or the fraction not between 0 and 1.
    """
    require_dimensions(shape)
    require_positive("radius", radius)
    require_fraction("fraction", fraction)
    size = np.array(shape)
    margin = 0.0 if periodic else radius
    density = -np.log1p(-fraction) / (np.pi * radius**2 if len(shape) == 2 else 4 / 3 * np.pi * radius**3)
    generator = np.random.default_rng(seed)
    count = generator.poisson(density * np.prod(size + 2 * margin))
    # Voxel centres lie on the integers, so that the window begins half a voxel before the first.
    centres = generator.uniform(-margin - 0.5, size + margin - 0.5, (count, len(shape)))
    labels = np.zeros(shape, np.uint8)
    for part in np.array_split(centres, 1 + count * int(2 * radius + 2) ** len(shape) // _CHUNK):
        voxels = voxels_within(part, radius)
        inside = np.ones(len(voxels), np.bool_) if periodic else ((voxels >= 0) & (voxels < size)).all(axis=1)
        labels[tuple((voxels[inside] % size).T)] = 1
    return labels


def require_dimensions(shape: tuple[int, ...]) -> None:
    """Raise unless the shape is that of a slice or a volume.

    Raises:
        InputError: the shape is neither 2D nor 3D, or has an empty axis.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(f"shape: expected two or three positive sizes, got {shape}.")


def voxels_within(centres: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Whole coordinates, one row per voxel, within a radius of any of the centres; in and out of the window."""
    n, dims = centres.shape
    first = np.ceil(centres - radius).astype(np.int64)
    steps = np.arange(int(2 * radius) + 1)
    squares = np.square(first[..., None] + steps - centres[..., None])
    distances = squares[:, 0].reshape(n, -1, *[1] * (dims - 1))
    for axis in range(1, dims):
        distances = distances + squares[:, axis].reshape(n, *[1] * axis, -1, *[1] * (dims - 1 - axis))
    which, *offsets = np.nonzero(distances <= radius**2)
    return first[which] + np.stack(offsets, axis=1)
