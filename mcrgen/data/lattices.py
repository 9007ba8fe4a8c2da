"""Media with facets along the grid: boards, stripes and the cuboids of a superalloy."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mcrgen.data.examples import require_dimensions
from mcrgen.errors import InputError, require_positive

_SWEEPS = 20  # of each size of cuboidal seeds; more hardly fill more


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


def cuboidal_precipitates(shape: tuple[int, ...], edge: int, channel: int, seed: int) -> NDArray[np.uint8]:
    """Rectangles (2D) or cuboids (3D) between thin channels, as of the gamma' phase in a nickel-base superalloy, by growth.

    Seeds, squares or cubes of three quarters of the largest edge, fall at random places until none has room (random sequential
    addition). The cells then move and grow at random, a voxel at a time, for a number of sweeps, which gathers the voids
    between them; seeds one voxel smaller follow where they have room now, and so on down to a quarter of the largest edge. At
    last all faces advance, a layer at a time in random order, until none can.

    All cells are boxes parallel to the axes with sharp edges, at most e voxels long. Any two are at least c voxels apart, with
    e the edge and c the channel: their Chebyshev distance is c + 1 or more, across faces, edges and corners alike. No face of
    a cell shorter than e can advance. The medium is periodic along all axes, so cells at the border go on at the opposite one.

    The fraction of the cells is at most (e / (e + c))^d in d dimensions. With e = 12, 14, 16 it is about 0.69, 0.72, 0.74 in 2D
    and 0.53, 0.56, 0.59 in 3D if c = 2, and 0.59, 0.63, 0.66 in 2D and 0.41, 0.46, 0.50 in 3D if c = 3. It is less in 3D since
    a section there runs along channels in places, which look like voids: planar sections of the 3D medium are its exemplars,
    the 2D medium is not. Sections normal to any axis have the same statistics; the fractions of those of 128^2 voxels have a
    standard deviation of about 0.05 (e = 14, c = 2).

    Args:
        shape: 2D or 3D size in voxels, at least e + c along each axis.
        edge: largest edge e of a cell in voxels.
        channel: smallest width c of the channels in voxels.
        seed: seed of the cells.

    Returns:
        Labels of the given shape: 0 the channels, 1 the cells.

    Raises:
        InputError: the shape is neither 2D nor 3D or too small, or the edge or the channel not positive.
    """
    require_dimensions(shape)
    require_positive("edge", edge)
    require_positive("channel", channel)
    if min(shape) < edge + channel:
        raise InputError(f"shape: expected at least {edge + channel} voxels, edge and channel, along each axis, got {shape}.")
    cells = _Cells(np.zeros(shape, np.uint8), edge, channel, np.random.default_rng(seed))
    for size in range(max(1, 3 * edge // 4), edge // 4, -1):
        cells.add_seeds(size)
        for _ in range(_SWEEPS):
            cells.move()
    cells.grow()
    return cells.labels


class _Cells:
    """Boxes in a periodic medium, as first voxels and ends, and the labels they are painted in.

    Faces are counted axis by axis, the lower one first.
    """

    def __init__(self, labels: NDArray[np.uint8], edge: int, channel: int, generator: np.random.Generator) -> None:
        self.labels = labels
        self._edge, self._channel, self._generator = edge, channel, generator
        self._boxes: list[tuple[list[int], list[int]]] = []

    def add_seeds(self, size: int) -> None:
        """Cubes of one size at random places until none has room: random sequential addition to saturation."""
        c = self._channel
        taken = np.pad(self.labels > 0, (c, c + size - 1), mode="wrap")
        for axis in range(taken.ndim):
            taken = np.logical_or.reduce(sliding_window_view(taken, size + 2 * c, axis), axis=-1)
        # A place once taken stays so: trying all of them once in random order is the same as trying for ever.
        for place in self._generator.permutation(np.flatnonzero(~taken)).tolist():
            if not taken.flat[place]:
                low = [int(i) for i in np.unravel_index(place, taken.shape)]
                high = [i + size for i in low]
                self._boxes.append((low, high))
                self.labels[self._wrapped(low, high)] = 1
                taken[self._wrapped([i - size - c + 1 for i in low], [i + c for i in high])] = True

    def move(self) -> None:
        """Each cell by a voxel in a random direction, and one of its faces by a voxel, if there is room."""
        faces = self._generator.integers(2 * self.labels.ndim, size=(len(self._boxes), 2))
        for i in self._generator.permutation(len(self._boxes)):
            ahead, grown = (int(face) for face in faces[i])
            if self._has_room(i, ahead):
                self._advance(i, ahead)
                self._retreat(i, ahead ^ 1)
            self._grow_face(i, grown)

    def grow(self) -> None:
        """Advance faces a layer at a time, in random order, until none can."""
        faces = [(i, face) for i in range(len(self._boxes)) for face in range(2 * self.labels.ndim)]
        while faces:
            # A face without room never gets any, as no cell retreats.
            faces = [faces[k] for k in self._generator.permutation(len(faces)) if self._grow_face(*faces[k])]

    def _grow_face(self, i: int, face: int) -> bool:
        low, high = self._boxes[i]
        grows = high[face // 2] - low[face // 2] < self._edge and self._has_room(i, face)
        if grows:
            self._advance(i, face)
        return grows

    def _has_room(self, i: int, face: int) -> bool:
        """Whether the one layer that comes within a channel of the cell if the face advances is empty."""
        low, high = self._boxes[i]
        near = [a - self._channel for a in low], [b + self._channel for b in high]
        return not self.labels[self._layer(*near, face, outside=True)].any()

    def _advance(self, i: int, face: int) -> None:
        low, high = self._boxes[i]
        self.labels[self._layer(low, high, face, outside=True)] = 1
        if face % 2:
            high[face // 2] += 1
        else:
            low[face // 2] -= 1

    def _retreat(self, i: int, face: int) -> None:
        low, high = self._boxes[i]
        self.labels[self._layer(low, high, face, outside=False)] = 0
        if face % 2:
            high[face // 2] -= 1
        else:
            low[face // 2] += 1

    def _layer(self, low: list[int], high: list[int], face: int, *, outside: bool) -> tuple[NDArray[np.intp], ...]:
        """Indices of the layer of voxels on either side of a face of a box."""
        axis, upper = divmod(face, 2)
        first = high[axis] - (not outside) if upper else low[axis] - outside
        low, high = low.copy(), high.copy()
        low[axis], high[axis] = first, first + 1
        return self._wrapped(low, high)

    def _wrapped(self, low: list[int], high: list[int]) -> tuple[NDArray[np.intp], ...]:
        return np.ix_(*[np.arange(a, b) % n for a, b, n in zip(low, high, self.labels.shape, strict=True)])
