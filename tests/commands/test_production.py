from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mcrgen
from mcrgen.errors import StoppedError
from mcrgen.generation.generator import Generator
from mcrgen.io import volumes

SETTINGS: dict[str, Any] = {"size": (30, 20, 20), "block_size": 10, "precision": "fp32", "device": "cpu", "keep_scores": True}


def generate(checkpoint: Path, output: Path, **changes: object) -> dict[str, bytes]:
    """The bytes of the volume and of its scores."""
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=output, **SETTINGS | changes))
    return {path.suffixes[0]: path.read_bytes() for path in (output, output.with_name(f"{output.name}.scores.npy"))}


@pytest.mark.parametrize(("lost", "found"), [("v.raw.scores.npy", "v.raw"), ("v.raw", "v.raw.scores.npy")])
def test_volume_and_scores_may_have_come_differently_far(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, found: str
) -> None:
    """Each has its own journal, flushed when its time has come: a crash may cost one of them more blocks."""
    expected = generate(checkpoint, tmp_path / "whole" / "v.raw")
    asked, scores = [0], Generator.scores

    def interrupted(self: Generator, *args: Any, **options: Any) -> torch.Tensor:
        asked[0] += 1
        if asked[0] == 9:
            raise KeyboardInterrupt
        return scores(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "scores", interrupted)
        with pytest.raises(StoppedError, match="of 12 blocks are finished"):
            generate(checkpoint, tmp_path / "v.raw")
    lines = (tmp_path / f"{lost}.journal").read_text().splitlines(keepends=True)
    assert len(lines) > 4
    (tmp_path / f"{lost}.journal").write_text("".join(lines[:3]))
    assert (tmp_path / f"{found}.journal").exists()
    assert generate(checkpoint, tmp_path / "v.raw") == expected
    assert {path.name for path in tmp_path.glob("v.raw*")} == {"v.raw", "v.raw.json", "v.raw.scores.npy"}


def test_scores_of_an_earlier_run_are_not_taken_for_those_of_this_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that replaces a volume is stopped when it has begun that, and not yet its scores."""
    expected = generate(checkpoint, tmp_path / "whole" / "v.raw", seed=2)
    generate(checkpoint, tmp_path / "v.raw", seed=1)
    open_volume = volumes.open_volume

    def stopped(path: Path, *args: Any, **options: Any) -> object:
        if path.name.endswith("scores.npy"):
            raise KeyboardInterrupt
        return open_volume(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(volumes, "open_volume", stopped)
        with pytest.raises(StoppedError, match="0 of 12 blocks are finished"):
            generate(checkpoint, tmp_path / "v.raw", seed=2, overwrite=True)
    assert generate(checkpoint, tmp_path / "v.raw", seed=2, overwrite=True) == expected


def test_ctrl_c_while_it_is_being_finished(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = generate(checkpoint, tmp_path / "whole" / "v.raw")

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mcrgen.io.volume_writer.finished", stopped)
        with pytest.raises(StoppedError, match="stopped: 12 of 12 blocks are finished; the same command goes on"):
            generate(checkpoint, tmp_path / "v.raw")
    assert generate(checkpoint, tmp_path / "v.raw") == expected
