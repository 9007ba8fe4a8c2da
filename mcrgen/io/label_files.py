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
from mcrgen.io.images import (
    TIFF_SUFFIXES,
    Raster,
    damage_told,
    ome_channels,
    read_raster,
    sidecar_voxel_size,
    strict_tifffile,
    tiff_voxel_size,
)
from mcrgen.io.phases import MAX_PHASES, Phases, check_phase_count, distinct_values, find_phase, index_of

_SCAN_VOXELS = 1 << 24

Box = tuple[slice, slice, slice]
Read = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True)
class _Stored:
    """A file's array: ``read((z, y, x))`` gives that part of it, ``(D, H, W)``, an image being one plane."""

    shape: tuple[int, ...]
    voxel_size_um: float | None
    read: Read


class LabelFile:
    """A segmented image or volume on disk; a context manager.

    NPY files, TIFF stacks of planes and Zarr stores as written here are read part by part, other formats (2D images for the
    most part) are held in memory.

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
            if len(stored.shape) not in (2, 3) or 0 in stored.shape:
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
        return self.part((slice(start, stop), slice(None), slice(None)))

    def part(self, box: Box) -> NDArray[np.uint8]:
        """Labels 0..n-1 of a box (z, y, x), ``(D, H, W)``; an image is one plane.

        Raises:
            InputError: the file is damaged there.
        """
        with damage_told(self.path, self._name):
            return index_of(self._read(box), self._values)

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

    def _open(self) -> _Stored:
        suffix = self.path.suffix.lower()
        if self.path.is_dir() and suffix == ".zarr":
            with damage_told(self.path, self._name):
                return self._open_zarr()
        if self.path.is_file() and suffix == ".npy":
            return self._open_npy()
        if self.path.is_file() and suffix in TIFF_SUFFIXES:
            with damage_told(self.path, self._name), strict_tifffile():
                stack = self._open_stack(tifffile.TiffFile(self.path))
            if stack is not None:
                return stack
        return self._in_memory(read_raster(self.path, self._name))

    def _open_npy(self) -> _Stored:
        raster = read_raster(self.path, self._name)  # memory-mapped

        def read(box: Box) -> NDArray[Any]:
            mapped = read_raster(self.path, self._name).array  # a map of its own, so that its pages are let go of
            return np.array(_as_volume(mapped)[box])

        return _Stored(raster.array.shape, raster.voxel_size_um, read)

    def _open_zarr(self) -> _Stored:
        """The array ``0`` of an OME-Zarr group."""
        import zarr

        array: Any = zarr.open_group(self.path, mode="r")["0"]
        return _Stored(array.shape, sidecar_voxel_size(self.path), lambda box: np.asarray(array[box]))

    def _open_stack(self, tif: tifffile.TiffFile) -> _Stored | None:
        """A stack of grey planes, one behind the other or page by page; None for anything else."""
        self._tif = tif
        series = list(tif.series)
        shape = series[0].shape
        if len(series) == 1 and len(shape) == 3 and "S" not in series[0].axes and ome_channels(tif) == 1:
            if series[0].dataoffset is not None:
                return _Stored(
                    shape,
                    tiff_voxel_size(tif),
                    self._mapped(series[0].dataoffset, series[0].dtype.newbyteorder(tif.byteorder), shape),
                )
            pages = [page for page in series[0].pages if page is not None]
            if len(pages) == shape[0] and all(page.shape == shape[1:] for page in pages):
                return _Stored(shape, tiff_voxel_size(tif), _paged(pages))
        if len(series) > 1 and len(shape) == 2 and all(s.shape == shape and s.dtype == series[0].dtype for s in series):
            pages = [page for s in series for page in s.pages if page is not None]
            return _Stored((len(pages), *shape), tiff_voxel_size(tif), _paged(pages))
        return None

    def _mapped(self, offset: int, stored: np.dtype[Any], shape: tuple[int, ...]) -> Read:
        def read(box: Box) -> NDArray[Any]:
            return np.array(np.memmap(self.path, stored, "r", offset, shape)[box], dtype=stored.newbyteorder("="))

        return read

    def _in_memory(self, raster: Raster) -> _Stored:
        if raster.colour:
            raise InputError(
                f"{self._name}: expected labels, '{self.path}' is a colour image; run `mcrgen segment` on it first."
            )
        volume = _as_volume(raster.array)
        return _Stored(raster.array.shape, raster.voxel_size_um, lambda box: volume[box])

    def _scan(self, advance: Callable[[int], None]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Distinct values, ascending, and how often each occurs."""
        label = f"{self._name} '{self.path}'"
        found: dict[Any, int] = {}
        step = max(1, _SCAN_VOXELS // max(1, prod(self.shape[-2:])))
        values: NDArray[Any] = np.zeros(0)
        for start in range(0, self.depth, step):
            stop = min(start + step, self.depth)
            with damage_told(self.path, self._name):
                slab = self._read((slice(start, stop), slice(None), slice(None)))
                values, counts = distinct_values(slab, label)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                found[value] = found.get(value, 0) + count
            values = np.array(sorted(found), dtype=values.dtype)
            if len(values) > MAX_PHASES:
                break
            advance(stop - start)
        check_phase_count(values, label)
        return values, np.array([found[v] for v in values.tolist()], dtype=np.int64)


def _as_volume(array: NDArray[Any]) -> NDArray[Any]:
    return array[None] if array.ndim == 2 else array


def _paged(pages: list[Any]) -> Read:
    def read(box: Box) -> NDArray[Any]:
        with strict_tifffile():
            return np.stack([page.asarray()[box[1:]] for page in pages[box[0]]])

    return read
