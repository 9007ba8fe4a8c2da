"""Label volumes written block by block, complete under their final name or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from abc import ABC, abstractmethod
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.images import TIFF_SUFFIXES, imagej_tags

Triple = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

VOLUME_SUFFIXES = (*TIFF_SUFFIXES, ".npy")
_BIGTIFF_FROM = 4 * 1024**3 - 64 * 1024**2
_PROBE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class VolumeWriter(ABC):
    """Context manager that takes blocks of labels and leaves a finished file.

    The file grows as ``NAME.partial`` and gets its name when the context is left without an error; after an error it is
    removed. Blocks may come in any order within a z slab; slabs come in order.
    """

    def __init__(self, path: Path, shape: Triple, voxel_size_um: float | None) -> None:
        """Prepare to write ``shape`` (D, H, W) uint8 voxels to ``path``."""
        self.path = path
        self.shape = shape
        self.voxel_size_um = voxel_size_um
        self.partial = path.with_name(path.name + ".partial")

    @abstractmethod
    def write(self, where: Slices, labels: NDArray[np.uint8]) -> None:
        """Store one block."""

    @abstractmethod
    def _open(self) -> None:
        """Create the partial file."""

    @abstractmethod
    def _close(self) -> None:
        """Flush and close the partial file."""

    def __enter__(self) -> Self:
        self._guarded_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._close()
            if kind is None:
                os.replace(self.partial, self.path)
        except OSError as close_error:
            error = error or close_error
        if error is None:
            return
        self.partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _PROBE_ERRORS:
            raise self._no_space() from error
        if kind is None:
            raise error

    def _guarded_open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.partial.unlink()
            if error.errno in _PROBE_ERRORS:
                raise self._no_space() from error
            raise InputError(f"output: cannot write '{self.path}' ({error.strerror}); choose another place.") from error

    def _no_space(self) -> InputError:
        free = shutil.disk_usage(self.path.parent).free
        return InputError(
            f"output: no space left for '{self.path}' ({prod(self.shape) / 2**20:.0f} MiB uncompressed, {free / 2**20:.0f} MiB "
            "free); the partial file was removed; free some space or choose another disk."
        )


class NpyVolumeWriter(VolumeWriter):
    """Uncompressed NPY through a memory map; the space is taken when it is opened, so that it cannot run out later."""

    def _open(self) -> None:
        with self.partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
            file.flush()
            reserve = getattr(os, "posix_fallocate", None)
            if reserve is None:  # macOS: the file is sparse and space may run out while it is written
                file.truncate(offset + prod(self.shape))
            else:
                reserve(file.fileno(), offset, prod(self.shape))
        self._map = np.memmap(self.partial, dtype=np.uint8, mode="r+", offset=offset, shape=self.shape)

    def write(self, where: Slices, labels: NDArray[np.uint8]) -> None:
        """Store one block."""
        self._map[where] = labels

    def _close(self) -> None:
        if hasattr(self, "_map"):
            self._map.flush()
            del self._map


class TiffVolumeWriter(VolumeWriter):
    """Deflate-compressed multi-page TIFF (BigTIFF past 4 GiB) that opens in Fiji and ParaView with the voxel size.

    One slab of blocks is held as uint8 until it is complete, then written page by page.
    """

    def _open(self) -> None:
        self._tif = tifffile.TiffWriter(self.partial, bigtiff=prod(self.shape) > _BIGTIFF_FROM)
        self._slab = np.empty((0, 0, 0), np.uint8)
        self._first = 0
        self._missing = 0
        self._pages = 0

    def write(self, where: Slices, labels: NDArray[np.uint8]) -> None:
        """Store one block; a completed slab goes to disk."""
        depth = where[0].stop - where[0].start
        if self._missing == 0:
            self._slab = np.empty((depth, *self.shape[1:]), np.uint8)
            self._first, self._missing = where[0].start, self._slab.size
        if where[0].start != self._first or depth != len(self._slab):
            raise ValueError(f"block {where} does not belong to the slab at z = {self._first}")
        self._slab[:, where[1], where[2]] = labels
        self._missing -= labels.size
        if self._missing == 0:
            for page in self._slab:
                self._write_page(page)

    def _write_page(self, page: NDArray[np.uint8]) -> None:
        tags = imagej_tags(self.shape, self.voxel_size_um)
        if self._pages > 0:
            tags["description"] = None
        self._tif.write(
            page, photometric="minisblack", compression="zlib", metadata=None, contiguous=False, maxworkers=1, **tags
        )
        self._pages += 1

    def _close(self) -> None:
        if hasattr(self, "_tif"):
            self._tif.close()


def require_volume_suffix(path: Path) -> None:
    """Raise unless a volume can be written under that name.

    Raises:
        InputError: the suffix is not one of ``VOLUME_SUFFIXES``.
    """
    if path.suffix.lower() not in VOLUME_SUFFIXES:
        raise InputError(f"output: expected a name ending in {', '.join(VOLUME_SUFFIXES)}, got '{path}'.")


def open_volume(path: Path, shape: Triple, voxel_size_um: float | None) -> VolumeWriter:
    """The writer for a file name.

    Args:
        path: ``.tif``, ``.tiff`` or ``.npy``.
        shape: (D, H, W) in voxels.
        voxel_size_um: edge length of a voxel in micrometres, or None if unknown.

    Raises:
        InputError: another suffix.
    """
    require_volume_suffix(path)
    writer = NpyVolumeWriter if path.suffix.lower() == ".npy" else TiffVolumeWriter
    return writer(path, shape, voxel_size_um)
