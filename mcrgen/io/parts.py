"""What opening a file for reading by parts gives, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


class Parts(Protocol):
    """What gives a part ``(D, H, W)`` for a box, an image being one plane."""

    def __getitem__(self, box: Box, /) -> NDArray[Any]:
        """The values of a box."""


View = Callable[[], Parts]


@dataclass(frozen=True)
class Opened:
    """What is known of an array before it is read.

    Attributes:
        shape: of the array.
        dtype: in the byte order of the file.
        voxel_size_um: edge length of a voxel in micrometres, or None.
        view: gives what parts are read from, which is held no longer than it takes to read some.
        colour: whether the last axis is red, green, blue.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size_um: float | None
    view: View
    colour: bool = False


@dataclass(frozen=True)
class Copies:
    """Parts of a mapped volume, copied into memory in the machine's byte order."""

    array: NDArray[Any]

    def __getitem__(self, box: Box) -> NDArray[Any]:
        return np.array(self.array[box], dtype=self.array.dtype.newbyteorder("="))


def mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> View:
    """View of an array that lies in a file as it would in memory; every one has a map of its own, whose pages are let go of."""
    return lambda: Copies(as_volume(np.memmap(path, dtype, "r", offset, shape)))


def as_volume(array: NDArray[Any]) -> NDArray[Any]:
    """An image as a volume of one plane; anything else as it is."""
    return array[None] if array.ndim == 2 else array
