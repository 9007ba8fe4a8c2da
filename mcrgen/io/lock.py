"""One writer at a time for an output."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mcrgen.errors import InputError

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


@contextlib.contextmanager
def locked(path: Path, output: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for ``output``; it is removed at the end.

    The lock is the kernel's (``flock``), so that it dies with its process however that ends: a lock file that a killed run
    left is taken over. Where the file system knows no locks, the run goes on without one.

    Raises:
        InputError: another process holds it.
        OSError: the file cannot be made.
    """
    file = _acquire(path, output)
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(holder).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is let go: afterwards it might be another's
        os.close(file)


def _acquire(path: Path, output: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                os.close(file)
                raise _held(path, output) from error
        if _is_open(path, file):
            return file
        os.close(file)  # its holder removed the file between our opening and locking it


def _is_open(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _held(path: Path, output: Path) -> InputError:
    try:
        holder = json.loads(path.read_text())
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has the lock and is about to write who it is
        who = "another process"
    return InputError(f"output: '{output}' is being written by {who}; wait for it, stop it, or choose another name.")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
