from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_reconstruction import ANNEALED, CURVES, TINY, read, record, run
from torch import Tensor

from mcrgen.cli import main
from mcrgen.commands.reconstruct import working_folder
from mcrgen.errors import StoppedError
from mcrgen.tasks import reconstruction as task_module


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_an_interrupted_run_goes_on_where_it_was(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, restarts: int
) -> None:
    """Interrupted in the last one of the runs, those before being over; then resumed once more, when all is done."""
    options = [
        "descriptors.names=[s2,phase-fraction]",
        f"optimization.optimizer={optimizer}",
        f"optimization.restarts={restarts}",
    ]
    run([image, tmp_path / "whole.npy"], (12, 14), *options)

    evaluate, calls = task_module.ReconstructionTask.training_step, [0]

    def interrupted(self: Any, batch: int, batch_idx: int) -> None:
        calls[0] += 1
        if calls[0] == 8 * (restarts - 1) + 5:
            raise KeyboardInterrupt
        evaluate(self, batch, batch_idx)

    monkeypatch.setattr(task_module.ReconstructionTask, "training_step", interrupted)
    with pytest.raises(StoppedError, match="go on with the same command and --resume"):
        run([image, tmp_path / "part.npy"], (12, 14), *options)
    assert not (tmp_path / "part.npy").exists()
    monkeypatch.setattr(task_module.ReconstructionTask, "training_step", evaluate)
    for _ in range(2):
        run([image, tmp_path / "part.npy"], (12, 14), *options, "resume=true")
        np.testing.assert_array_equal(read(tmp_path / "part.npy"), read(tmp_path / "whole.npy"))
        ours, other = (record(tmp_path / name) for name in ("part.npy", "whole.npy"))
        assert ours["run"] == other["run"]
        assert ours["errors"] == other["errors"]


def test_a_signal_lets_the_step_end(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = task_module.ReconstructionTask.training_step

    def signalled(self: Any, batch: int, batch_idx: int) -> None:
        if self.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        evaluate(self, batch, batch_idx)

    run([image, tmp_path / "whole.npy"], (12, 14), CURVES)
    with monkeypatch.context() as patch:
        patch.setattr(task_module.ReconstructionTask, "training_step", signalled)
        with pytest.raises(StoppedError, match="stopped at step 3"):
            run([image, tmp_path / "part.npy"], (12, 14), CURVES)
    run([image, tmp_path / "part.npy"], (12, 14), CURVES, "resume=true")
    np.testing.assert_array_equal(read(tmp_path / "part.npy"), read(tmp_path / "whole.npy"))


@pytest.mark.parametrize("wanted", ["restarts", "media"])
def test_a_signal_in_the_last_step_of_a_run_begins_no_other(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    def options(name: str) -> tuple[list[Path], list[str]]:
        if wanted == "restarts":
            return [image, tmp_path / f"{name}.npy"], [CURVES, "optimization.restarts=2"]
        return [image, image], [CURVES, "interpolate=2", f"output={tmp_path / name}"]

    evaluate, begun = task_module.ReconstructionTask.training_step, [0]

    def signalled(self: Any, batch: int, batch_idx: int) -> None:
        begun[0] += 1
        if self.global_step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        evaluate(self, batch, batch_idx)

    whole = run(options("whole")[0], (12, 14), *options("whole")[1]).outputs
    with monkeypatch.context() as patch:
        patch.setattr(task_module.ReconstructionTask, "training_step", signalled)
        with pytest.raises(
            StoppedError, match=r"stopped (after run 1 of 2|when '.*' was written); go on with the same command"
        ):
            run(options("part")[0], (12, 14), *options("part")[1])
    assert begun == [8]
    again = run(options("part")[0], (12, 14), *options("part")[1], "resume=true").outputs
    for ours, other in zip(again, whole, strict=True):
        np.testing.assert_array_equal(read(ours), read(other))


def test_a_signal_in_the_very_last_step_leaves_a_finished_medium(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = task_module.ReconstructionTask.training_step

    def signalled(self: Any, batch: int, batch_idx: int) -> None:
        if self.global_step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        evaluate(self, batch, batch_idx)

    monkeypatch.setattr(task_module.ReconstructionTask, "training_step", signalled)
    run([image, tmp_path / "m.npy"], (12, 14), CURVES)
    assert record(tmp_path / "m.npy")["run"]["ended"] == "all steps were done"


@pytest.mark.parametrize("reason", ["optimization.tolerance=10", "optimization.patience=1"])
def test_a_run_that_had_come_to_its_end_is_not_taken_further(image: Path, tmp_path: Path, reason: str) -> None:
    options = [CURVES, reason, "optimization.optimizer=adam", "optimization.learning_rate=0.5"]
    run([image, tmp_path / "m.npy"], (12, 14), *options)
    before = record(tmp_path / "m.npy")["run"]
    assert before["steps"] < 8
    run([image, tmp_path / "m.npy"], (12, 14), *options, "resume=true")
    assert record(tmp_path / "m.npy")["run"] == before


def test_a_finished_run_may_be_smoothed_afterwards(image: Path, tmp_path: Path) -> None:
    run([image, tmp_path / "plain.npy"], (12, 14), CURVES)
    run([image, tmp_path / "plain.npy"], (12, 14), CURVES, "smoothing=1.0", "resume=true")
    run([image, tmp_path / "smooth.npy"], (12, 14), CURVES, "smoothing=1.0")
    np.testing.assert_array_equal(read(tmp_path / "plain.npy"), read(tmp_path / "smooth.npy"))


def test_media_between_two_images_are_taken_up_where_one_is_missing(image: Path, tmp_path: Path) -> None:
    options = [CURVES, "interpolate=3", f"output={tmp_path / 'between'}", "optimization.tolerance=1"]
    outputs = run([image, image], (12, 14), *options).outputs
    before = [(read(output), record(output)["run"]) for output in outputs]
    outputs[1].unlink()
    shutil.rmtree(working_folder(outputs[1]))
    run([image, image], (12, 14), *options, "resume=true")
    for output, (labels, end) in zip(outputs, before, strict=True):
        np.testing.assert_array_equal(read(output), labels)
        assert record(output)["run"] == end


def test_annealing_resumed_when_it_was_done_is_the_same(image: Path, tmp_path: Path) -> None:
    run([image, tmp_path / "m.npy"], (12, 14), *ANNEALED)
    before, labels = record(tmp_path / "m.npy"), read(tmp_path / "m.npy")
    run([image, tmp_path / "m.npy"], (12, 14), *ANNEALED, "resume=true")
    np.testing.assert_array_equal(read(tmp_path / "m.npy"), labels)
    assert record(tmp_path / "m.npy")["run"] == before["run"]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_no_number_leaves_the_last_good_medium(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], optimizer: str
) -> None:
    evaluate, calls = task_module.errors_and_gradient, [0]

    def broken(*args: Any, together: bool) -> tuple[dict[str, Tensor], Tensor]:
        calls[0] += 1
        errors, gradient = evaluate(*args, together=together)
        factor = float("nan") if calls[0] > 8 else 1.0
        return {name: factor * error for name, error in errors.items()}, factor * gradient

    monkeypatch.setattr(task_module, "errors_and_gradient", broken)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (override.split("=") for override in TINY)]
    command = ["reconstruct", str(image), str(tmp_path / "m.tif"), "--size", "12", "14", "--descriptors.names", "s2"]
    assert main([*command, *flags, "--optimization.optimizer", optimizer, "--optimization.max-steps", "30"]) == 2
    message = capsys.readouterr().err
    assert "the loss was no number after step" in message
    assert str(tmp_path / "m.tif") in message
    labels = read(tmp_path / "m.tif")
    assert 0.1 < labels.mean() < 0.5
    assert record(tmp_path / "m.tif")["run"]["loss"] is None
    assert record(tmp_path / "m.tif")["run"]["ended"] == "the loss was no number"
    assert (working_folder(tmp_path / "m.tif") / "convergence.png").exists()
