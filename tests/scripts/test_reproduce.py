"""The scripts that repeat the SWNN paper's experiments, with networks and volumes that take a moment."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
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
