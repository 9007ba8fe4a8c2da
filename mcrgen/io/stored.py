"""Arrays on disk read box by box, so that a volume need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.errors import InputError, require_file
from mcrgen.io.images import (
    SUFFIXES,
    TIFF_SUFFIXES,
    damage_told,
    ome_channels,
    read_raster,
    sidecar_voxel_size,
    strict_tifffile,
    tiff_voxel_size,
)
from mcrgen.io.provenance import sidecar

STORED_SUFFIXES = (*SUFFIXES, ".raw", ".zarr")

Box = tuple[slice, slice, slice]
_Read = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True)
class _Opened:
    """What is known of an array before it is read; ``read`` gives a part ``(D, H, W)``, an image being one plane."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size_um: float | None
    read: _Read
    colour: bool = False


class StoredArray:
    """An image or a volume in a file; a context manager.

    NPY files, raw files with the JSON file that is written beside them, TIFF stacks of planes and Zarr stores as written here
    are read part by part, other formats (2D images for the most part) are held in memory. Any thread may read.

    Attributes:
        path: the file.
        shape: of the array, ``(H, W)`` or ``(D, H, W)`` where it is an image or a volume, which is not checked.
        dtype: its data type, in the byte order of the machine.
        voxel_size_um: edge length of a voxel in micrometres, or None.
        colour: whether it is an image in colour, whose last axis is red, green, blue; it has no boxes to read.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Open a file.

        Args:
            path: the file.
            name: the argument that named it.

        Raises:
            InputError: as :func:`mcrgen.io.images.read_raster`; a raw file without a description that fits it.
        """
        self.path = path
        self._name = name
        self._lock = Lock()
        self._resources = ExitStack()
        try:
            with damage_told(path, name):
                opened = _open(path, name, self._resources)
        except BaseException:
            self.close()
            raise
        self.shape = opened.shape
        self.dtype = opened.dtype.newbyteorder("=")
        self.voxel_size_um = opened.voxel_size_um
        self.colour = opened.colour
        self._read = opened.read

    @property
    def depth(self) -> int:
        """Number of planes; 1 for an image."""
        return self.shape[0] if len(self.shape) == 3 else 1

    def read(self, box: Box) -> NDArray[Any]:
        """The values of a box (z, y, x) within the array, ``(D, H, W)``; an image is one plane.

        Raises:
            InputError: the file is damaged there.
        """
        with self._lock, damage_told(self.path, self._name):
            return self._read(box)

    def slabs(self, voxels: int) -> Iterator[NDArray[Any]]:
        """All planes in their order, as many at a time as have about that many voxels, at least one."""
        step = max(1, voxels // max(1, prod(self.shape[-2:])))
        for start in range(0, self.depth, step):
            yield self.read((slice(start, min(start + step, self.depth)), slice(None), slice(None)))

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _open(path: Path, name: str, resources: ExitStack) -> _Opened:
    suffix = path.suffix.lower()
    if path.is_dir() and suffix == ".zarr":
        return _open_zarr(path)
    require_file(name, path)
    if suffix not in STORED_SUFFIXES or suffix == ".zarr":
        raise InputError(f"{name}: expected a file of type {', '.join(STORED_SUFFIXES)} (a folder), got '{path}'.")
    if suffix == ".npy":
        return _open_npy(path, name)
    if suffix == ".raw":
        return _open_raw(path, name)
    if suffix in TIFF_SUFFIXES:
        with strict_tifffile():
            stack = _open_stack(resources.enter_context(tifffile.TiffFile(path)), path)
        if stack is not None:
            return stack
    raster = read_raster(path, name)
    volume = _as_volume(raster.array)
    return _Opened(raster.array.shape, raster.array.dtype, raster.voxel_size_um, lambda box: volume[box], raster.colour)


def _open_npy(path: Path, name: str) -> _Opened:
    raster = read_raster(path, name)  # memory-mapped

    def read(box: Box) -> NDArray[Any]:
        mapped = read_raster(path, name).array  # a map of its own, so that its pages are let go of
        return _native(_as_volume(mapped)[box])

    return _Opened(raster.array.shape, raster.array.dtype, raster.voxel_size_um, read)


def _open_raw(path: Path, name: str) -> _Opened:
    """A flat file, x fastest, which the JSON file beside it describes."""
    shape, dtype = _described(path, name)
    expected, found = prod(shape) * dtype.itemsize, path.stat().st_size
    if found != expected:
        raise InputError(
            f"{name}: expected {expected} bytes for the shape {shape} and data type {dtype} that '{sidecar(path)}' tells, "
            f"'{path}' has {found}; correct the shape, or export the volume again."
        )
    return _Opened(shape, dtype, sidecar_voxel_size(path), _mapped(path, dtype, 0, shape))


def _described(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and data type of a raw file."""
    try:
        record = json.loads(sidecar(path).read_text())
        shape, dtype = tuple(record["shape"]), np.dtype(str(record["dtype"]))
        fits = all(type(length) is int and length > 0 for length in shape) and dtype.kind in "iubfc"
    except (OSError, ValueError, TypeError, KeyError):
        fits = False
    if not fits:
        raise InputError(
            f"{name}: '{path}' has no header, expected its shape (z, y, x) and data type in '{sidecar(path)}'; "
            'write them there as in {"shape": [64, 128, 128], "dtype": "uint8"}.'
        )
    return shape, dtype


def _open_zarr(path: Path) -> _Opened:
    """The array ``0`` of an OME-Zarr group."""
    import zarr

    array: Any = zarr.open_group(path, mode="r")["0"]
    return _Opened(array.shape, array.dtype, sidecar_voxel_size(path), lambda box: np.asarray(array[box]))


def _open_stack(tif: tifffile.TiffFile, path: Path) -> _Opened | None:
    """A stack of grey planes, one behind the other or page by page; None for anything else."""
    series = list(tif.series)
    shape, dtype = series[0].shape, np.dtype(series[0].dtype)
    voxel_size_um = tiff_voxel_size(tif)
    if len(series) == 1 and len(shape) == 3 and "S" not in series[0].axes and ome_channels(tif) == 1:
        if series[0].dataoffset is not None:
            mapped = _mapped(path, dtype.newbyteorder(tif.byteorder), series[0].dataoffset, shape)
            return _Opened(shape, dtype, voxel_size_um, mapped)
        pages = [page for page in series[0].pages if page is not None]
        if len(pages) == shape[0] and all(page.shape == shape[1:] for page in pages):
            return _Opened(shape, dtype, voxel_size_um, _paged(pages))
    if len(series) > 1 and len(shape) == 2 and all(s.shape == shape and s.dtype == dtype for s in series):
        pages = [page for s in series for page in s.pages if page is not None]
        return _Opened((len(pages), *shape), dtype, voxel_size_um, _paged(pages))
    return None


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> _Read:
    def read(box: Box) -> NDArray[Any]:
        return _native(_as_volume(np.memmap(path, dtype, "r", offset, shape))[box])

    return read


def _paged(pages: list[Any]) -> _Read:
    def read(box: Box) -> NDArray[Any]:
        with strict_tifffile():
            return np.stack([page.asarray()[box[1:]] for page in pages[box[0]]])

    return read


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in memory, in the machine's byte order."""
    return np.array(array, dtype=array.dtype.newbyteorder("="))


def _as_volume(array: NDArray[Any]) -> NDArray[Any]:
    return array[None] if array.ndim == 2 else array
