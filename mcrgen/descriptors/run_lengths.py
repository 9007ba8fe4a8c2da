"""Runs of one phase along lines of voxels: the data of lineal path, chord lengths and surface."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class RunLengths:
    """Histograms of the runs of a phase along one axis of one or more media.

    A run is a maximal row of voxels of the phase; a *complete* one (a chord) has a voxel of another phase at either end, the
    others are cut by the border.

    Attributes:
        length: voxels of a line.
        lines: number of lines per medium.
        runs: ``(N, length + 1)`` number of runs of each length, cut ones included.
        chords: ``(N, length + 1)`` number of complete runs of each length.
        cuts: ``(N,)`` number of ends of runs at the border.
    """

    length: int
    lines: int
    runs: NDArray[np.int64]
    chords: NDArray[np.int64]
    cuts: NDArray[np.int64]

    def __add__(self, other: RunLengths) -> RunLengths:
        """More lines of the same media."""
        return RunLengths(
            self.length,
            self.lines + other.lines,
            self.runs + other.runs,
            self.chords + other.chords,
            self.cuts + other.cuts,
        )

    def lineal_path(self, max_lag: int) -> NDArray[np.float64]:
        """``(N, max_lag + 1)``: share of the segments of r + 1 voxels inside the window that lie in the phase wholly."""
        excess = np.maximum(0, np.arange(self.length + 1)[:, None] - np.arange(max_lag + 1))
        segments = self.lines * (self.length - np.arange(max_lag + 1))
        path: NDArray[np.float64] = (self.runs @ excess) / segments
        return path

    def interface_density(self) -> NDArray[np.float64]:
        """``(N,)``: changes between the phase and the others per pair of neighbours."""
        density: NDArray[np.float64] = (2 * self.runs.sum(axis=1) - self.cuts) / (self.lines * (self.length - 1))
        return density

    def fraction(self) -> NDArray[np.float64]:
        """``(N,)``: phase fraction."""
        fraction: NDArray[np.float64] = self.runs @ np.arange(self.length + 1) / (self.lines * self.length)
        return fraction


def run_lengths(lines: NDArray[np.bool_]) -> RunLengths:
    """Runs in ``(N, number of lines, length)`` voxels."""
    n, count, length = lines.shape
    line, start, stop = _runs(lines.reshape(n * count, length))
    cut = (start == 0).astype(np.int64) + (stop == length)
    medium = line // count
    return RunLengths(
        length,
        count,
        _histogram(medium, stop - start, n, length),
        _histogram(medium[cut == 0], (stop - start)[cut == 0], n, length),
        np.bincount(medium, weights=cut, minlength=n).astype(np.int64),
    )


def _runs(lines: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Line, first voxel and voxel past the last of every run."""
    length = lines.shape[1]
    framed = np.zeros((len(lines), length + 2), dtype=np.bool_)
    framed[:, 1:-1] = lines
    changes = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
    start, stop = changes[::2], changes[1::2]
    line = start // (length + 1)
    return line, start - line * (length + 1), stop - line * (length + 1)


def _histogram(medium: NDArray[np.int64], lengths: NDArray[np.int64], n: int, longest: int) -> NDArray[np.int64]:
    return np.bincount(medium * (longest + 1) + lengths, minlength=n * (longest + 1)).reshape(n, longest + 1)


@dataclass
class RunsAcrossSlabs:
    """Runs along the axis in which slabs of a volume come one after the other; runs that reach the next slab stay open.

    Attributes:
        length: planes of the whole volume.
        total: the histograms so far; complete when all planes have come.
    """

    length: int
    total: RunLengths | None = None
    _open: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _from_border: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    _seen: int = 0

    def add(self, slab: NDArray[np.bool_]) -> None:
        """Take the next planes ``(planes, H, W)``."""
        lines = np.ascontiguousarray(slab.reshape(len(slab), -1).T)
        if self.total is None:
            self._start(len(lines))
        line, start, stop = _runs(lines)
        length = stop - start
        begins = start == 0
        length[begins] += self._open[line[begins]]
        border = np.where(begins & (self._open[line] > 0), self._from_border[line], begins & (self._seen == 0))
        ended = np.flatnonzero((self._open > 0) & ~lines[:, 0])
        self._close(self._open[ended], self._from_border[ended], at_end=False)
        closed = stop < len(slab)
        self._close(length[closed], border[closed], at_end=False)
        self._open[:], self._from_border[:] = 0, False
        self._open[line[~closed]], self._from_border[line[~closed]] = length[~closed], border[~closed]
        self._seen += len(slab)
        if self._seen == self.length:
            last = np.flatnonzero(self._open)
            self._close(self._open[last], self._from_border[last], at_end=True)

    def _start(self, lines: int) -> None:
        empty = np.zeros((1, self.length + 1), np.int64)
        self.total = RunLengths(self.length, lines, empty, empty.copy(), np.zeros(1, np.int64))
        self._open, self._from_border = np.zeros(lines, np.int64), np.zeros(lines, np.bool_)

    def _close(self, lengths: NDArray[np.int64], from_border: NDArray[np.bool_], *, at_end: bool) -> None:
        assert self.total is not None
        self.total.runs[0] += np.bincount(lengths, minlength=self.length + 1)
        self.total.cuts[0] += int(from_border.sum()) + (len(lengths) if at_end else 0)
        if not at_end:
            self.total.chords[0] += np.bincount(lengths[~from_border], minlength=self.length + 1)
