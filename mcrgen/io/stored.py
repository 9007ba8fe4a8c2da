"""Arrays on disk read box by box, so that a volume need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
    read_raster,
    sidecar_voxel_size,
    strict_tifffile,
)
from mcrgen.io.parts import Box as Box
from mcrgen.io.parts import Copies, Opened, Parts, as_volume, mapped
from mcrgen.io.provenance import sidecar
from mcrgen.io.tiff_pages import open_pages

STORED_SUFFIXES = (*SUFFIXES, ".raw", ".zarr")


class StoredArray:
    """An image or a volume in a file; a context manager.

    NPY files, raw files with the JSON file that is written beside them, grey TIFF images, TIFF stacks of planes and Zarr
    stores as written here are read part by part, other formats (PNG, BMP and JPEG for the most part) are held in memory. TIFF
    images that are stored plainly are mapped, of others the strips or tiles that a part touches are decoded. Any thread may
    read.

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
        self._view = opened.view

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
            return self._view()[box]

    def read_many(self, boxes: Sequence[Box]) -> NDArray[Any]:
        """The values of boxes of one shape, ``(N, D, H, W)``; faster than one by one.

        Raises:
            InputError: the file is damaged there.
        """
        with self._lock, damage_told(self.path, self._name):
            view = self._view()
            return np.stack([view[box] for box in boxes])

    def blocks(self, voxels: int) -> Iterator[Box]:
        """Boxes that cover the array in its order, about that many voxels each: whole planes, or whole rows of one plane."""
        height, width = self.shape[-2:]
        rows = max(1, voxels // max(1, width))
        planes = rows // max(1, height)
        for z in range(0, self.depth, max(1, planes)):
            for y in range(0, height, height if planes else rows):
                yield slice(z, min(z + max(1, planes), self.depth)), slice(y, min(y + rows, height)), slice(0, width)

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


def _open(path: Path, name: str, resources: ExitStack) -> Opened:
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
            pages = open_pages(resources.enter_context(tifffile.TiffFile(path)), path)
        if pages is not None:
            return pages
    raster = read_raster(path, name)
    volume = as_volume(raster.array)
    return Opened(raster.array.shape, raster.array.dtype, raster.voxel_size_um, lambda: volume, raster.colour)


def _open_npy(path: Path, name: str) -> Opened:
    raster = read_raster(path, name)  # memory-mapped

    def view() -> Parts:
        return Copies(as_volume(read_raster(path, name).array))  # a map of its own, so that its pages are let go of

    return Opened(raster.array.shape, raster.array.dtype, raster.voxel_size_um, view)


def _open_raw(path: Path, name: str) -> Opened:
    """A flat file, x fastest, which the JSON file beside it describes."""
    shape, dtype = _described(path, name)
    expected, found = prod(shape) * dtype.itemsize, path.stat().st_size
    if found != expected:
        raise InputError(
            f"{name}: expected {expected} bytes for the shape {shape} and data type {dtype} that '{sidecar(path)}' tells, "
            f"'{path}' has {found}; correct the shape, or export the volume again."
        )
    return Opened(shape, dtype, sidecar_voxel_size(path), mapped(path, dtype, 0, shape))


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


def _open_zarr(path: Path) -> Opened:
    """The array ``0`` of an OME-Zarr group."""
    import zarr

    array: Any = zarr.open_group(path, mode="r")["0"]
    return Opened(array.shape, array.dtype, sidecar_voxel_size(path), lambda: array)
