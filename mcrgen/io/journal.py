"""Which blocks of a volume are finished, kept so that it can be believed after a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]
Box = tuple[Triple, Triple]
"""A block by its start and its stop, both (z, y, x)."""
Counts = Mapping[int, int]
"""Voxels per label."""


_FEW = 8  # labels; so many comparisons take less time than a histogram


class Journal:
    """JSON lines: first what the run is, then one line per finished block.

    What follows the first line that is not whole was being written when the run was killed: it is ignored and overwritten.

    Attributes:
        path: the file.
        run: the run's description, or None if there is no journal.
        blocks: the finished blocks that were found, with the voxels per label.
    """

    def __init__(self, path: Path) -> None:
        """Read the journal at ``path``, if there is one."""
        self.path = path
        self.run: dict[str, Any] | None = None
        self.blocks: dict[Box, Counts] = {}
        self._end = 0
        if path.exists():
            self._read()

    @property
    def voxels(self) -> int:
        """Voxels in the finished blocks that were found."""
        return sum(sum(counts.values()) for counts in self.blocks.values())

    def create(self, run: Mapping[str, Any]) -> None:
        """Start a journal in place of the one that may be there."""
        self.run, self.blocks, self._end = dict(run), {}, 0
        self.path.write_bytes(b"")
        self._append(_line(self.run))
        sync(self.path.parent)

    def append(self, blocks: Mapping[Box, Counts]) -> None:
        """Record finished blocks; they are on disk when this returns."""
        self._append(b"".join(_line({"start": a, "stop": b, "counts": counts}) for (a, b), counts in blocks.items()))

    def absorb(self, other: Path) -> None:
        """Take over the finished blocks that another journal of this run has, and delete that."""
        journal = Journal(other)
        if journal.run == self.run:
            found = {box: counts for box, counts in journal.blocks.items() if box not in self.blocks}
            self.append(found)
            self.blocks |= found
        journal.remove()

    def remove(self) -> None:
        """Delete the journal, for good when this returns."""
        self.path.unlink(missing_ok=True)
        sync(self.path.parent)

    def _read(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                try:
                    self._parse(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    return
                self._end += len(line)

    def _parse(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise ValueError("torn line")
        entry = json.loads(line)
        if self.run is None:
            self.run = dict(entry)
            return
        (z0, y0, x0), (z1, y1, x1) = entry["start"], entry["stop"]
        self.blocks[(z0, y0, x0), (z1, y1, x1)] = {int(label): int(count) for label, count in entry["counts"].items()}

    def _append(self, lines: bytes) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self._end)  # an append that failed half way leaves a torn line
            file.seek(self._end)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(lines)


def plain(run: Mapping[str, Any]) -> dict[str, Any]:
    """A description as it comes back from a journal: lists for tuples, text for keys."""
    return dict(json.loads(_line(run)))


def count_labels(labels: NDArray[Any]) -> Counts:
    """Voxels of each label that occurs in a uint8 block; of other data, all voxels as those of label 0."""
    if labels.dtype != np.uint8:
        return {0: prod(labels.shape[-3:])}
    counts = np.zeros(256, np.int64)
    present = range(int(labels.min()), int(labels.max()) + 1)
    for plane in labels:  # not the block at once, which would be copied
        if len(present) > _FEW:
            counts += np.bincount(plane.ravel(), minlength=256)
            continue
        for label in present:
            counts[label] += np.count_nonzero(plane == label)
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before returning."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False).encode() + b"\n"
