from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import tiny_config

import mcrgen
from mcrgen.commands.train import _build, _derived_layers
from mcrgen.errors import InputError
from mcrgen.io.images import Medium, read_medium
from mcrgen.io.phases import Phases


def load(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_same_model(a: Path, b: Path) -> None:
    first, second = load(a), load(b)
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=1e-4)


def test_run_folder(image: Path, tmp_path: Path) -> None:
    result = mcrgen.train(tiny_config(image, tmp_path / "run", "trainer.log_every=1", "trainer.preview_every=4"))
    folder = tmp_path / "run"
    assert result.checkpoint == folder / "model.ckpt"
    assert {p.name for p in folder.iterdir()} == {
        "model.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "previews", "log"
    }  # fmt: skip
    assert sorted(p.name for p in (folder / "previews").iterdir()) == ["step_000004.png", "step_000006.png"]
    rows = list(csv.DictReader((folder / "log/version_0/metrics.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert all(float(r["train/loss"]) > 0 for r in rows)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["network"]["channels"] == 4
    assert config["output"] == str(folder)
    assert config["data"]["image"] == str(image)
    record = json.loads((folder / "provenance.json").read_text())
    assert record["inputs"]["image"]["path"] == str(image)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_wandb_run_is_offline_without_an_account(
    image: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    mcrgen.train(tiny_config(image, tmp_path / "run", f"logging.wandb={mode}", "trainer.max_steps=2"))
    assert ("recording offline" in capsys.readouterr().out) == (mode == "online")
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(runs) == 1
    assert runs[0].stat().st_size > 0


@pytest.mark.parametrize("stop_at", [2, 4])
def test_resumed_equals_uninterrupted(image: Path, tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mcrgen.train(tiny_config(image, tmp_path / "whole"))
    from mcrgen.callbacks.resumable import Resumable

    after = Resumable.on_train_batch_end

    def interrupt(self: Resumable, trainer: object, *args: object) -> None:
        if trainer.global_step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        after(self, trainer, *args)

    monkeypatch.setattr(Resumable, "on_train_batch_end", interrupt)
    with pytest.raises(mcrgen.errors.StoppedError, match=rf"stopped at step {stop_at} of 6; go on with .*--resume"):
        mcrgen.train(tiny_config(image, tmp_path / "cut"))
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = mcrgen.train(tiny_config(image, tmp_path / "cut", "resume=true"))
    assert_same_model(whole.checkpoint, resumed.checkpoint)


def test_killed_training_resumes(image: Path, tmp_path: Path) -> None:
    """SIGKILL at some step, the same command with --resume: the model of an uninterrupted run."""
    steps = "trainer.max_steps=60"
    whole = mcrgen.train(tiny_config(image, tmp_path / "whole", steps))
    cut = tmp_path / "cut"
    mcrgen.config.save(tiny_config(image, cut, steps), tmp_path / "cut.yaml")
    command = [sys.executable, "-m", "mcrgen", "train", "--config", str(tmp_path / "cut.yaml"), "--resume"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (cut / "last.ckpt").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (cut / "model.ckpt").exists()
    mcrgen.train(tiny_config(image, cut, steps, "resume=true"))
    assert_same_model(whole.checkpoint, cut / "model.ckpt")


def test_seeds_differ_and_repeat(image: Path, tmp_path: Path) -> None:
    models = [
        mcrgen.train(tiny_config(image, tmp_path / str(i), f"seed={seed}", "trainer.max_steps=2")).checkpoint
        for i, seed in enumerate((0, 0, 1))
    ]
    first, again, other = (load(m)["network.head.weight"] for m in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_phase_fraction_is_trained_and_calibrated(image: Path, tmp_path: Path) -> None:
    result = mcrgen.train(tiny_config(image, tmp_path / "run", "data.phase_fraction=0.4", "data.phase=0"))
    assert result.phase_fractions == pytest.approx((0.4, 0.6))


def test_autocovariance_is_matched_where_it_is_known(image: Path, tmp_path: Path) -> None:
    medium = read_medium(image, "x", phase=None, phase_name="y")
    data, task = _build(tiny_config(image, tmp_path), medium)
    assert task.covariance is not None
    lag = 2 * 2  # twice the layers
    for matching in task.covariance:
        torch.testing.assert_close(matching.target, data.covariance(lag))
    assert _build(tiny_config(image, tmp_path, "loss.covariance_weight=0"), medium)[1].covariance is None
    assert _build(tiny_config(image, tmp_path, "data.phase_fraction=0.35"), medium)[1].covariance is None


def test_bf16_trains(image: Path, tmp_path: Path) -> None:
    result = mcrgen.train(tiny_config(image, tmp_path / "run", "trainer.precision=bf16", "trainer.max_steps=2"))
    assert all(torch.isfinite(v).all() for v in load(result.checkpoint).values() if v.is_floating_point())


def test_overwrite_replaces_the_run_and_nothing_else(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    mcrgen.train(tiny_config(image, folder))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"output: '.*run' exists already; .* --overwrite"):
        mcrgen.train(tiny_config(image, folder))
    mcrgen.train(tiny_config(image, folder, "overwrite=true", "trainer.max_steps=2"))
    assert yaml.safe_load((folder / "config.yaml").read_text())["overwrite"] is False
    assert (folder / "notes.txt").read_text() == "mine"
    assert torch.load(folder / "model.ckpt", weights_only=True)["global_step"] == 2


def test_resume_refuses_other_options(image: Path, tmp_path: Path) -> None:
    mcrgen.train(tiny_config(image, tmp_path / "run"))
    with pytest.raises(InputError, match=r"resume: network\.channels, seed differ from the run"):
        mcrgen.train(tiny_config(image, tmp_path / "run", "resume=true", "network.channels=5", "seed=3"))


def test_resume_refuses_another_image(image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.npy"
    np.save(copy, np.eye(40, dtype=np.uint8))
    mcrgen.train(tiny_config(copy, tmp_path / "run"))
    np.save(copy, 1 - np.eye(40, dtype=np.uint8))
    with pytest.raises(InputError, match=r"resume: '.*copy\.npy' is not the image that the run in .* began with"):
        mcrgen.train(tiny_config(copy, tmp_path / "run", "resume=true"))


def test_resume_never_clears_a_finished_model(image: Path, tmp_path: Path) -> None:
    result = mcrgen.train(tiny_config(image, tmp_path / "run"))
    (tmp_path / "run" / "last.ckpt").unlink()
    with pytest.raises(InputError, match=r"output: '.*model\.ckpt' exists already"):
        mcrgen.train(tiny_config(image, tmp_path / "run", "resume=true"))
    assert result.checkpoint.exists()


def test_resume_from_another_folder(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    mcrgen.train(tiny_config(image, Path("run")))
    steps = (tmp_path / "run/last.ckpt").stat().st_mtime_ns
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "nothing to resume" not in capsys.readouterr().out
    mcrgen.train(mcrgen.load_config(mcrgen.TrainConfig, tmp_path / "run/config.yaml", ["resume=true"]))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "run/last.ckpt").stat().st_mtime_ns == steps
    mcrgen.train(tiny_config(image, Path("new"), "resume=true", "trainer.max_steps=1"))
    assert "nothing to resume in" in capsys.readouterr().out


def test_ctrl_c_while_calibrating_says_how_to_go_on(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mcrgen.generation.calibration.reestimate_batchnorm", interrupt)
    with pytest.raises(mcrgen.StoppedError, match=r"stopped; go on with `mcrgen train --config .*config\.yaml --resume`"):
        mcrgen.train(tiny_config(image, tmp_path / "run"))
    monkeypatch.undo()
    assert mcrgen.train(tiny_config(image, tmp_path / "run", "resume=true")).checkpoint.exists()


def test_wandb_as_a_plain_string(image: Path, tmp_path: Path) -> None:
    config = tiny_config(image, tmp_path / "run", "trainer.max_steps=1")
    config.logging.wandb = "disabled"
    mcrgen.train(config)
    assert not (tmp_path / "run" / "wandb").exists()


def test_divergence_is_told(image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: training diverged to NaN at 1e\+30"):
        mcrgen.train(tiny_config(image, tmp_path / "run", "optimizer.learning_rate=1e30"))
    assert not (tmp_path / "run" / "model.ckpt").exists()


def test_derived_depth_covers_the_autocorrelation_length(image: Path) -> None:
    stripes = np.tile(np.repeat(np.array([0, 1], np.uint8), 10), (80, 4))  # S2 along x falls linearly, along y not at all
    fine = read_medium(image, "x", phase=None, phase_name="y")
    coarse = Medium(stripes, Phases((0, 1), 1), None)
    assert _derived_layers(coarse) == 5
    blown_up = Medium(np.kron(fine.labels, np.ones((3, 3), np.uint8)), fine.phases, None)
    assert _derived_layers(blown_up) > _derived_layers(fine)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.slab_size=41"], r"data\.image: expected at least 41 x 41 pixels.*got 48 x 40"),
        (["data.phase_fraction=0.999"], r"phase_fraction: expected a target within what the image's patterns reach"),
        (["data.phase_fraction=1.5"], r"data\.phase_fraction: expected a phase fraction between 0 and 1"),
        (["data.phase=7"], r"data\.phase: expected one of the label values 0, 255, got 7"),
        (["trainer.max_steps=0"], r"trainer\.max_steps: expected a number greater than 0, got 0"),
        (["trainer.device=cuda:99"], r"device: 'cuda:99' was asked for, this machine has"),
        (["trainer.device=abacus"], r"device: expected auto, cpu, cuda or cuda:N, got 'abacus'"),
        (["trainer.precision=fp16"], r"precision: fp16 needs a CUDA device"),
        (["trainer.slab_size=5"], r"trainer\.slab_size: expected at least data\.patch_size = 7, got 5"),
        (["loss.covariance_weight=-1"], r"loss\.covariance_weight: expected 0 \(off\) or more"),
        (["seed=-1"], r"seed: expected 0 or more, got -1"),
        (["loss.exponent=0.5"], r"loss\.exponent: expected 1 or more"),
        (["network.layers=-1"], r"network\.layers: expected 0 \(derived\) or more"),
    ],
)
def test_bad_input_before_any_work(image: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcrgen.train(tiny_config(image, tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_a_volume_and_three_phases_with_a_fraction_are_refused(image3: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).integers(0, 2, (20, 20, 20)))
    with pytest.raises(InputError, match=r"data\.image: expected one 2D section, got a volume of \(20, 20, 20\)"):
        mcrgen.train(tiny_config(tmp_path / "v.npy", tmp_path / "run"))
    with pytest.raises(InputError, match=r"data\.phase_fraction: expected an image of two phases.*has 3"):
        mcrgen.train(tiny_config(image3, tmp_path / "run", "data.phase_fraction=0.3"))
