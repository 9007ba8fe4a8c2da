"""Media on lattices: boards, stripes and the cuboids of a superalloy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.data.examples import require_dimensions
from mcrgen.errors import InputError, require_positive


def checkerboard(shape: tuple[int, ...], edge: int) -> NDArray[np.uint8]:
    """Squares (2D) or cubes (3D) of alternating phase.

    Along an axis the periodic two-point correlation of either phase is S2(r) = |1 - (r mod 2a) / a| / 2 with a the edge, if
    every axis of the shape is a multiple of 2a.

    Args:
        shape: 2D or 3D size in voxels.
        edge: edge a of a square or cube in voxels.

    Returns:
        Labels 0 and 1 of the given shape, 0 at the origin.

    Raises:
        InputError: the shape is neither 2D nor 3D, or the edge is not positive.
    """
    require_dimensions(shape)
    require_positive("edge", edge)
    cells = sum(index // edge for index in np.indices(shape, sparse=True))
    return np.asarray(cells % 2, np.uint8)


def stripes(shape: tuple[int, ...], period: int, width: int, axis: int) -> NDArray[np.uint8]:
    """Stripes (2D) or layers (3D) of phase 1 normal to one axis.

    If the axis is a multiple of the period p long, the fraction of phase 1 is w / p and its periodic two-point correlation
    along the axis is S2(r) = (max(0, w - d) + max(0, w - p + d)) / p with d = r mod p and w the width; along the other axes it
    is w / p at every lag.

    Args:
        shape: 2D or 3D size in voxels.
        period: distance p from one stripe to the next in voxels.
        width: width w of a stripe in voxels, below the period.
        axis: axis that the stripes are normal to.

    Returns:
        Labels 0 and 1 of the given shape; a stripe begins at the origin.

    Raises:
        InputError: the shape is neither 2D nor 3D or has no such axis, or the width is not between 0 and the period.
    """
    require_dimensions(shape)
    if not 0 <= axis < len(shape):
        raise InputError(f"axis: expected 0 to {len(shape) - 1} for the shape {shape}, got {axis}.")
    if not 0 < width < period:
        raise InputError(f"width: expected 1 to {period - 1} voxels, less than the period, got {width}.")
    across = np.arange(shape[axis]) % period < width
    labels = np.zeros(shape, np.uint8)
    np.moveaxis(labels, axis, -1)[...] = across
    return labels


def cuboidal_precipitates(
    shape: tuple[int, ...], edge: int, channel: int, seed: int, *, jitter: int = 1, rounding: float = 2.0
) -> NDArray[np.uint8]:
    """Rectangles (2D) or cuboids (3D) between thin channels, as of the gamma' phase in a heat-treated nickel-base superalloy.

    Planes normal to each axis follow one another at distances of e + c plus a whole number that is uniform on -j..j, with e
    the edge, c the channel and j the jitter. Where a plane passes between two cells it is moved by another such number, drawn
    for this pair of cells alone, and becomes a channel of c voxels. A cell is what the channels about it leave: its edges are
    parallel to the axes, e voxels long on average with the standard deviation sqrt(j (j + 1)), and e - 3 j to e + 3 j at the
    outside. Neighbours across a face are c voxels apart; cells that share only an edge or a corner of the lattice do not touch
    as long as 2 j < c. Without rounding the expected fraction of the cells is (e / (e + c))^d in d dimensions, but for the
    little that cells overlap if 2 j > c; without jitter it is so in every window of whole periods.

    The 2D medium is not a section of the 3D one: a plane that follows a channel of the 3D medium meets few cells. It is the
    image of a medium whose sections along all the axes would look alike, which is how a network trained on one image sees it.

    Args:
        shape: 2D or 3D size in voxels.
        edge: mean edge e of a cell in voxels.
        channel: width c of the channels in voxels.
        seed: seed of the places of the channels.
        jitter: farthest j that a distance or a channel is off in voxels; 0 gives a regular lattice.
        rounding: radius of the edges and corners of the cells in voxels; 0 leaves them sharp, 2 takes one voxel
            off each corner of a rectangle.

    Returns:
        Labels of the given shape: 0 the channels, 1 the cells.

    Raises:
        InputError: the shape is neither 2D nor 3D, the edge or the channel not positive, or the jitter or the rounding
            negative or so large that a cell may vanish or have no straight edges.
    """
    require_dimensions(shape)
    require_positive("edge", edge)
    require_positive("channel", channel)
    if jitter < 0 or 3 * jitter >= edge:
        raise InputError(f"jitter: expected 0 or more and less than a third of the edge of {edge} voxels, got {jitter}.")
    if not 0 <= 2 * rounding <= edge - 3 * jitter:
        most = (edge - 3 * jitter) / 2
        raise InputError(f"rounding: expected 0 to {most:g} voxels, half of the smallest edge of a cell, got {rounding}.")
    starts = _channels(shape, edge + channel, jitter, np.random.default_rng(seed))
    labels = np.zeros(shape, np.uint8)
    for cell in np.ndindex(starts[0].shape[0] - 1, *starts[0].shape[1:]):
        # A channel before the cell and one after it, along each axis.
        low = [int(s[cell]) + channel for s in starts]
        high = [int(s[tuple(i + (axis == a) for a, i in enumerate(cell))]) for axis, s in enumerate(starts)]
        _paint(labels, low, high, rounding)
    return labels


def _channels(shape: tuple[int, ...], period: int, jitter: int, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """First voxels of the channels normal to each axis, by cell of the lattice; the last ones end the last cells."""
    cells = [n // (period - jitter) + 5 for n in shape]
    starts = []
    for axis, n in enumerate(cells):
        # A few planes before the window, so that it begins anywhere in a period.
        steps = period + generator.integers(-jitter, jitter, n + 1, endpoint=True)
        planes = np.cumsum(steps) - 2 * period - generator.integers(period)
        moves = generator.integers(-jitter, jitter, [m + (axis == a) for a, m in enumerate(cells)], endpoint=True)
        starts.append(np.moveaxis(np.moveaxis(moves, axis, -1) + planes, -1, axis))
    return starts


def _paint(labels: NDArray[np.uint8], low: list[int], high: list[int], rounding: float) -> None:
    """Set the voxels of a rounded box to one, as far as they lie in the window."""
    inside = [slice(max(0, a), max(0, min(n, b))) for a, b, n in zip(low, high, labels.shape, strict=True)]
    squares = np.zeros(())
    for a, b, part in zip(low, high, inside, strict=True):
        # How far voxel centres lie beyond the box less its rounding.
        beyond = np.abs(np.arange(part.start, part.stop) + 0.5 - (a + b) / 2) - (b - a) / 2 + rounding
        squares = np.add.outer(squares, np.square(np.maximum(0, beyond)))
    labels[tuple(inside)] |= squares <= rounding**2
