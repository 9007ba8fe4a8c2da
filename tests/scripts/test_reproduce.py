"""The scripts that repeat the SWNN paper's experiments, with networks and volumes that take a moment."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from tables import table
from tiny import TINY


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, output: Path, *options: str) -> None:
    settings = [*TINY, "monitor.every=0", "trainer.max_steps=2", "calibration.fractions=2"]
    training = [setting for setting in settings if not setting.startswith("logging")]
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", "--output", str(output), "--quick", *options])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--training", *training])
    importlib.import_module("_reproduction").run(script.main)


@pytest.mark.parametrize("script", ["reproduce_stochastic"], indirect=True)
def test_stochastic(
    script: ModuleType,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "can_render", lambda: False)
    options = ("--images", str(image.parent), "--size", "24", "--seed", "4")
    call(monkeypatch, script, tmp_path, *options)
    volumes = [tmp_path / "medium" / f"volume_{number}.npy" for number in (1, 2, 3)]
    made = [path.stat().st_mtime_ns for path in (tmp_path / "medium" / "model" / "model.ckpt", *volumes)]
    reference = 0.3  # of the image, by construction
    expected = [abs(np.load(path).mean() / reference - 1.0) for path in volumes]
    rows = table(tmp_path / "volumes.csv")
    assert [row["seed"] for row in rows] == ["5", "6", "7"]
    np.testing.assert_allclose([float(row["φ error"]) for row in rows], expected, rtol=1e-6)
    (summary,) = table(tmp_path / "stochastic.csv")
    assert float(summary["φ error"]) == pytest.approx(np.mean(expected))
    assert float(summary["± φ error"]) == pytest.approx(np.std(expected, ddof=1))
    assert (tmp_path / "stochastic.md").read_text().count("\n") == 3
    assert (tmp_path / "stochastic.png").stat().st_size > 10_000
    monkeypatch.setattr(script, "draw", lambda options, made: None)
    call(monkeypatch, script, tmp_path, *options)  # finds all of it
    assert made == [path.stat().st_mtime_ns for path in (tmp_path / "medium" / "model" / "model.ckpt", *volumes)]
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path, *options[:-1], "5")
    assert "was made with seed 4, not 5; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["reproduce_controllable"], indirect=True)
def test_controllable(script: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, script, tmp_path, "--images", str(image.parent), "--size", "24")
    rows = table(tmp_path / "controllable.csv")
    assert [row["networks"] for row in rows] == ["single", "conditional"] * 3
    for row in rows:
        name = tmp_path / "medium" / f"{row['networks']}_{float(row['requested φ']):g}"
        assert float(row["φ"]) == pytest.approx(np.load(f"{name}.npy").mean())
        assert float(row["φ, exact"]) == pytest.approx(float(row["requested φ"]), abs=1e-3)
    assert (tmp_path / "controllable_medium.png").exists()


@pytest.mark.parametrize("script", ["reproduce_heterogeneous"], indirect=True)
def test_heterogeneous(script: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, script, tmp_path, "--images", str(image.parent), "--size", "24")
    assert len(table(tmp_path / "heterogeneous.csv")) == 5
    layers, ramp, mean = (np.load(tmp_path / "medium" / f"{name}.npy") for name in ("layers", "ramp", "mean"))
    plain = 6  # a quarter along x is further than two layers from where any of these fields changes
    np.testing.assert_array_equal(layers[:, :, :plain], ramp[:, :, :plain])
    np.testing.assert_array_equal(layers[:, :, :plain], mean[:, :, :plain])
    assert len(np.unique(ramp[:, :, -4:])) == 1  # no noise, one phase
    assert (tmp_path / "heterogeneous_medium.png").exists()


@pytest.mark.parametrize("script", ["reproduce_sizes"], indirect=True)
def test_sizes(script: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(command: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", command[2:])
        exec(command[2], {})
        return 3 << 20

    monkeypatch.setattr(script, "peak_memory", here)
    call(monkeypatch, script, tmp_path, "--images", str(image.parent), "--sizes", "20")
    training, volume = table(tmp_path / "sizes.csv")
    assert float(training["paper, s"]) == 200.0
    assert float(volume["φ"]) == pytest.approx(np.load(tmp_path / "medium" / "volume_20.npy").mean())
    assert float(volume["memory, GiB"]) == 3.0
    assert (tmp_path / "sizes_medium.png").exists()


@pytest.mark.parametrize("script", ["reproduce_stochastic"], indirect=True)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--images", "nowhere"), "images: expected a folder"),
        (("--seed", "-1"), "seed: expected 0 or more"),
        (("--size", "0"), "size: expected a number greater than 0"),
    ],
)
def test_bad_input(
    script: ModuleType,
    options: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, script, tmp_path, *options)
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", ["reproduce_sharp_cells"], indirect=True)
def test_sharp_cells(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("optimization.max_steps=3", "optimization.coarse_steps=2", "optimization.device=cpu", "descriptors.limit=4")
    options = ("--size", "16", "--reconstruction", *short)
    call(monkeypatch, script, tmp_path, *options)
    rows = table(tmp_path / "sharp_cells.csv")
    names = ("exemplar", "generated", "generated_patterns", "patterns", "correlations")
    metrics = json.loads((tmp_path / "comparison" / "metrics.json").read_text())["candidates"]
    for row, name in zip(rows, names, strict=True):
        image = name == "exemplar"
        labels = tifffile.imread(tmp_path / "exemplars" / "cells.tif") if image else np.load(tmp_path / f"{name}.npy")
        assert labels.shape == ((160, 160) if image else (16, 16, 16))
        assert {key: float(row[key]) for key in ("corners", "fourfold order")} == pytest.approx(script.sharpness(labels))
        if not image:
            assert float(row["S2 rel. L2"]) == pytest.approx(metrics[name]["curves"]["s2"]["relative_l2"])
            assert labels.mean() == pytest.approx(0.43, abs=0.01)
    start = json.loads((tmp_path / "generated_patterns.npy.json").read_text())["inputs"]["start"]
    assert start["path"].endswith("generated.npy")
    assert (tmp_path / "sharp_cells.png").stat().st_size > 10_000
    made = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.npy"))]
    monkeypatch.setattr(script, "draw", lambda *arguments: None)
    call(monkeypatch, script, tmp_path, *options)  # finds all of it
    assert made == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.npy"))]
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path / "other", "--images", str(tmp_path))
    assert "images: the medium of this experiment is built in; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["reproduce_sharp_cells"], indirect=True)
def test_sharpness_in_closed_form(script: ModuleType) -> None:
    """Squares of 16 pixels in cells of 32: 4 corners among 64 blocks at the interface, facets along the axes only."""
    squares = np.zeros((64, 64), np.uint8)
    squares.reshape(2, 32, 2, 32)[:, 8:24, :, 8:24] = 1
    found = script.sharpness(squares)
    assert found["corners"] == pytest.approx(4 / 64)
    assert found["fourfold order"] > 0.7
    disc = np.hypot(*(np.indices((64, 64)) - 31.5)) < 20
    assert script.sharpness(disc.astype(np.uint8))["fourfold order"] < 0.1
    columns = np.repeat(squares[None], 64, axis=0)
    assert script.sharpness(columns)["corners"] == pytest.approx(4 / 64 / 3, rel=1e-5)  # none in two of three normals
