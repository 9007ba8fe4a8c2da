from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcrgen.errors import InputError
from mcrgen.io.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from mcrgen.io.lock import locked
with locked(Path(sys.argv[1]), Path("v.tif")):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_it_says_who_holds_it_and_goes(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", tmp_path / "v.tif"):
        holder = json.loads((tmp_path / "lock").read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
    assert not list(tmp_path.iterdir())


def test_a_live_holder_and_a_dead_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        message = rf"output: 'v\.tif' is being written by process {child.pid} on \S+ since \d{{4}}-\S+; wait for it, stop it"
        with pytest.raises(InputError, match=message), locked(lock, Path("v.tif")):
            pass
        child.kill()
    assert lock.exists()
    with locked(lock, Path("v.tif")):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_a_holder_that_has_not_said_its_name(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(InputError, match="is being written by another process;"), locked(tmp_path / "lock", tmp_path):
            pass


def test_a_lock_file_removed_while_it_is_being_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = fcntl.flock, []

    def flock(file: int, operation: int) -> None:
        real(file, operation)
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "lock").unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "lock", tmp_path):
        assert (tmp_path / "lock").exists()
    assert len(calls) == 2


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "lock", tmp_path):
        pass
    assert not list(tmp_path.iterdir())
