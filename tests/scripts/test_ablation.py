"""The script that changes one thing of a recipe at a time: what it runs, what it repeats and what it judges."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tables import table
from tiny import TINY

import mcrgen
from mcrgen.commands.train import TrainResult
from mcrgen.errors import StoppedError

pytestmark = pytest.mark.parametrize("script", ["ablation_swnn"], indirect=True)


@pytest.fixture(scope="module")
def images(two_phases: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name in ("M1", "M3"):
        Image.fromarray(two_phases * np.uint8(255)).save(folder / f"{name}.bmp")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation_swnn.py", *map(str, options)])
    importlib.import_module("_reproduction").run(script.main)


def test_options_of_a_training(script: ModuleType, tmp_path: Path) -> None:
    options = script.Options(output=tmp_path, steps=80, overrides=("calibration.threshold_blocks=4", "loss.exponent=3"))
    config = script.Run("exponent_2", Path("M1.bmp"), 3, options).config(tmp_path / "run")
    assert (config.seed, config.trainer.max_steps, config.calibration.threshold_blocks) == (3, 80, 4)
    assert (config.data.image, config.output) == (Path("M1.bmp"), tmp_path / "run")
    assert config.loss.exponent == 2.0  # the variant's
    assert config.network.channels == 16  # that of swnn_quick


def test_judge(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkerboard after an image of stripes, both of which have S2 in closed form."""
    size = 24
    image = np.broadcast_to(np.arange(size) // 4 % 2, (size, size))
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "M1.bmp")
    judge = script.Judge.of(tmp_path / "M1.bmp", script.Options(output=tmp_path, size=size))
    volume, fractions = np.indices((size,) * 3).sum(axis=0) % 2 == 1, (0.6, 0.45)
    monkeypatch.setattr(script.Judge, "_volumes", lambda *_: ((volume, fraction) for fraction in fractions))
    errors = judge.errors(Path("none"))
    lags = np.arange(judge.lags["max_lag"] + 1)
    across = [(image[0, r:] * image[0, : size - r]).mean() for r in lags]  # along the stripes one half at all lags
    s2, of_board = (np.add(across, 0.5)) / 2, np.where(lags % 2, 0.0, 0.5)
    assert errors["s2"] == pytest.approx(np.linalg.norm(of_board - s2) / np.linalg.norm(s2), rel=1e-6)
    assert errors["fraction_error"] == pytest.approx((0.6 + 0.45) / 2 / 0.5 - 1.0)
    assert errors["fraction_scatter"] == pytest.approx(0.15 / 2**0.5 / 0.5)


def test_end_to_end(
    script: ModuleType,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[str] = []
    train = mcrgen.train

    def counted(config: mcrgen.TrainConfig) -> TrainResult:
        started.append(f"{config.data.image.stem} {config.seed} {config.loss.exponent:g}" if config.data.image else "")
        return train(config)

    monkeypatch.setattr(mcrgen, "train", counted)
    settings = [setting for setting in TINY if not setting.startswith(("trainer.max_steps", "monitor", "logging"))]
    common = ["--images", images, "--output", tmp_path / "out", "--steps", 2, "--size", 20, "--volume-seeds", 1, 2]
    common += ["--image-names", "M1", "--overrides", *settings, "--train-seeds", 0]
    call(monkeypatch, script, *common, "--variants", "recipe")
    assert started == ["M1 0 1"]
    (first,) = table(tmp_path / "out" / "runs.csv")
    assert (first["variant"], first["image"], first["seed"], first["steps"]) == ("recipe", "M1", "0", "2")
    assert first["settings"] == " ".join(["volumes=1,2", "size=20", *settings])
    assert all(np.isfinite(float(first[name])) for name in list(first)[5:])
    assert float(first["wall_seconds"]) > 0.0
    call(monkeypatch, script, *common, "--variants", "recipe", "exponent_2")
    assert started == ["M1 0 1", "M1 0 2"]  # what is done is not run again
    printed = capsys.readouterr().out
    assert f"| recipe | 1 | {float(first['s2']):.4f} |" in printed
    monkeypatch.setattr(script.Judge, "of", None)
    call(monkeypatch, script, "--output", tmp_path / "out", "--table", "--columns", "s2")
    assert len(started) == 2
    printed = capsys.readouterr().out
    (second,) = (row for row in table(tmp_path / "out" / "runs.csv") if row["variant"] == "exponent_2")
    ratio = float(second["s2"]) / float(first["s2"])
    assert f"| exponent_2 | 1 | {float(second['s2']):.4f} ×{ratio:.2f} |" in printed


def test_all_variants_of_one_seed_come_before_the_next(script: ModuleType, images: Path, tmp_path: Path) -> None:
    chosen = script.chosen(script.Options(output=tmp_path, images=images, variants=("patch_5", "recipe"), train_seeds=(4, 0)))
    assert [(run.seed, run.image.stem, run.variant) for run in chosen] == [
        (seed, image, variant) for seed in (4, 0) for image in ("M1", "M3") for variant in ("patch_5", "recipe")
    ]


def test_stopped(
    script: ModuleType, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(config: mcrgen.TrainConfig) -> TrainResult:
        raise StoppedError(f"go on with {config.output}")

    monkeypatch.setattr(mcrgen, "train", stop)
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, script, "--images", images, "--output", tmp_path / "out", "--image-names", "M1", "--size", 20)
    assert left.value.code == 130
    assert capsys.readouterr().err == "ablation_swnn: stopped; the runs that have ended are kept. The same call goes on.\n"
    assert not (tmp_path / "out" / "runs.csv").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--variants", "patch5"), r"variants: expected any of recipe, .*, got 'patch5'; perhaps 'patch_5' is meant"),
        (("--image-names", "M2"), r"images: no such file '.*M2.bmp'"),
        (("--overrides", "loss.projection=3"), "projection.*perhaps"),
        (("--volume-seeds", "1"), "volume_seeds: expected two or more, to see a scatter, got 1"),
        (("--train-seeds", "-1"), "seed: expected 0 or more, got -1"),
        (("--steps", "0"), "steps: expected a number greater than 0, got 0"),
        (("--size", "1"), "size: expected 2 voxels or more, got 1"),
        (("--table",), "output: no runs.csv in '.*'; run without --table first"),
        (("--table", "--columns", "surfaces"), r"columns: expected any of s2, .*; perhaps 'surface' is meant"),
    ],
)
def test_bad_input(
    options: tuple[str, ...],
    told: str,
    script: ModuleType,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, script, "--images", images, "--output", tmp_path / "out", *options)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(told, error)
    assert not (tmp_path / "out").exists()
