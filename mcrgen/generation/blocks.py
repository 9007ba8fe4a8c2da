"""How a volume is cut into blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Block:
    """A box of output voxels: ``start`` inclusive, ``stop`` exclusive, both (z, y, x)."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Size (D, H, W) in voxels."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def moved(self, by: Triple) -> Block:
        """The block of the same shape that many voxels further."""
        start, stop = (tuple(a + b for a, b in zip(corner, by, strict=True)) for corner in (self.start, self.stop))
        return Block((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of this block in the whole volume."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


BlockScores = Callable[[Block], Tensor]
"""Scores ``(C, *block.shape)`` of any block, also of one that sticks out of the volume: the field is unlimited."""


def split_axis(length: int, block_size: int) -> list[tuple[int, int]]:
    """Cut ``range(length)`` into the fewest intervals no longer than ``block_size``, as equal as can be.

    Equal blocks waste the least halo and meet the fewest convolution kernels; a short last block would do neither.
    """
    count = -(-length // block_size)
    edges = [i * length // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def grid(shape: Triple, block_size: int) -> Iterator[Block]:
    """Blocks that cover a volume of ``shape`` exactly once, x fastest, so that z slabs are finished one by one."""
    spans = [split_axis(length, block_size) for length in shape]
    for (z0, z1), (y0, y1), (x0, x1) in itertools.product(*spans):
        yield Block((z0, y0, x0), (z1, y1, x1))
