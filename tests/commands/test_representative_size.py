from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcrgen
from mcrgen.cli import main
from mcrgen.commands.representative_size import RepresentativeSizeResult
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.compare import scaled
from mcrgen.descriptors.measure import measure
from mcrgen.descriptors.windows import random_windows
from mcrgen.errors import InputError

MEDIUM = gaussian_level_cut((96, 110), (0.6, 0.4), 1.5, 0)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    np.save(tmp_path / "m.npy", MEDIUM)
    return tmp_path / "m.npy"


def representative_size(medium: Path, **changes: Any) -> RepresentativeSizeResult:
    settings = {"output": medium.parent / "out", "windows": 12} | changes
    return mcrgen.representative_size(mcrgen.RepresentativeSizeConfig(medium=medium, **settings))


def test_errors_of_windows_by_hand(medium: Path) -> None:
    result = representative_size(medium, sizes=(40,), max_lag=9, seed=3)
    whole = scaled(measure(MEDIUM == 1, max_lag=9, curves=("s2",)), "s2")
    windows = random_windows((96, 110), 40, 12, np.random.default_rng(3))
    parts = [measure(MEDIUM[w] == 1, max_lag=9, curves=("s2",)) for w in windows]
    mse = [np.mean((scaled(p, "s2") - whole) ** 2) for p in parts]
    (found,) = result.sizes
    assert found.mse == pytest.approx(np.mean(mse))
    assert (found.mse_low, found.mse_high) == pytest.approx(np.quantile(mse, (0.025, 0.975)).tolist())
    assert found.fraction == pytest.approx(np.mean([p.fraction for p in parts]))


def test_error_falls_with_size_and_picks_the_smallest(medium: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = representative_size(medium, windows=40)
    errors = [s.mse for s in result.sizes]
    assert errors[0] > 4 * errors[-1]
    assert result.sizes[0].size == 12
    tolerance = float(np.sqrt(errors[3] * errors[4]))
    chosen = representative_size(medium, windows=40, tolerance=tolerance, overwrite=True).size
    within = [s.size for s in result.sizes if all(t.mse <= tolerance for t in result.sizes if t.size >= s.size)]
    assert chosen == min(within)
    stored = json.loads((result.folder / "representative_size.json").read_text())
    assert stored["representative_size"] == chosen
    assert stored["f2"][0] == pytest.approx(1)
    assert len(list(csv.DictReader((result.folder / "representative_size.csv").read_text().splitlines()))) == 8
    assert (result.folder / "representative_size.png").stat().st_size > 30_000
    assert f"representative size: {chosen} voxels" in capsys.readouterr().out


def test_no_size_is_within_the_tolerance(medium: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert representative_size(medium, sizes=(16, 24), tolerance=1e-9).size is None
    assert "no window size is within 1e-09" in capsys.readouterr().out


def test_volumes_and_windows_of_one_phase(tmp_path: Path) -> None:
    volume = np.zeros((20, 22, 24), np.uint8)
    volume[:6, :6, :6] = gaussian_level_cut((6, 6, 6), (0.5, 0.5), 1.0, 0)
    np.save(tmp_path / "v.npy", volume)
    result = representative_size(tmp_path / "v.npy", sizes=(12, 20), windows=30)
    assert result.sizes[0].windows < 30
    assert 0 < result.sizes[0].fraction < 0.2
    assert result.size is None, "most windows have one phase"
    np.save(tmp_path / "far.npy", np.pad(np.ones((1, 1, 1), np.uint8), (0, 29)))
    far = representative_size(tmp_path / "far.npy", sizes=(2,), windows=2, max_lag=1, overwrite=True)
    assert (far.size, far.sizes[0].windows, far.sizes[0].mse) == (None, 0, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (20, 97)}, r"sizes: expected 2 to 96, the shortest edge of the medium, got 97"),
        ({"max_lag": 12}, r"max_lag: expected 1 to 11 for a shortest edge of 12 voxels, got 12"),
        ({"windows": 1}, r"windows: expected 2 or more, got 1"),
        ({"tolerance": 0.0}, r"tolerance: expected a number greater than 0"),
        ({"seed": -1}, r"seed: expected 0 or more"),
    ],
)
def test_bad_input(medium: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        representative_size(medium, **changes)
    assert not (medium.parent / "out").exists()


def test_a_medium_too_small(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", MEDIUM[:8, :20])
    with pytest.raises(InputError, match=r"medium: expected more than 8 voxels along every axis, got \(8, 20\)"):
        representative_size(tmp_path / "s.npy")


def test_from_the_shell(medium: Path, tmp_path: Path) -> None:
    args = ["representative-size", str(medium), "--output", str(tmp_path / "shell"), "--sizes", "20", "40", "--windows", "4"]
    assert main(args) == 0
    assert (tmp_path / "shell" / "representative_size.json").exists()
