"""TIFF files of grey pages read by parts: mapped, by the strips or tiles that an image comes in, or page by page."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.io.images import ome_channels, strict_tifffile, tiff_voxel_size
from mcrgen.io.parts import Box, Opened, mapped

_KEPT_BYTES = 1 << 25
_JPEG = (6, 7, 33007, 34892)


def open_pages(tif: tifffile.TiffFile, path: Path) -> Opened | None:
    """A grey image, or a stack of grey planes, one behind the other or page by page; None for anything else."""
    series = list(tif.series)
    shape, dtype = series[0].shape, np.dtype(series[0].dtype)
    voxel_size_um = tiff_voxel_size(tif)
    if len(series) > 1:
        if len(shape) != 2 or any(s.shape != shape or s.dtype != dtype for s in series):
            return None
        images = _Pages([page for s in series for page in s.pages if page is not None])
        return Opened((len(images), *shape), dtype, voxel_size_um, lambda: images)
    if len(shape) not in (2, 3) or "S" in series[0].axes or ome_channels(tif) > 1:
        return None
    # An image of a single row or column is for who reads it whole to refuse.
    if series[0].dataoffset is not None and (len(shape) == 3 or min(shape) > 1):
        order = dtype.newbyteorder(tif.byteorder)
        return Opened(shape, dtype, voxel_size_um, mapped(path, order, series[0].dataoffset, shape))
    pages: list[Any] = [page for page in series[0].pages if page is not None]
    if len(shape) == 3 and len(pages) == shape[0] and all(page.shape == shape[1:] for page in pages):
        planes = _Pages(pages)
        return Opened(shape, dtype, voxel_size_um, lambda: planes)
    if len(shape) == 2 and min(shape) > 1 and len(pages) == 1 and SegmentedPage.suits(pages[0], shape):
        plane = SegmentedPage(pages[0])
        return Opened(shape, dtype, voxel_size_um, lambda: plane)
    return None


class _Pages:
    """Planes of which whole pages are read; the last one is kept for the rows that follow."""

    def __init__(self, pages: list[Any]) -> None:
        self._pages = pages
        self._last: tuple[int, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, box: Box) -> NDArray[Any]:
        with strict_tifffile():
            return np.stack([self._page(z)[box[1:]] for z in range(*box[0].indices(len(self)))])

    def _page(self, z: int) -> NDArray[Any]:
        if self._last is None or self._last[0] != z:
            self._last = z, self._pages[z].asarray()
        return self._last[1]


class SegmentedPage:
    """A page of one sample per pixel; reading a part decodes no more than the strips or tiles that it touches.

    The segments read last are kept, 32 MiB of them or a single one, so that neighbouring parts do not decode them again.

    Attributes:
        shape: ``(H, W)``.
    """

    def __init__(self, page: tifffile.TiffPage) -> None:
        """Keep the page of an open file."""
        self.shape = page.imagelength, page.imagewidth
        self._page = page
        self._edges = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self._across = -(-page.imagewidth // self._edges[1])
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()

    @staticmethod
    def suits(page: tifffile.TiffPage, shape: tuple[int, ...]) -> bool:
        """Whether a page is a plain grey image of that shape; photographs in JPEG are not."""
        plain = page.samplesperpixel == 1 and page.shaped[1] == 1 and page.dtype is not None
        return page.shape == shape and plain and page.compression not in _JPEG

    def __getitem__(self, box: Box) -> NDArray[Any]:
        """The values of a box (z, y, x), z being the one plane."""
        (top, bottom), (left, right) = [s.indices(n)[:2] for s, n in zip(box[1:], self.shape, strict=True)]
        out = np.empty((max(0, bottom - top), max(0, right - left)), self._page.dtype)
        if out.size == 0:
            return out[None][box[0]]
        height, width = self._edges
        with strict_tifffile():
            for row in range(top // height, (bottom - 1) // height + 1):
                for column in range(left // width, (right - 1) // width + 1):
                    segment = self._segment(row * self._across + column)
                    y, x = row * height, column * width
                    inner = segment[max(0, top - y) : bottom - y, max(0, left - x) : right - x]
                    y, x = max(top, y) - top, max(left, x) - left
                    out[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
        return out[None][box[0]]

    def _segment(self, index: int) -> NDArray[Any]:
        """A strip or tile ``(rows, columns)``, cut to the image."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        page = self._page
        data, *_ = page.decode(self._bytes(index), index)
        top, left = (n * edge for n, edge in zip(divmod(index, self._across), self._edges, strict=True))
        shape = tuple(min(edge, length - at) for edge, length, at in zip(self._edges, self.shape, (top, left), strict=True))
        # Segments that were never written hold the value that the file names for no data, zero for most.
        segment = np.full(shape, page.nodata, page.dtype) if data is None else data[0, : shape[0], : shape[1], 0]
        self._kept[index] = segment
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return segment

    def _bytes(self, index: int) -> bytes | None:
        count = self._page.databytecounts[index]
        if count == 0:
            return None
        file = self._page.parent.filehandle
        file.seek(self._page.dataoffsets[index])
        found: bytes = file.read(count)
        if len(found) < count:
            raise ValueError(f"expected {count} bytes of strip or tile {index}, found {len(found)}")
        return found
