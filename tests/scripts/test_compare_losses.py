"""The script that trains one network with several losses."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from tables import table
from tiny import TINY

pytestmark = pytest.mark.parametrize("script", ["compare_losses"], indirect=True)


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_losses.py", *map(str, options)])
    importlib.import_module("_reproduction").run(script.main, after_stop="")


def test_end_to_end(
    script: ModuleType,
    image: Path,
    two_phases: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "can_render", lambda: False)
    settings = [setting for setting in TINY if not setting.startswith(("trainer.max_steps", "monitor.every", "logging"))]
    settings += ["trainer.slab_size=40"]  # as large as the image: VGG-19 sees one window of it
    common = [image, "--output", tmp_path, "--seed", 3, "--size", 20, "--training", *settings]
    call(monkeypatch, script, *common, "--steps", 2)
    errors = {row.pop(""): {kind: float(value) for kind, value in row.items()} for row in table(tmp_path / "losses.csv")}
    kinds = list(errors["S2, rel. L2"])
    assert tuple(kinds) == tuple(script.LOSSES)
    volumes = {kind: np.load(tmp_path / f"{kind}.npy") for kind in kinds}
    assert {volume.shape for volume in volumes.values()} == {(20, 20, 20)}
    assert len({volume.tobytes() for volume in volumes.values()}) == 3
    for kind, volume in volumes.items():
        config = yaml.safe_load((tmp_path / kind / "config.yaml").read_text())
        assert (config["loss"]["kind"], config["seed"], config["trainer"]["max_steps"]) == (kind, 3, 2)
        assert json.loads((tmp_path / f"{kind}.npy.json").read_text())["config"]["seed"] == 4
        off = abs(volume.astype(bool).mean() / two_phases.mean() - 1.0)
        assert errors["phase fraction, rel. error"][kind] == pytest.approx(off, abs=1e-9)
        assert off < 1e-3  # volumes of exactly the image's fraction
        assert errors["S2, rel. L2"][kind] == pytest.approx(s2_error(volume > 0, two_phases > 0), rel=1e-6)
    assert yaml.safe_load((tmp_path / "patterns" / "config.yaml").read_text())["loss"]["covariance_weight"] == 0
    assert (tmp_path / "losses.png").stat().st_size > 10_000
    cells = " | ".join(f"{error:.4f}" for error in errors["S2, rel. L2"].values())
    assert f"| S2, rel. L2 | {cells} |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call(monkeypatch, script, *common)
    assert "exists already; choose another name or add --overwrite" in capsys.readouterr().err


def s2_error(volume: NDArray[np.bool_], image: NDArray[np.bool_]) -> float:
    def s2(medium: NDArray[np.bool_], r: int) -> float:
        ahead = [np.moveaxis(medium, axis, 0) for axis in range(medium.ndim)]
        return float(np.mean([(m[r:] & m[: len(m) - r]).mean() for m in ahead]))

    found, wanted = (np.array([s2(medium, r) for r in range(11)]) for medium in (volume, image))  # to half an edge
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--steps", "0"), "steps: expected a number greater than 0, got 0"),
        (("--size", "-3"), "size: expected a number greater than 0, got -3"),
        (("--seed", "-1"), "seed: expected 0 or more, got -1"),
        (("--vgg-weights", "nowhere.pt"), "vgg_weights: no such file 'nowhere.pt'"),
        (("--training", "trainer.max_step=4"), "perhaps"),
    ],
)
def test_bad_input(
    options: tuple[str, ...],
    told: str,
    script: ModuleType,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "can_render", lambda: False)
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, script, image, "--output", tmp_path / "out", *options)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_image(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path / "none.tif", "--output", tmp_path)
    assert "image: no such file" in capsys.readouterr().err
