"""Kills writers of volumes with SIGKILL and lets them go on; run as a program by test_volumes, away from pytest's threads.

``crashes.py FOLDER SUFFIX steps`` kills before each of the steps by which a writer changes the disk, one after the other;
``crashes.py FOLDER SUFFIX times`` kills at random times until a run gets through. Prints the number of kills.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr  # noqa: F401  # once here, not in every child

from mcrgen.io import volume_output, volume_writer, volumes

SHAPE = (5, 6, 16)
VOLUME = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
STEPS = [(os, "fsync"), (os, "replace"), (os, "ftruncate"), (os, "pwrite"), (os, "posix_fallocate"), (os, "unlink")]
STEPS += [(os, "mkdir"), (Path, "unlink"), (Path, "write_bytes"), (shutil, "rmtree"), (volume_writer.BlockWriter, "write")]


def write(path: Path, edge: int = 6, pause: float = 0.0) -> None:
    volume_writer._COMMIT_SECONDS = 0.0
    with volumes.open_volume(path, SHAPE, 0.7, run={"seed": 1}) as volume:
        for x in reversed(range(0, SHAPE[2], edge)):
            stop = min(x + edge, SHAPE[2])
            if ((0, 0, x), (*SHAPE[:2], stop)) not in volume.done:
                volume.write((slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(x, stop)), VOLUME[:, :, x:stop])
                time.sleep(pause)
        if list(volume.counts[:3]) != list(np.bincount(VOLUME.ravel())):
            os._exit(3)


def die_before_step(number: int) -> None:
    left = [number]

    def dying(step: Callable[..., object]) -> Callable[..., object]:
        def stepping(*args: object, **kwargs: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return step(*args, **kwargs)

        return stepping

    for owner, name in STEPS:
        if not hasattr(owner, name):  # macOS reserves no space
            continue
        setattr(owner, name, dying(getattr(owner, name)))


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(2)
        os._exit(0)
    return pid


def outcome(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"the writer ended with {code}")
    return code


def is_finished(path: Path) -> bool:
    return path.exists() and volume_output.interrupted_run(path) is None


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def check(folder: Path, expected: str) -> None:
    if digest(folder) != expected:
        sys.exit(f"{folder}: not the bytes of an uninterrupted run")


def kill_at_steps(folder: Path, name: str, expected: str) -> int:
    for number in range(10_000):
        path = folder / str(number) / name

        def until_killed(number: int = number, path: Path = path) -> None:
            die_before_step(number)
            write(path)

        killed = outcome(child(until_killed)) != 0
        if killed and not is_finished(path) and outcome(child(lambda path=path: write(path))) != 0:
            sys.exit("killed by somebody else")
        check(path.parent, expected)
        if not killed:
            return number
    sys.exit("never through")


def kill_at_times(folder: Path, name: str, expected: str) -> int:
    rng = random.Random(1)
    for number in range(10_000):
        pid = child(lambda: write(folder / "times" / name, edge=1, pause=0.005))
        time.sleep(rng.uniform(0.01, 0.05))
        os.kill(pid, signal.SIGKILL)
        if outcome(pid) == 0 or is_finished(folder / "times" / name):
            check(folder / "times", expected)
            return number
    sys.exit("never through")


def main(folder: Path, suffix: str, how: str) -> None:
    name = f"v{suffix}"
    if outcome(child(lambda: write(folder / "whole" / name))) != 0:
        sys.exit("killed by somebody else")
    kill = {"steps": kill_at_steps, "times": kill_at_times}[how]
    print(kill(folder, name, digest(folder / "whole")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
