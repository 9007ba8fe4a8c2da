"""Segmented media read plane by plane, so that a volume need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.images import TIFF_SUFFIXES, Raster, damage_told, read_raster, strict_tifffile, tiff_voxel_size
from mcrgen.io.phases import MAX_PHASES, Phases, check_phase_count, distinct_values, find_phase, index_of

_SCAN_VOXELS = 1 << 24

Read = Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class _Planes:
    """Planes of a file as they are stored: ``read(start, stop)`` gives ``(stop - start, H, W)``."""

    shape: tuple[int, ...]
    voxel_size_um: float | None
    read: Read


class LabelFile:
    """A segmented image or volume on disk; a context manager.

    NPY files and TIFF stacks are read slab by slab, other formats (2D images for the most part) are held in memory.

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
            InputError: as :func:`mcrgen.io.images.read_medium`.
        """
        self.path = path
        self._name = name
        self._tif: tifffile.TiffFile | None = None
        try:
            stored = self._open()
            if len(stored.shape) not in (2, 3):
                raise InputError(f"{name}: expected a 2D image or a 3D volume, '{path}' has the shape {stored.shape}.")
            self.shape = stored.shape
            self.voxel_size_um = stored.voxel_size_um
            self._read = stored.read
            self._values, counts = self._scan(advance)
            values = tuple(int(v) for v in self._values)
            self.phases = Phases(values, find_phase(values, phase, phase_name))
        except BaseException:
            self.close()
            raise
        self.fractions: list[float] = (counts / prod(self.shape)).tolist()

    @property
    def depth(self) -> int:
        """Number of planes; 1 for an image."""
        return self.shape[0] if len(self.shape) == 3 else 1

    def planes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Labels 0..n-1 of some planes, ``(stop - start, H, W)``.

        Raises:
            InputError: the file is damaged there.
        """
        with damage_told(self.path, self._name):
            return index_of(self._read(start, stop), self._values)

    def labels(self) -> NDArray[np.uint8]:
        """The whole medium in memory, of :attr:`shape`."""
        return self.planes(0, self.depth).reshape(self.shape)

    def close(self) -> None:
        """Close the file."""
        if self._tif is not None:
            self._tif.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> _Planes:
        suffix = self.path.suffix.lower()
        if self.path.is_file() and suffix == ".npy":
            return self._open_npy()
        if self.path.is_file() and suffix in TIFF_SUFFIXES:
            with damage_told(self.path, self._name), strict_tifffile():
                paged = self._open_pages()
            if paged is not None:
                return paged
        return self._in_memory(read_raster(self.path, self._name))

    def _open_npy(self) -> _Planes:
        raster = read_raster(self.path, self._name)  # memory-mapped

        def read(start: int, stop: int) -> NDArray[Any]:
            mapped = read_raster(self.path, self._name).array  # a map of its own, so that its pages are let go of
            return np.array(_as_planes(mapped)[start:stop])

        return _Planes(raster.array.shape, raster.voxel_size_um, read)

    def _open_pages(self) -> _Planes | None:
        """A stack of grey pages of one size; None for anything else."""
        tif = self._tif = tifffile.TiffFile(self.path)
        stored = [page for series in tif.series for page in series.pages]
        pages = [page for page in stored if page is not None]
        if len(pages) < max(2, len(stored)) or len({page.shape for page in pages}) > 1 or len(pages[0].shape) != 2:
            return None
        if len({series.dtype for series in tif.series}) > 1:
            return None

        def read(start: int, stop: int) -> NDArray[Any]:
            with strict_tifffile():
                return np.stack([page.asarray() for page in pages[start:stop]])

        return _Planes((len(pages), *pages[0].shape), tiff_voxel_size(tif), read)

    def _in_memory(self, raster: Raster) -> _Planes:
        if raster.colour:
            raise InputError(
                f"{self._name}: expected labels, '{self.path}' is a colour image; run `mcrgen segment` on it first."
            )
        array = raster.array
        return _Planes(array.shape, raster.voxel_size_um, lambda start, stop: _as_planes(array)[start:stop])

    def _scan(self, advance: Callable[[int], None]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Distinct values, ascending, and how often each occurs."""
        label = f"{self._name} '{self.path}'"
        found: dict[Any, int] = {}
        step = max(1, _SCAN_VOXELS // max(1, prod(self.shape[-2:])))
        values: NDArray[Any] = np.zeros(0)
        for start in range(0, self.depth, step):
            stop = min(start + step, self.depth)
            with damage_told(self.path, self._name):
                values, counts = distinct_values(self._read(start, stop), label)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                found[value] = found.get(value, 0) + count
            values = np.array(sorted(found), dtype=values.dtype)
            if len(values) > MAX_PHASES:
                break
            advance(stop - start)
        check_phase_count(values, label)
        return values, np.array([found[v] for v in values.tolist()], dtype=np.int64)


def _as_planes(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.ndim == 3 else array[None]
