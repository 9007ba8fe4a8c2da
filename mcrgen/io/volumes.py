"""Label volumes written block by block: complete under their final name or not there at all, whatever stops the run."""

from __future__ import annotations

import contextlib
import errno
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

from mcrgen.errors import InputError, require_free, require_output_file, require_writable
from mcrgen.io.journal import Box, Counts, Journal, Triple, count_labels, plain, sync
from mcrgen.io.lock import locked
from mcrgen.io.staging import Slices, StagedVolume, beside
from mcrgen.io.volume_formats import VOLUME_SUFFIXES, finished, header

_COMMIT_SECONDS = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class VolumeWriter:
    """Context manager that takes blocks of labels, in any order and from any thread, and leaves a finished volume.

    While it runs, the labels stand in ``NAME.partial`` and ``NAME.journal`` says which blocks are finished; ``NAME.lock`` keeps
    a second run out. Leaving the context without an error gives the volume its name and removes the others. Whatever else ends
    the run, a crash included, the next run of the same description goes on with the blocks that are missing, and the bytes of
    the volume are those of a run that nothing stopped. Every few seconds the labels are flushed to disk and then the journal,
    so a crash costs the blocks of that time.

    Attributes:
        path: the volume.
        shape: (D, H, W) in voxels.
        dtype: type of a voxel, which a file without a header does not tell.
        partial: the staged labels.
        done: the finished blocks, each as (start, stop).
        counts: ``(256,)`` int64, voxels of each label in the finished blocks.
    """

    dtype = "uint8"

    def __init__(
        self, path: Path, shape: Triple, voxel_size_um: float | None, *, run: Mapping[str, Any] | None, overwrite: bool
    ) -> None:
        """Prepare to write; see :func:`open_volume`."""
        self.path = path
        self.shape = shape
        self.partial = beside(path, "partial")
        self.done: set[Box] = set()
        self.counts = np.zeros(256, np.int64)
        self._voxel_size_um = voxel_size_um
        self._run = plain({**(run or {}), "shape": shape, "voxel_size_um": voxel_size_um})
        self._described = run is not None
        self._overwrite = overwrite
        self._staged = StagedVolume(self.partial, shape, header(path, shape))
        self._pending: dict[Box, Counts] = {}
        self._guard = threading.Lock()

    def write(self, where: Slices, labels: NDArray[np.uint8]) -> None:
        """Store one block.

        Raises:
            ValueError: that block is finished already, or is not one of this volume.
            OSError: it could not be written.
        """
        box = self._box(where, labels)
        self._staged.write(where, labels)
        counts = count_labels(labels)
        with self._guard:
            self._pending[box] = counts
            self._note(box, counts)
            if time.monotonic() - self._committed >= _COMMIT_SECONDS:
                self._commit()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._full_disk_told())
            try:
                self._open(stack)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                raise InputError(f"output: cannot write '{self.path}' ({error.strerror}); choose another place.") from error
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def _open(self, stack: contextlib.ExitStack) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(beside(self.path, "lock"), self.path))
        self._journal = Journal(beside(self.path, "journal"))
        if not self._goes_on():
            require_volume_output(self.path, overwrite=self._overwrite or not self._described)
            self._journal.remove()  # first, so that it never stands beside labels that are not its own
            self._staged.create()
            self._journal.create(self._run)
        for box, counts in self._journal.blocks.items():
            self._note(box, counts)
        self._committed = time.monotonic()

    def _goes_on(self) -> bool:
        """Whether the blocks of an interrupted run are there to go on with."""
        other, staged = self._journal.run, self.partial.exists()
        if other is not None and other != self._run and staged and not self._overwrite:
            raise _begun_by_another(self.path, other, self._run)
        if other != self._run or not self._described:
            return False
        return self._staged.is_whole() if staged else self._is_published()

    def _is_published(self) -> bool:
        """Whether a run was stopped when it had but its journal left to remove."""
        voxels = sum(sum(counts.values()) for counts in self._journal.blocks.values())
        return voxels == prod(self.shape) and self.path.exists()

    def _box(self, where: Slices, labels: NDArray[np.uint8]) -> Box:
        z, y, x = where
        start, stop = (z.start, y.start, x.start), (z.stop, y.stop, x.stop)
        fits = labels.shape == tuple(b - a for a, b in zip(start, stop, strict=True))
        if not fits or any(b > length for b, length in zip(stop, self.shape, strict=True)):
            raise ValueError(f"block {start} to {stop} of shape {labels.shape} does not fit a volume of shape {self.shape}")
        if (start, stop) in self.done:
            raise ValueError(f"block {start} to {stop} is finished already")
        return start, stop

    def _note(self, box: Box, counts: Counts) -> None:
        self.done.add(box)
        for label, count in counts.items():
            self.counts[label] += count

    def _commit(self) -> None:
        """Flush the labels, then say in the journal that they are there."""
        pending, self._pending = self._pending, {}  # even if this fails: what a failed flush lost, a second one does not tell
        if pending:
            self._staged.sync()
            self._journal.append(pending)
        self._committed = time.monotonic()

    def _close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._guard:
            if error is None:
                self._commit()
                self._publish()
            else:
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    self._commit()

    def _publish(self) -> None:
        if self.counts.sum() != prod(self.shape):
            raise ValueError(f"'{self.path}' misses {prod(self.shape) - self.counts.sum()} voxels")
        if self.partial.exists():
            ready = finished(self._staged, self.path, self._voxel_size_um)
            if self.path.is_dir():  # an older Zarr store: a folder cannot be replaced in one step
                shutil.rmtree(self.path)
            os.replace(ready, self.path)
            sync(self.path.parent)
            self.partial.unlink(missing_ok=True)
        self._journal.remove()

    @contextlib.contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            free = shutil.disk_usage(self.path.parent).free
            raise InputError(
                f"output: no space left for '{self.path}' ({prod(self.shape) / 2**20:.0f} MiB uncompressed, {free / 2**20:.0f} "
                "MiB free); free some space and give the same command again, which keeps every finished block."
            ) from error


def open_volume(
    path: Path, shape: Triple, voxel_size_um: float | None, *, run: Mapping[str, Any] | None = None, overwrite: bool = False
) -> VolumeWriter:
    """The writer for a volume, which on entering goes on with what an interrupted run has left.

    Args:
        path: ``.tif``, ``.tiff``, ``.npy``, ``.raw`` (uint8 without a header, x fastest) or ``.zarr`` (OME-Zarr).
        shape: (D, H, W) in voxels.
        voxel_size_um: edge length of a voxel in micrometres, or None if unknown.
        run: plain data that settles the labels and the blocks. None: the labels are unknown, so that nothing can be gone on
            with, and the volume replaces what has its name.
        overwrite: replace a finished volume, discard the blocks of another run.

    Raises:
        InputError: another suffix; on entering, the output is being written or was begun by another run, exists, or cannot be
            written; no space left.
    """
    require_volume_suffix(path)
    return VolumeWriter(path, shape, voxel_size_um, run=run, overwrite=overwrite)


def require_volume_suffix(path: Path) -> None:
    """Raise unless a volume can be written under that name.

    Raises:
        InputError: the suffix is not one of ``VOLUME_SUFFIXES``.
    """
    if path.suffix.lower() not in VOLUME_SUFFIXES:
        raise InputError(f"output: expected a name ending in {', '.join(VOLUME_SUFFIXES)}, got '{path}'.")


def require_volume_output(path: Path, *, overwrite: bool) -> None:
    """Raise unless ``path`` can become a new volume.

    Raises:
        InputError: it exists and ``overwrite`` is false; a folder that is no Zarr store has its name; its folder cannot be
            written to.
    """
    require_volume_suffix(path)
    if path.suffix.lower() != ".zarr":
        require_output_file("output", path, overwrite=overwrite)
        return
    require_free("output", path, overwrite=overwrite)
    if path.exists() and not (path / "zarr.json").is_file():
        raise InputError(f"output: '{path}' is there and is no Zarr store, so it is not replaced; choose another name.")
    require_writable("output", path.parent)


def interrupted_run(path: Path) -> dict[str, Any] | None:
    """What describes the run that was interrupted while it wrote a volume; None if there was none."""
    return Journal(beside(path, "journal")).run


def run_to_go_on_with(path: Path, settings: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """The description of an interrupted run with these settings, for what it has settled besides; None if there is none.

    Raises:
        InputError: it had other settings, and ``overwrite`` is false.
    """
    run, wanted = interrupted_run(path), plain(settings)
    if run is None or all(run.get(key) == value for key, value in wanted.items()):
        return run
    if overwrite or not beside(path, "partial").exists():
        return None
    raise _begun_by_another(path, {key: run.get(key, "unset") for key in wanted}, wanted)


def _begun_by_another(path: Path, other: Mapping[str, Any], run: Mapping[str, Any]) -> InputError:
    pairs = {key: (other.get(key, "unset"), run.get(key, "unset")) for key in {**other, **run}}
    differences = ", ".join(f"{key} was {was}, is {now}" for key, (was, now) in pairs.items() if was != now)
    return InputError(
        f"output: '{path}' was begun by another run ({differences}); finish it with those options, choose another "
        "name, or add --overwrite to discard it."
    )


def stored_bytes(path: Path) -> int:
    """Size on disk of a volume that is a file or a Zarr store."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
