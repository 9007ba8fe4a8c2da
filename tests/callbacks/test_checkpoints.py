from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
import torch

from mcrgen.callbacks.best_checkpoint import BestCheckpoint
from mcrgen.callbacks.checkpoint_io import AtomicCheckpointIO


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, checkpoints = tmp_path / "last.ckpt", AtomicCheckpointIO()
    checkpoints.save_checkpoint({"a": 1}, path)

    def write_half(self: Path, content: memoryview) -> None:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint({"a": 2}, path)
    assert checkpoints.load_checkpoint(path, weights_only=True) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_new_checkpoint_replaces_the_old_one(tmp_path: Path) -> None:
    path, checkpoints = tmp_path / "new" / "last.ckpt", AtomicCheckpointIO()
    for value in (1.0, 2.0):
        checkpoints.save_checkpoint({"a": torch.full((3,), value)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.full((3,), 2.0))
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_the_best_is_known_in_a_moved_folder(tmp_path: Path) -> None:
    """A state as ``last.ckpt`` keeps it, taken up elsewhere, without a warning."""
    before = BestCheckpoint(tmp_path / "a/best.ckpt", "x")
    before.best_model_path = before.kth_best_model_path = before.path
    before.best_model_score = before.kth_value = torch.tensor(0.5)
    before.best_k_models = {before.path: torch.tensor(0.5)}
    buffer = io.BytesIO()
    torch.save(before.state_dict(), buffer)
    buffer.seek(0)
    after = BestCheckpoint(tmp_path / "b/best.ckpt", "x")
    after.load_state_dict(torch.load(buffer, weights_only=True))
    assert after.state_key == before.state_key
    assert after.best_k_models == {str(tmp_path / "b/best.ckpt"): torch.tensor(0.5)}
    assert after.best_model_path == after.kth_best_model_path == str(tmp_path / "b/best.ckpt")


def test_nothing_best_yet(tmp_path: Path) -> None:
    state = BestCheckpoint(tmp_path / "best.ckpt", "x").state_dict()
    after = BestCheckpoint(tmp_path / "best.ckpt", "x")
    after.load_state_dict(state)
    assert (after.best_k_models, after.best_model_path, after.best_model_score) == ({}, "", None)
