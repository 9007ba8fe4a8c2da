"""A volume as a flat file while its blocks come in."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcrgen.io.journal import Triple, sync

Slices = tuple[slice, slice, slice]


class StagedVolume:
    """Labels of a volume in a file: a header, then one byte per voxel, x fastest.

    The file has its full length from the start, so that blocks come in any order and, where the file system can promise space,
    none of them finds the disk full. It is mapped one block at a time: what stays resident is a block.

    Attributes:
        path: the file.
        shape: (D, H, W) in voxels.
    """

    def __init__(self, path: Path, shape: Triple, header: bytes = b"") -> None:
        """Describe the file; nothing is opened."""
        self.path = path
        self.shape = shape
        self._header = header

    def is_whole(self) -> bool:
        """Whether the file is there with its full length."""
        return self.path.is_file() and self.path.stat().st_size == len(self._header) + prod(self.shape)

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
                    file.truncate(len(self._header) + prod(self.shape))
                else:
                    reserve(file.fileno(), len(self._header), prod(self.shape))
                os.fsync(file.fileno())
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise

    def write(self, where: Slices, labels: NDArray[np.uint8]) -> None:
        """Store one block."""
        planes = self._planes(where[0], "r+")
        planes[:, where[1], where[2]] = labels

    def read(self, where: Slices) -> NDArray[np.uint8]:
        """A copy of one box."""
        return np.array(self._planes(where[0], "r")[:, where[1], where[2]])

    def sync(self) -> None:
        """Have all that was written on disk before returning."""
        sync(self.path)

    def _planes(self, z: slice, mode: Literal["r", "r+"]) -> NDArray[np.uint8]:
        _, height, width = self.shape
        offset = len(self._header) + z.start * height * width
        return np.memmap(self.path, np.uint8, mode, offset, (z.stop - z.start, height, width))


def beside(path: Path, role: str) -> Path:
    """The file next to a volume that plays ``role`` while it is made."""
    return path.with_name(f"{path.name}.{role}")
