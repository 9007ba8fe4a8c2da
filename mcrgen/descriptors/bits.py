"""Exact counts of configurations of voxels, eight voxels to a byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shift = tuple[int, int, int]

_CACHE_BYTES = 1 << 17
_WORD_BITS = 64


class BitBlock:
    """Binary volumes packed for counting where all voxels of a configuration lie in the phase.

    Rows are padded with zeros up to the largest shift along x, so that a shift by whole voxels is an offset into flat memory:
    one of eight copies, each shifted by one bit more, supplies the part below a byte. Whatever leaves the window reads zero.
    """

    def __init__(self, voxels: NDArray[np.bool_], reach: int) -> None:
        """Pack ``voxels`` ``(N, D, H, W)``; ``reach`` is the largest shift along x, in voxels."""
        n, self.depth, self.rows, width = voxels.shape
        self.pitch = -(-(width + reach) // _WORD_BITS) * (_WORD_BITS // 8)
        packed = np.zeros((n, self.depth, (self.rows + 1) * self.pitch), dtype=np.uint8)
        rows = packed[..., : self.rows * self.pitch].reshape(n, self.depth, self.rows, self.pitch)
        rows[..., : -(-width // 8)] = np.packbits(voxels, axis=-1)
        self._copies = [packed] + [_shift_left(packed, b) for b in range(1, 8 if reach else 1)]

    def count(self, configuration: Sequence[Shift], planes: range) -> NDArray[np.int64]:
        """Number of positions from which every voxel of a configuration lies in the phase.

        Args:
            configuration: shifts (dz, dy, dx) >= 0, the smallest of each axis being 0.
            planes: z of the positions; all of ``z + dz`` must lie in the block.

        Returns:
            ``(N,)``.
        """
        length = (self.rows - max(dy for _, dy, _ in configuration)) * self.pitch
        first, *others = (self._shifted(shift, planes, length) for shift in configuration)
        both = first
        for other in others:
            both = np.bitwise_and(both, other, out=None if both is first else both)
        words = np.ascontiguousarray(both).view(np.uint64)
        total: NDArray[np.int64] = np.bitwise_count(words).reshape(len(words), -1).sum(axis=1, dtype=np.int64)
        return total

    def _shifted(self, shift: Shift, planes: range, length: int) -> NDArray[np.uint8]:
        dz, dy, dx = shift
        start = dy * self.pitch + dx // 8
        return self._copies[dx % 8][:, planes.start + dz : planes.stop + dz, start : start + length]

    def chunks(self, depth: int) -> Iterator[range]:
        """Ranges of planes, up to ``depth``, whose bits stay in a core's cache."""
        step = max(1, _CACHE_BYTES // self._copies[0][:, 0].size)
        return (range(z, min(z + step, depth)) for z in range(0, depth, step))


def _shift_left(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Move every bit ``bits`` places towards the first, across bytes."""
    shifted = packed << np.uint8(bits)
    shifted[..., :-1] |= packed[..., 1:] >> np.uint8(8 - bits)
    return shifted


def count_all(
    block: BitBlock, configurations: Sequence[Sequence[Shift]], depth: int, workers: int | None = None
) -> NDArray[np.int64]:
    """Counts of many configurations over all positions with z below ``depth`` that they fit from.

    Args:
        block: the packed volumes.
        configurations: each a list of shifts, see :meth:`BitBlock.count`.
        depth: positions have z in 0..depth-1; planes beyond are looked at by the shifts only.
        workers: threads; by default one per core (NumPy lets go of the interpreter while it works).

    Returns:
        ``(N, number of configurations)``.
    """
    reach = [max(dz for dz, _, _ in configuration) for configuration in configurations]

    def part(planes: range) -> NDArray[np.int64]:
        inside = [range(planes.start, max(planes.start, min(planes.stop, block.depth - r))) for r in reach]
        return np.stack([block.count(c, p) for c, p in zip(configurations, inside, strict=True)], axis=1)

    chunks = list(block.chunks(depth))
    if len(chunks) == 1:
        return part(chunks[0])
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        total: NDArray[np.int64] = np.sum(list(pool.map(part, chunks)), axis=0)
    return total


def is_binary(indicator: Tensor) -> bool:
    """Whether counting bits may replace arithmetic: a 0/1 field on the CPU that no gradient is wanted of."""
    if indicator.device.type != "cpu" or indicator.requires_grad:
        return False
    return indicator.dtype == torch.bool or bool((indicator * indicator == indicator).all())


def as_voxels(indicator: Tensor) -> NDArray[np.bool_]:
    """A binary indicator ``(B, C, *spatial)`` as ``(B C, D, H, W)`` booleans; a slice is a volume of one plane."""
    spatial = tuple(indicator.shape[2:])
    flat = indicator.detach().reshape(-1, *((1,) if len(spatial) == 2 else ()), *spatial)
    voxels: NDArray[np.bool_] = (flat != 0).numpy()
    return voxels
