"""Volumes written block by block: complete under their final name or not there at all, whatever stops the run."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.journal import Box, Counts, Journal, Triple, count_labels, plain, sync
from mcrgen.io.lock import locked
from mcrgen.io.staging import Slices, StagedVolume, beside
from mcrgen.io.volume_formats import finished, header
from mcrgen.io.volume_info import VolumeInfo
from mcrgen.io.volume_output import begun_by_another, require_volume_output

_COMMIT_SECONDS = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM)


class BlockWriter:
    """Context manager that takes blocks of a volume, in any order and from any thread, and journals them.

    Every few seconds the voxels are flushed to disk and then the journal, so a crash costs the blocks of that time.

    Attributes:
        path: the volume.
        shape: (D, H, W) in voxels.
        dtype: type of a voxel, which a file without a header does not tell.
        partial: the staged voxels.
        done: the finished blocks, each as (start, stop).
        counts: ``(256,)`` int64, voxels of each label in the finished blocks.
    """

    _journal: Journal

    def __init__(
        self, path: Path, shape: Triple, info: VolumeInfo, *, run: Mapping[str, Any] | None, dtype: str, channels: int
    ) -> None:
        """Prepare to write; see :func:`~mcrgen.io.volumes.open_volume`."""
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.partial = beside(path, "partial")
        self.done: set[Box] = set()
        self.counts = np.zeros(256, np.int64)
        self._info = info
        pyramid = {"pyramid": True} if info.pyramid else {}
        self._run = plain({**(run or {}), "shape": shape, "voxel_size_um": info.voxel_size_um, **pyramid})
        self._staged = StagedVolume(self.partial, shape, header(path, shape, dtype, channels), dtype=dtype, channels=channels)
        self._pending: dict[Box, Counts] = {}
        self._guard = threading.Lock()

    def write(self, where: Slices, values: NDArray[Any]) -> None:
        """Store one block.

        Raises:
            ValueError: that block is finished already, or is not one of this volume.
            OSError: it could not be written.
        """
        box = self._box(where, values)
        self._staged.write(where, values)
        counts = count_labels(values)
        with self._guard:
            self._pending[box] = counts
            self._note(box, counts)
            if time.monotonic() - self._committed >= _COMMIT_SECONDS:
                self._commit()

    def complete(self) -> None:
        """Have all blocks on disk and in the journal."""
        with self._guard:
            self._commit()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._failure_told())
            try:
                self._open(stack)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                raise InputError(f"output: cannot write '{self.path}' ({error.strerror}); choose another place.") from error
            self._committed = time.monotonic()
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Take the locks and get the staged volume and the journal ready."""
        raise NotImplementedError

    def _finish(self) -> None:
        """What is left to do when the work has ended without an error."""
        self.complete()

    def _box(self, where: Slices, values: NDArray[Any]) -> Box:
        z, y, x = where
        start, stop = (z.start, y.start, x.start), (z.stop, y.stop, x.stop)
        fits = values.shape[-3:] == tuple(b - a for a, b in zip(start, stop, strict=True))
        if not fits or any(b > length for b, length in zip(stop, self.shape, strict=True)):
            raise ValueError(f"block {start} to {stop} of shape {values.shape} does not fit a volume of shape {self.shape}")
        if (start, stop) in self.done:
            raise ValueError(f"block {start} to {stop} is finished already")
        return start, stop

    def _note(self, box: Box, counts: Counts) -> None:
        self.done.add(box)
        for label, count in counts.items():
            self.counts[label] += count

    def _commit(self) -> None:
        """Flush the voxels, then say in the journal that they are there."""
        pending, self._pending = self._pending, {}  # even if this fails: what a failed flush lost, a second one does not tell
        if pending:
            self._staged.sync()
            self._journal.append(pending)
        self._committed = time.monotonic()

    def _close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._finish()
        else:
            with self._guard, contextlib.suppress(OSError):  # the first error is the one to tell
                self._commit()

    @contextlib.contextmanager
    def _failure_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _BARRED:
                raise InputError(
                    f"output: cannot write '{self.path}' ({error.strerror}); make it writable and give the same command again, "
                    "which keeps every finished block, or choose another place."
                ) from error
            if error.errno not in _FULL:
                raise
            free = shutil.disk_usage(self.path.parent).free
            raise InputError(
                f"output: no space left for '{self.path}' ({self._staged.bytes / 2**20:.0f} MiB uncompressed, "
                f"{free / 2**20:.0f} MiB free); free some space and give the same command again, which keeps every finished "
                "block."
            ) from error


class VolumeWriter(BlockWriter):
    """Leaves a finished volume.

    While it runs, the voxels stand in ``NAME.partial`` and ``NAME.journal`` says which blocks are finished; ``NAME.lock`` keeps
    a second run out. Leaving the context without an error gives the volume its name and removes the others. Whatever else ends
    the run, a crash included, the next run of the same description goes on with the blocks that are missing, and the bytes of
    the volume are those of a run that nothing stopped. Other processes may write blocks of it too, see :class:`VolumePart`.
    """

    def __init__(
        self,
        path: Path,
        shape: Triple,
        info: VolumeInfo,
        *,
        run: Mapping[str, Any] | None,
        overwrite: bool,
        dtype: str,
        channels: int,
    ) -> None:
        """Prepare to write; see :func:`~mcrgen.io.volumes.open_volume`."""
        super().__init__(path, shape, info, run=run, dtype=dtype, channels=channels)
        self._described = run is not None
        self._overwrite = overwrite

    def _open(self, stack: contextlib.ExitStack) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(beside(self.path, "lock"), self.path))
        for lock in _of_parts(self.path, "lock"):  # processes of a dead run that are still alive
            with locked(lock, self.path):
                pass
        self._journal = Journal(beside(self.path, "journal"))
        if self._goes_on():
            self._absorb_parts()
        else:
            self._start_anew()
        for box, counts in self._journal.blocks.items():
            self._note(box, counts)

    def _goes_on(self) -> bool:
        """Whether the blocks of an interrupted run are there to go on with."""
        other, staged = self._journal.run, self.partial.exists()
        if other is not None and other != self._run and staged and not self._overwrite:
            raise begun_by_another(self.path, other, self._run)
        if other != self._run or not self._described:
            return False
        return self._staged.is_whole() if staged else self._is_published()

    def _is_published(self) -> bool:
        """Whether a run was stopped when it had but its journal left to remove."""
        return self._journal.voxels == prod(self.shape) and self.path.exists()

    def _start_anew(self) -> None:
        require_volume_output(self.path, overwrite=self._overwrite or not self._described)
        for journal in (self._journal.path, *_of_parts(self.path, "journal")):
            Journal(journal).remove()  # first, so that it never stands beside voxels that are not its own
        self._staged.create()
        self._journal.create(self._run)

    def _absorb_parts(self) -> None:
        """Make the blocks of the other processes this one's."""
        for part in _of_parts(self.path, "journal"):
            self._journal.absorb(part)

    def complete(self) -> None:
        """Have all blocks on disk and in the journal, those that other processes have written too.

        Raises:
            ValueError: some are missing.
        """
        super().complete()
        before = set(self.done)
        self._absorb_parts()
        for box in self._journal.blocks.keys() - before:
            self._note(box, self._journal.blocks[box])
        if self.counts.sum() != prod(self.shape):
            raise ValueError(f"'{self.path}' misses {prod(self.shape) - self.counts.sum()} voxels")

    def _finish(self) -> None:
        self.complete()
        if self.partial.exists():
            ready = finished(self._staged, self.path, self._info)
            if self.path.is_dir():  # an older Zarr store: a folder cannot be replaced in one step
                shutil.rmtree(self.path)
            os.replace(ready, self.path)
            sync(self.path.parent)
            self.partial.unlink(missing_ok=True)
        self._journal.remove()


class VolumePart(BlockWriter):
    """Writes blocks of a volume that another process's :class:`VolumeWriter` has open and will finish.

    It has a journal and a lock of its own, ``NAME.journal.RANK`` and ``NAME.lock.RANK``. The writer takes its blocks over when
    it finishes, which must be after this context was left, or when the next run goes on.
    """

    def __init__(
        self, path: Path, shape: Triple, info: VolumeInfo, *, run: Mapping[str, Any], rank: int, dtype: str, channels: int
    ) -> None:
        """Prepare to write; see :func:`~mcrgen.io.volumes.join_volume`."""
        super().__init__(path, shape, info, run=run, dtype=dtype, channels=channels)
        self._rank = rank

    def _open(self, stack: contextlib.ExitStack) -> None:
        stack.enter_context(locked(beside(self.path, f"lock.{self._rank}"), self.path))
        begun = Journal(beside(self.path, "journal"))
        if begun.run != self._run or not self._staged.is_whole():
            raise InputError(f"output: '{self.path}' is not being written by the run that this process belongs to.")
        self.done.update(begun.blocks)
        self._journal = Journal(beside(self.path, f"journal.{self._rank}"))
        self._journal.create(self._run)


def _of_parts(path: Path, role: str) -> list[Path]:
    """The files of that role that other processes of a run have beside a volume."""
    name = beside(path, role).name
    return sorted(file for file in path.parent.glob(f"{glob.escape(name)}.*") if file.suffix[1:].isdigit())
