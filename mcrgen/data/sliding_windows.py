"""Sliding windows of files larger than memory: where they lie, and reading some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.label_files import LabelFile

Triple = tuple[int, int, int]
Starts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one file at all combinations of some starts along z, y and x; an image is one plane.

    Attributes:
        file: the open file.
        edges: size of a window (z, y, x) in voxels; 1 along the normal of sections.
        starts: first voxels of the windows along each axis, ascending.
    """

    file: LabelFile
    edges: Triple
    starts: Starts

    def __len__(self) -> int:
        return prod(map(len, self.starts))

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Windows ``(N, *edges)`` of these numbers, which count x fastest."""
        places = np.unravel_index(indices, [len(s) for s in self.starts])
        corners = np.stack([s[p] for s, p in zip(self.starts, places, strict=True)], axis=1).tolist()
        d, h, w = self.edges
        return self.file.parts([(slice(z, z + d), slice(y, y + h), slice(x, x + w)) for z, y, x in corners])


class SlidingWindows:
    """Windows of several files, numbered file by file.

    Attributes:
        grids: of each file.
    """

    def __init__(self, grids: Sequence[WindowGrid], normal: int | None) -> None:
        """Number the windows.

        Args:
            grids: of each file.
            normal: axis that the windows are one voxel thick along and that is left out of them; None for 3D windows.
        """
        self.grids = tuple(grids)
        self._normal = normal
        self._firsts = np.cumsum([0, *map(len, grids)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Labels ``(N, T, T)`` or ``(N, T, T, T)`` of the windows of these numbers."""
        found = np.empty((len(indices), *self.grids[0].edges), np.uint8)
        owners = np.searchsorted(self._firsts, indices, side="right") - 1
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            found[mine] = self.grids[owner].gather(indices[mine] - self._firsts[owner])
        return found if self._normal is None else found.squeeze(1 + self._normal)


@dataclass(frozen=True)
class WindowPlan:
    """How windows are cut from files.

    Attributes:
        window: edge length in voxels.
        stride: from one window to the next.
        held_out: share of each file, at the end of its longest axis, that is kept from training.
        normal: axis of volumes that windows are one voxel thick along; None for 3D windows.
    """

    window: int
    stride: int
    held_out: float
    normal: int | None

    def training(self, files: Sequence[LabelFile]) -> SlidingWindows:
        """All windows in the training parts; the last one along an axis ends where the part does, whatever the stride.

        Raises:
            InputError: windows do not fit.
        """
        return SlidingWindows([self._training_grid(file) for file in files], self._normal_of(files[0]))

    def monitoring(self, files: Sequence[LabelFile], count: int) -> SlidingWindows:
        """Windows evenly spread over the held-out parts; over everything if nothing is held out.

        No two overlap as long as ``count`` such windows fit. Otherwise neighbours overlap by half.

        Raises:
            InputError: no window fits.
        """
        for spacing in (1.0, 0.5):
            grids = [self._monitoring_grid(file, spacing) for file in files]
            if sum(map(len, grids)) >= count:
                break
        return SlidingWindows(grids, self._normal_of(files[0]))

    def _normal_of(self, file: LabelFile) -> int | None:
        return 0 if len(file.shape) == 2 else self.normal

    def _edges(self, file: LabelFile) -> Triple:
        normal = self._normal_of(file)
        z, y, x = (1 if axis == normal else self.window for axis in range(3))
        return z, y, x

    def _limits(self, file: LabelFile) -> tuple[list[int], int, int]:
        """Size (z, y, x) of a file, its longest axis, and where the held-out part of that axis begins."""
        size = [file.depth, *file.shape[-2:]]
        longest = int(np.argmax(size))
        return size, longest, size[longest] - round(self.held_out * size[longest])

    def _training_grid(self, file: LabelFile) -> WindowGrid:
        size, longest, end = self._limits(file)
        size[longest] = end
        edges = self._edges(file)
        shortest = min(length for length, edge in zip(size, edges, strict=True) if edge == self.window)
        if any(length < edge for length, edge in zip(size, edges, strict=True)):
            left = f" that data.held_out={self.held_out:g} leaves to train with" if self.held_out else ""
            raise InputError(
                f"data.window: expected at most {shortest} voxels, the shortest edge of '{file.path}'{left}, got "
                f"{self.window}; choose smaller windows."
            )
        z, y, x = (_slide(length, edge, self.stride) for length, edge in zip(size, edges, strict=True))
        return WindowGrid(file, edges, (z, y, x))

    def _monitoring_grid(self, file: LabelFile, spacing: float) -> WindowGrid:
        size, longest, end = self._limits(file)
        edges = self._edges(file)
        first = end if self.held_out else 0
        if size[longest] - first < edges[longest]:
            raise InputError(
                f"data.held_out: expected 0 or a share that leaves a window of {self.window} voxels for the monitor, at least "
                f"{ceil(1000 * edges[longest] / size[longest]) / 1000:g} of '{file.path}', got {self.held_out:g}; or choose "
                "smaller windows."
            )
        begins = [first if axis == longest else 0 for axis in range(3)]
        z, y, x = (_spread(b, length - b, edge, spacing) for b, length, edge in zip(begins, size, edges, strict=True))
        return WindowGrid(file, edges, (z, y, x))


def _slide(length: int, edge: int, stride: int) -> NDArray[np.int64]:
    """Starts a stride apart and a last one that is flush with the end; every plane along the normal of sections."""
    last = length - edge
    return np.unique(np.append(np.arange(0, last + 1, 1 if edge == 1 else stride), last))


def _spread(begin: int, length: int, edge: int, spacing: float) -> NDArray[np.int64]:
    """Evenly spread starts from border to border, no closer than that many edges."""
    count = 1 + int((length - edge) / max(1.0, spacing * edge))
    # Rounded down, starts that are an edge apart remain so.
    return begin + np.floor(np.linspace(0, length - edge, count) + 1e-9).astype(np.int64)
