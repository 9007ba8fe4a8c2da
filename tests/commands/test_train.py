from __future__ import annotations

import csv
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from tiny import tiny_config

import mcrgen
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._learning import build_data, build_task, monitor
from mcrgen.data.exemplar import Exemplar
from mcrgen.errors import InputError
from mcrgen.tasks.swnn import SWNNTask


def load(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def selected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)["mcrgen"]["selected"]
    return found


def log(folder: Path, column: str) -> dict[int, float]:
    """Step -> value of the rows of the CSV that have one."""
    rows = csv.DictReader((folder / "log/version_0/metrics.csv").read_text().splitlines())
    return {int(r["step"]): float(r[column]) for r in rows if r[column]}


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
        "model.ckpt", "best.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "previews", "monitor", "log"
    }  # fmt: skip
    assert sorted(p.name for p in (folder / "previews").iterdir()) == ["step_000004.png", "step_000006.png"]
    losses = log(folder, "train/loss")
    assert len(losses) == 6
    assert all(loss > 0 for loss in losses.values())
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


def history(path: Path) -> Iterator[dict[str, Any]]:
    """What was logged in a Weights & Biases run, from its file: a LevelDB log of protocol buffers after seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, content, block, whole, last = path.read_bytes(), 7, b"", 32768, 1, 4
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        content += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (whole, last):
            record = Record()
            record.ParseFromString(content)
            content = b""
            if record.WhichOneof("record_type") == "history":
                yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def test_wandb_run_holds_monitor_scalars_and_figures(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    mcrgen.train(tiny_config(image, folder, "logging.wandb=offline", "monitor.every=2", "trainer.max_steps=3"))
    (run,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    rows = list(history(run))
    recorded = {r["trainer/global_step"]: r["monitor/s2_mse"] for r in rows if "monitor/s2_mse" in r}
    assert recorded == pytest.approx(log(folder, "monitor/s2_mse"))
    assert sorted(recorded) == [2, 3]
    for key, drawn in (("monitor/curves", "monitor/step_000003.png"), ("slices", "previews/step_000003.png")):
        *_, name = (r[f"{key}/filenames"][0] for r in rows if f"{key}/filenames" in r)
        assert (run.parent / "files" / name).read_bytes() == (folder / drawn).read_bytes()
    (table,) = [r["monitor/table/path"] for r in rows if r.get("trainer/global_step") == 3 and "monitor/table/path" in r]
    content = json.loads((run.parent / "files" / table).read_text())
    written = list(csv.reader((folder / "monitor/step_000003.csv").read_text().splitlines()))
    assert content["columns"] == written[0]
    assert [[str(v) for v in row[:3]] for row in content["data"]] == [row[:3] for row in written[1:]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_monitoring_leaves_training_alone(image: Path, tmp_path: Path, precision: str) -> None:
    options = (f"trainer.precision={precision}", "monitor.select=last")
    watched = mcrgen.train(tiny_config(image, tmp_path / "watched", "monitor.every=1", *options))
    alone = mcrgen.train(tiny_config(image, tmp_path / "alone", "monitor.every=0", *options))
    assert len(log(tmp_path / "watched", "monitor/s2_mse")) == 6
    assert not (tmp_path / "alone/monitor").exists()
    assert_same_model(alone.checkpoint, watched.checkpoint)
    assert_same_model(tmp_path / "alone/last.ckpt", tmp_path / "watched/last.ckpt")
    assert selected(watched.checkpoint) == {"step": 6, "metric": "last", "value": None}


@pytest.mark.parametrize("metric", ["s2_mse", "phase_fraction_error"])
def test_the_model_is_the_step_of_the_smallest_error(
    image: Path, tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    result = mcrgen.train(tiny_config(image, folder, "monitor.every=1", f"monitor.select={metric}"))
    errors = log(folder, f"monitor/{metric}")
    step = min(errors, key=lambda s: errors[s])
    assert sorted(errors) == [1, 2, 3, 4, 5, 6]
    assert selected(result.checkpoint) == {"step": step, "metric": metric, "value": pytest.approx(errors[step])}
    assert f"selected: step {step} of 6, {metric}" in capsys.readouterr().out
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["global_step"] == step
    for name, value in load(result.checkpoint).items():
        if "running" not in name and "num_batches" not in name:  # these are estimated anew
            assert torch.equal(value, best["state_dict"][name])


def test_a_phase_fraction_of_its_own_takes_the_last_step(image: Path, tmp_path: Path) -> None:
    """The phase fraction is compared with the one asked for, and the image does not choose the step."""
    config = tiny_config(image, tmp_path / "run", "data.phase_fraction=0.35")
    assert monitor(config, tmp_path, read_exemplars(config.data)).reference.fraction == 0.35
    assert selected(mcrgen.train(config).checkpoint)["metric"] == "last"
    assert not (tmp_path / "run/best.ckpt").exists()


def test_three_phases_are_monitored(image3: Path, tmp_path: Path) -> None:
    """The curves belong to the phase of interest, at its own fraction."""
    folder = tmp_path / "run"
    mcrgen.train(tiny_config(image3, folder, "data.phase=5", "trainer.max_steps=2", "monitor.samples=8"))
    fraction = (np.load(image3) == 5).mean()
    rows = list(csv.DictReader((folder / "monitor/step_000002.csv").read_text().splitlines()))
    start = {r["curve"]: r for r in rows if r["r"] == "0"}
    assert float(start["s2"]["exemplar"]) == pytest.approx(fraction)
    assert float(start["s2"]["samples"]) == pytest.approx(fraction, abs=2e-3)
    assert np.isfinite(log(folder, "monitor/f6_mse")[2])


@pytest.mark.filterwarnings("default:the samples at step")
def test_collapse_is_told_in_one_line(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mcrgen.tasks.swnn import SWNNTask

    sample = SWNNTask.sample

    def same(self: SWNNTask, count: int, size: int, seed: int) -> torch.Tensor:
        return sample(self, 1, size, seed).repeat(count, 1, 1, 1, 1)

    monkeypatch.setattr(SWNNTask, "sample", same)
    mcrgen.train(tiny_config(image, tmp_path / "run"))
    told = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: the samples at step 3 look all alike")
    assert str(tmp_path / "run/monitor/collapse_step_000003.png") in told[0]


@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_resumed_equals_uninterrupted(image: Path, tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("monitor.every=2", "monitor.select=phase_fraction_error")
    whole = mcrgen.train(tiny_config(image, tmp_path / "whole", *options))
    from mcrgen.callbacks.resumable import Resumable

    after = Resumable.on_train_batch_end

    def interrupt(self: Resumable, trainer: object, *args: object) -> None:
        if trainer.global_step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        after(self, trainer, *args)

    monkeypatch.setattr(Resumable, "on_train_batch_end", interrupt)
    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    with pytest.raises(mcrgen.errors.StoppedError, match=rf"stopped at step {stop_at} of 6; go on with .*--resume"):
        mcrgen.train(tiny_config(image, tmp_path / "cut", *options))
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before
    (tmp_path / "cut").rename(tmp_path / "moved")
    resumed = mcrgen.train(tiny_config(image, tmp_path / "moved", "resume=true", *options))
    assert_same_model(whole.checkpoint, resumed.checkpoint)
    assert selected(resumed.checkpoint) == selected(whole.checkpoint) | {
        "value": pytest.approx(selected(whole.checkpoint)["value"])
    }
    for name in ("best.ckpt", "last.ckpt"):
        assert_same_model(tmp_path / "whole" / name, tmp_path / "moved" / name)
    states = torch.load(tmp_path / "moved/last.ckpt", weights_only=True)["callbacks"].values()
    assert [s["best_model_path"] for s in states] == [str(tmp_path / "moved/best.ckpt")]


def test_killed_training_resumes(image: Path, tmp_path: Path) -> None:
    """SIGKILL at some step, the same command with --resume: the model of an uninterrupted run."""
    steps = ("trainer.max_steps=60", "monitor.every=20")
    whole = mcrgen.train(tiny_config(image, tmp_path / "whole", *steps))
    cut = tmp_path / "cut"
    mcrgen.config.save(tiny_config(image, cut, *steps), tmp_path / "cut.yaml")
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
    mcrgen.train(tiny_config(image, cut, *steps, "resume=true"))
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


def built(config: mcrgen.TrainConfig) -> tuple[Exemplar, SWNNTask]:
    exemplars = read_exemplars(config.data)
    data = build_data(config, exemplars)
    return data, build_task(config, exemplars, data)


def test_autocovariance_is_matched_as_far_as_it_is_known(image: Path, tmp_path: Path) -> None:
    data, task = built(tiny_config(image, tmp_path))
    lag = 2 * 2  # twice the layers
    for normal, matching in enumerate(task.covariance):
        torch.testing.assert_close(matching.targets[0], data.covariance(lag)[normal])
    data, task = built(tiny_config(image, tmp_path, "data.phase_fraction=0.35"))
    for normal, matching in enumerate(task.covariance):
        torch.testing.assert_close(matching.targets[0].float(), data.pattern_covariance([0.35])[0, normal])
    data, task = built(tiny_config(image, tmp_path, "data.phase_fraction_range=[0.2,0.4]"))
    for normal, matching in enumerate(task.covariance):
        assert matching.at.tolist() == pytest.approx(np.linspace(0.2, 0.4, 9))
        torch.testing.assert_close(matching.targets[4].float(), data.pattern_covariance([0.3])[0, normal])
    assert built(tiny_config(image, tmp_path, "loss.covariance_weight=0"))[1].covariance is None
    matched = built(tiny_config(image, tmp_path, "loss.kind=autocorrelation", "loss.covariance_weight=0"))[1].covariance
    assert [m.means.tolist() for m in matched] == [[pytest.approx(0.3)]] * 3


def test_phase_names_are_kept_in_the_checkpoint(image3: Path, tmp_path: Path) -> None:
    names, folder = ["pore", "clay", "grain"], tmp_path / "run"
    result = mcrgen.train(tiny_config(image3, folder, "trainer.max_steps=1", f"data.phase_names=[{','.join(names)}]"))
    record = torch.load(result.checkpoint, weights_only=True)["mcrgen"]
    assert record["phases"] == {"values": [1, 5, 9], "phase": 2, "names": names}
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["phase_names"] == names
    resumed = mcrgen.train(tiny_config(image3, folder, "trainer.max_steps=1", "resume=true", "data.phase_names=[a,b,c]"))
    assert torch.load(resumed.checkpoint, weights_only=True)["mcrgen"]["phases"]["names"] == ["a", "b", "c"]


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
    resumed = mcrgen.train(tiny_config(image, tmp_path / "run", "resume=true"))
    errors = log(tmp_path / "run", "monitor/s2_mse")
    assert selected(resumed.checkpoint)["step"] == min(errors, key=lambda step: errors[step])


def test_wandb_as_a_plain_string(image: Path, tmp_path: Path) -> None:
    config = tiny_config(image, tmp_path / "run", "trainer.max_steps=1")
    config.logging.wandb = "disabled"
    mcrgen.train(config)
    assert not (tmp_path / "run" / "wandb").exists()


def test_divergence_is_told(image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: training diverged to NaN at 1e\+30"):
        mcrgen.train(tiny_config(image, tmp_path / "run", "optimizer.learning_rate=1e30"))
    assert not (tmp_path / "run" / "model.ckpt").exists()


def test_derived_depth_covers_the_autocorrelation_length(image: Path, tmp_path: Path) -> None:
    fine = np.asarray(tifffile.imread(image))
    media = {
        "stripes": np.tile(np.repeat(np.array([0, 1], np.uint8), 10), (80, 4)),  # S2 along x falls linearly, along y not at all
        "fine": fine,
        "blown_up": np.kron(fine, np.ones((3, 3), np.uint8)),
    }
    layers = {}
    for name, labels in media.items():
        np.save(tmp_path / f"{name}.npy", labels)
        layers[name] = built(tiny_config(tmp_path / f"{name}.npy", tmp_path, "network.layers=0"))[1].hparams["layers"]
    assert layers["stripes"] == 5
    assert layers["blown_up"] > layers["fine"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.slab_size=41"], r"data\.image: expected at least 41 pixels along each edge.*medium\.tif' has 48 x 40"),
        (["data.phase_fraction=0.999"], r"data\.phase_fraction: expected a target within what the exemplar's patterns reach"),
        (["data.phase_fraction=1.5"], r"data\.phase_fraction: expected a phase fraction between 0 and 1"),
        (["data.phase=7"], r"data\.phase: expected one of the label values 0, 255, got 7"),
        (["data.phase_names=[pore]"], r"data\.phase_names: expected a different name for each of the 2 phases .*, got pore;"),
        (["trainer.max_steps=0"], r"trainer\.max_steps: expected a number greater than 0, got 0"),
        (["trainer.device=cuda:99"], r"device: 'cuda:99' was asked for, this machine has"),
        (["trainer.device=abacus"], r"device: expected auto, cpu, cuda or cuda:N, got 'abacus'"),
        (["trainer.precision=fp16"], r"precision: fp16 needs a CUDA device"),
        (["trainer.slab_size=5"], r"trainer\.slab_size: expected at least data\.patch_size = 7, got 5"),
        (["loss.covariance_weight=-1"], r"loss\.covariance_weight: expected 0 \(off\) or more"),
        (["seed=-1"], r"seed: expected 0 or more, got -1"),
        (
            ["loss.kind=autocorrelation", "loss.distance=characteristic"],
            r"loss\.distance: expected with the loss of the kind",
        ),
        (
            ["loss.exponent=2", "loss.distance=characteristic"],
            r"loss\.exponent: expected with the distance wasserstein only",
        ),
        (["loss.exponent=0.5"], r"loss\.exponent: expected 1 or more"),
        (["monitor.every=-1"], r"monitor\.every: expected 0 \(off\) or more, got -1"),
        (["monitor.samples=1"], r"monitor\.samples: expected 2 or more, to see how they scatter, got 1"),
        (["monitor.sample_size=4"], r"monitor\.sample_size: expected 8 or more, got 4"),
        (["monitor.max_lag=0"], r"monitor\.max_lag: expected a number greater than 0"),
        (["monitor.select=s2mse"], r"monitor\.select: expected one of .*, last, got 's2mse'; perhaps 's2_mse' is meant"),
        (["network.layers=-1"], r"network\.layers: expected 0 \(derived\) or more"),
    ],
)
def test_bad_input_before_any_work(image: Path, tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcrgen.train(tiny_config(image, tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_three_phases_with_a_fraction_of_one_are_refused(image3: Path, tmp_path: Path) -> None:
    for option in ("phase_fraction=0.3", "phase_fraction_range=[0.2,0.3]"):
        with pytest.raises(
            InputError, match=rf"data\.{option.split('=')[0]}: expected images of two phases.*has 3; use --data"
        ):
            mcrgen.train(tiny_config(image3, tmp_path / "run", f"data.{option}"))
