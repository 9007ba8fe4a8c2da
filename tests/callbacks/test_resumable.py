from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mcrgen.callbacks.resumable import save_atomically


class FakeTrainer:
    """Writes half a checkpoint, then the disk is full; or the whole of it."""

    def __init__(self, *, full: bool) -> None:
        self.full = full

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        path.write_text("half")
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text("whole")


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        save_atomically(FakeTrainer(full=True), path, weights_only=False)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    save_atomically(FakeTrainer(full=False), path, weights_only=False)
    assert path.read_text() == "whole"
