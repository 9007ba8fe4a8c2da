"""A volume as a flat file while its blocks come in."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mcrgen.io.journal import Triple, sync

Slices = tuple[slice, slice, slice]

_MAPPED_PLANES = 16


class StagedVolume:
    """A volume in a file: a header, then the voxels, x fastest, one channel after the other where there are several.

    The file has its full length from the start, so that blocks come in any order and, where the file system can promise space,
    none of them finds the disk full. It is mapped a few planes at a time: the pages of a whole block's planes would be far more
    than the block.

    Attributes:
        path: the file.
        shape: (D, H, W) in voxels.
        dtype: type of a voxel.
        channels: values per voxel.
        bytes: length of the file.
    """

    def __init__(
        self, path: Path, shape: Triple, header: bytes = b"", *, dtype: DTypeLike = np.uint8, channels: int = 1
    ) -> None:
        """Describe the file; nothing is opened."""
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.channels = channels
        self._header = header
        self.bytes = len(header) + prod(shape) * channels * self.dtype.itemsize

    def is_whole(self) -> bool:
        """Whether the file is there with its full length."""
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def create(self) -> None:
        """Make the file and take its space.

        Raises:
            OSError: no such space; no file is left.
        """
        try:
            with self.path.open("wb") as file:
                file.write(self._header)
                file.flush()
                reserve = getattr(os, "posix_fallocate", None)
                if reserve is None:  # macOS: the file is sparse and space may run out while it is written
                    file.truncate(self.bytes)
                else:
                    reserve(file.fileno(), len(self._header), self.bytes - len(self._header))
                os.fsync(file.fileno())
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise

    def write(self, where: Slices, values: NDArray[Any]) -> None:
        """Store one block, ``(D, H, W)`` or, of several channels, ``(C, D, H, W)``."""
        for channel, box in enumerate(values.reshape(self.channels, *values.shape[-3:])):
            for start in range(0, len(box), _MAPPED_PLANES):
                part = box[start : start + _MAPPED_PLANES]
                first = where[0].start + start
                self._planes(channel, slice(first, first + len(part)), "r+")[:, where[1], where[2]] = part

    def read(self, where: Slices) -> NDArray[Any]:
        """A copy of one box of the first channel."""
        return np.array(self._planes(0, where[0], "r")[:, where[1], where[2]])

    def sync(self) -> None:
        """Have all that was written on disk before returning."""
        sync(self.path)

    def _planes(self, channel: int, z: slice, mode: Literal["r", "r+"]) -> NDArray[Any]:
        depth, height, width = self.shape
        voxels = (channel * depth + z.start) * height * width
        offset = len(self._header) + voxels * self.dtype.itemsize
        return np.memmap(self.path, self.dtype, mode, offset, (z.stop - z.start, height, width))


def beside(path: Path, role: str) -> Path:
    """The file next to a volume that plays ``role`` while it is made."""
    return path.with_name(f"{path.name}.{role}")
