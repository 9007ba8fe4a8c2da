"""Labels at coarser resolutions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.io.journal import Triple


def halved(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent label of each cell of 2 x 2 x 2 voxels.

    Of equally frequent labels it is that of the cell's first voxel, which favours no phase, or the lowest if that is not among
    them. Labels stay labels; but features of a cell's size vanish, so that phase fractions drift a little with every level: it
    is for looking, and descriptors are measured on the volume itself.

    Args:
        labels: ``(D, H, W)``; at the end of an axis of odd length the cells are one voxel thick. There is one pass over it for
            each value between its least and its greatest.

    Returns:
        ``(ceil(D / 2), ceil(H / 2), ceil(W / 2))``.
    """
    first = labels[::2, ::2, ::2]
    modes, most = first.copy(), np.zeros(first.shape, np.uint8)
    for label in range(int(labels.min()), int(labels.max()) + 1):
        counts = (labels == label).view(np.uint8)
        for axis in range(3):
            counts = _pair_sums(counts, axis)
        votes = 2 * counts + (first == label)
        modes[votes > most] = label
        np.maximum(most, votes, out=most)
    return modes


def level_shapes(shape: Triple, longest: int) -> list[Triple]:
    """Shapes of a volume and of its halves, their halves and so on, until no edge is over ``longest`` voxels."""
    shapes = [shape]
    while max(shapes[-1]) > longest:
        depth, height, width = shapes[-1]
        shapes.append((-(-depth // 2), -(-height // 2), -(-width // 2)))
    return shapes


def _pair_sums(counts: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    even, odd = ((slice(None),) * axis + (slice(start, None, 2),) for start in (0, 1))
    sums = counts[even].copy()
    sums[(slice(None),) * axis + (slice(counts.shape[axis] // 2),)] += counts[odd]
    return sums
