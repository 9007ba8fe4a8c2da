"""How much of each phase the windows of a medium hold."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.data.sliding_windows import WindowGrid

_BLOCK_VOXELS = 1 << 22


def window_counts(grid: WindowGrid, phases: int) -> NDArray[np.int64]:
    """Number of voxels of each phase in each window of a file, ``(P, N)``.

    Summed-area tables of blocks of rows or planes: beyond the counts themselves, which take 8 bytes for each window and phase,
    memory holds a few such blocks, whatever the size of the file (but a whole plane of a volume).
    """
    # Blocks follow each other along this axis: planes of a volume, rows of an image.
    running = 0 if grid.file.depth > 1 else 1
    others = [axis for axis in range(3) if axis != running]
    starts, edge = grid.starts[running], grid.edges[running]
    counts = np.zeros((phases, *(len(grid.starts[axis]) for axis in (running, *others))), np.int64)
    before = np.zeros((phases - 1, 1, *counts.shape[2:]), np.int64)
    for first, labels in _blocks(grid, running):
        for phase in range(phases - 1):
            sums: NDArray[Any] = np.moveaxis(labels == phase, running, 0)
            for at, axis in zip((1, 2), others, strict=True):
                sums = _window_sums(sums, at, grid.starts[axis], grid.edges[axis])
            # table[i]: the sums of all that lies before the plane or row first + i.
            table = np.concatenate([before[phase], sums]).cumsum(axis=0)
            for sign, cuts in ((-1, starts), (1, starts + edge)):
                here = (cuts > first) & (cuts < first + len(table))
                counts[phase, here] += sign * table[cuts[here] - first]
            before[phase] = table[-1:]
    counts[-1] = prod(grid.edges) - counts[:-1].sum(axis=0)
    return np.moveaxis(counts, 1, 1 + running).reshape(phases, -1)


def _blocks(grid: WindowGrid, running: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Blocks of planes or rows as far as the windows reach, and the first plane or row of each."""
    size = [grid.file.depth, *grid.file.shape[-2:]]
    end = int(grid.starts[running][-1]) + grid.edges[running]
    step = max(1, _BLOCK_VOXELS * size[running] // prod(size))
    for first in range(0, end, step):
        z, y, x = (slice(first, min(first + step, end)) if axis == running else slice(0, size[axis]) for axis in range(3))
        yield first, grid.file.part((z, y, x))


def _window_sums(values: NDArray[Any], axis: int, starts: NDArray[np.int64], edge: int) -> NDArray[np.int32]:
    """Sums along an axis over windows of one length."""
    if edge == 1:
        return values.take(starts, axis).astype(np.int32, copy=False)
    table = np.zeros([n + (i == axis) for i, n in enumerate(values.shape)], np.int32)
    np.cumsum(values, axis=axis, dtype=np.int32, out=np.moveaxis(np.moveaxis(table, axis, 0)[1:], 0, axis))
    return table.take(starts + edge, axis) - table.take(starts, axis)
