"""Volumes of numbers read box by box: masks, mean values, local porosities."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.stored import Box, StoredArray

_SCAN_VOXELS = 1 << 22


class ScalarFile:
    """A volume of finite real numbers on disk, of any format that :class:`~mcrgen.io.stored.StoredArray` reads.

    A context manager.

    Attributes:
        path: the file.
        shape: ``(D, H, W)``.
        minimum: its lowest value.
        maximum: its highest value.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Open a file and look through it once for its range.

        Args:
            path: the file.
            name: the argument that named it.

        Raises:
            InputError: as :class:`~mcrgen.io.stored.StoredArray`; no 3D volume, colour, another type than integers, booleans
                and floats, or values that are NaN or beyond float32.
        """
        self.path = path
        self._stored = StoredArray(path, name)
        try:
            _check_volume(self._stored, name)
            depth, height, width = self._stored.shape
            self.shape = depth, height, width
            self.minimum, self.maximum = self._range(name)
        except BaseException:
            self.close()
            raise

    def read(self, box: Box) -> NDArray[np.float32]:
        """The values of a box (z, y, x) within the volume, ``(D, H, W)``.

        Raises:
            InputError: the file is damaged there.
        """
        return _as_float(self._stored.read(box))

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _range(self, name: str) -> tuple[float, float]:
        low, high = np.inf, -np.inf
        for slab in self._stored.slabs(_SCAN_VOXELS):
            values = _as_float(slab)
            if not np.isfinite(values).all():
                raise InputError(f"{name}: expected finite numbers, '{self.path}' has NaN or infinite ones; fill them first.")
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        return low, high


def _check_volume(stored: StoredArray, name: str) -> None:
    if stored.colour:
        raise InputError(f"{name}: expected a 3D volume of numbers, '{stored.path}' is a colour image.")
    if len(stored.shape) != 3 or 0 in stored.shape:
        raise InputError(f"{name}: expected a 3D volume, '{stored.path}' has the shape {stored.shape}.")
    if stored.dtype.kind not in "iubf":
        raise InputError(f"{name}: expected real numbers, '{stored.path}' has the data type {stored.dtype}.")


def _as_float(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        return values.astype(np.float32, copy=False)
