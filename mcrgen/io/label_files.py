"""Segmented media read part by part, so that they need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.phases import MAX_PHASES, Phases, check_phase_count, distinct_values, find_phase, index_of
from mcrgen.io.stored import Box, StoredArray

_SCAN_VOXELS = 1 << 22


class LabelFile:
    """A segmented image or volume on disk, of any format that :class:`~mcrgen.io.stored.StoredArray` reads; a context manager.

    Attributes:
        path: the file.
        shape: ``(H, W)`` or ``(D, H, W)``.
        phases: the phases, in ascending order of their values in the file.
        fractions: fraction of each phase.
        voxel_size_um: edge length of a voxel in micrometres, or None.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        phase: int | None,
        phase_name: str,
        advance: Callable[[int], None] = lambda planes: None,
    ) -> None:
        """Open a file and look through it once for its phases.

        Args:
            path: the file.
            name: the argument that named it.
            phase: value of the phase of interest in the file; the highest value if None.
            phase_name: the argument that named the phase.
            advance: called with the number of planes looked through.

        Raises:
            InputError: as :func:`mcrgen.io.images.read_medium` and :class:`~mcrgen.io.stored.StoredArray`.
        """
        self.path = path
        self._stored = StoredArray(path, name)
        try:
            _check_medium(self._stored, name)
            self.shape = self._stored.shape
            self.voxel_size_um = self._stored.voxel_size_um
            self._values, counts = self._scan(f"{name} '{path}'", advance)
            values = tuple(int(v) for v in self._values)
            self.phases = Phases(values, find_phase(values, phase, phase_name))
        except BaseException:
            self.close()
            raise
        self.fractions: list[float] = (counts / prod(self.shape)).tolist()

    @property
    def depth(self) -> int:
        """Number of planes; 1 for an image."""
        return self._stored.depth

    def planes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Labels 0..n-1 of some planes, ``(stop - start, H, W)``.

        Raises:
            InputError: the file is damaged there.
        """
        return self.part((slice(start, stop), slice(None), slice(None)))

    def part(self, box: Box) -> NDArray[np.uint8]:
        """Labels 0..n-1 of a box (z, y, x), ``(D, H, W)``; an image is one plane.

        Raises:
            InputError: the file is damaged there.
        """
        return index_of(self._stored.read(box), self._values)

    def parts(self, boxes: Sequence[Box]) -> NDArray[np.uint8]:
        """Labels 0..n-1 of boxes of one shape, ``(N, D, H, W)``; faster than one by one.

        Raises:
            InputError: the file is damaged there.
        """
        return index_of(self._stored.read_many(boxes), self._values)

    def labels(self) -> NDArray[np.uint8]:
        """The whole medium in memory, of :attr:`shape`."""
        return self.planes(0, self.depth).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _scan(self, label: str, advance: Callable[[int], None]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Distinct values, ascending, and how often each occurs."""
        found: dict[Any, int] = {}
        values: NDArray[Any] = np.zeros(0)
        for box in self._stored.blocks(_SCAN_VOXELS):
            values, counts = distinct_values(self._stored.read(box), label)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                found[value] = found.get(value, 0) + count
            values = np.array(sorted(found), dtype=values.dtype)
            if len(values) > MAX_PHASES:
                break
            if box[1].stop == self.shape[-2]:
                advance(box[0].stop - box[0].start)
        check_phase_count(values, label)
        return values, np.array([found[v] for v in values.tolist()], dtype=np.int64)


def _check_medium(stored: StoredArray, name: str) -> None:
    if stored.colour:
        raise InputError(f"{name}: expected labels, '{stored.path}' is a colour image; run `mcrgen segment` on it first.")
    if len(stored.shape) not in (2, 3) or 0 in stored.shape:
        raise InputError(f"{name}: expected a 2D image or a 3D volume, '{stored.path}' has the shape {stored.shape}.")
