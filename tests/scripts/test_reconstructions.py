"""The scripts that repeat experiments of reconstruction from descriptors, with media that take a moment."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from tables import table

TINY = ("descriptors.limit=3", "optimization.max_steps=3", "optimization.coarse_steps=2", "optimization.patience=9")


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, output: Path, *options: str) -> None:
    arguments = ["--output", str(output), "--quick", "--device", "cpu", *options, "--settings", *TINY]
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *arguments])
    importlib.import_module("_reproduction").run(script.main)


@pytest.mark.parametrize("script", ["reproduce_checkerboard_race"], indirect=True)
def test_race(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runners = ("S2", "annealing, S2 along axes")
    monkeypatch.setattr(script, "RUNNERS", {name: script.RUNNERS[name] for name in runners})
    call(monkeypatch, script, tmp_path / "race", "--seconds", "0.5")
    rows, course = table(tmp_path / "race" / "race.csv"), table(tmp_path / "race" / "course.csv")
    assert tuple(row["runner"] for row in rows) == runners
    board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8), int))
    for row in rows:
        own = [line for line in course if line["runner"] == row["runner"]]
        assert float(own[0]["seconds"]) == 0.0
        assert float(own[0]["loss / loss at the start"]) == 1.0
        assert len(own) == int(row["steps"]) + 1
        assert [float(line["seconds"]) for line in own] == sorted(float(line["seconds"]) for line in own)
        medium = np.load(tmp_path / "race" / row["runner"].replace(",", "").replace(" ", "_") / "medium.npy")
        assert medium.sum() == 64 * 64 // 2
        assert float(row["S2 error"]) == pytest.approx(s2_error(medium, board), rel=1e-6)
    assert (tmp_path / "race" / "race.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path / "race", "--seconds", "0.5")
    assert "output: expected a new folder" in capsys.readouterr().err


def s2_error(medium: NDArray[np.int64], board: NDArray[np.int64]) -> float:
    """Over all lags of a square as wide as the media, by transforms of NumPy."""
    found, wanted = (np.fft.ifft2(np.abs(np.fft.fft2(x)) ** 2).real / x.size for x in (medium, board))
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("script", ["reproduce_checkerboard_race"], indirect=True)
def test_the_time_of_a_loss_counts_on_the_finest_level_only(script: ModuleType) -> None:
    log = script.Log()
    for seconds, loss, level in ((0.0, 4.0, 1), (1.0, 0.01, 1), (2.0, 0.3, 0), (3.0, 0.02, 0), (4.0, 0.01, 0)):
        log.note(seconds, loss, level, np.zeros((4, 4), np.uint8))
    assert log.reached == 3.0
    log.losses[-2:] = [0.03, 0.021]
    assert log.reached is None


@pytest.mark.parametrize("script", ["reproduce_variation"], indirect=True)
def test_variation(script: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--image", str(image), "--size", "16", "8", "--weights", "0.1")
    call(monkeypatch, script, tmp_path / "out", *options)
    rows = table(tmp_path / "out" / "variation.csv")
    assert [row["variation"] for row in rows] == ["without", "matched", "minimised"] * 2
    for row in rows:
        name = f"{row['variation']}_{row['weight']}".removesuffix("_")
        medium = np.load(tmp_path / "out" / row["medium"] / f"{name}.npy")
        assert medium.shape == ((16, 16) if row["medium"] == "2D" else (8, 8, 8))
        record = json.loads((tmp_path / "out" / row["medium"] / f"{name}.npy.json").read_text())
        for name, column in (("s2", "E(S2)"), ("s3", "E(S3)")):
            assert float(row[column]) == pytest.approx(record["errors"][name]["mean"])
        assert float(row["noise"]) == pytest.approx(script.isolated_share(medium))
    for figure in ("variation.png", "variation_media.png"):
        assert (tmp_path / "out" / figure).stat().st_size > 10_000
    made = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("?D/*.npy"))]
    for name in ("draw", "draw_media"):
        monkeypatch.setattr(script, name, lambda *arguments: None)
    call(monkeypatch, script, tmp_path / "out", *options)  # finds all of them
    assert made == [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("?D/*.npy"))]


@pytest.mark.parametrize("script", ["reproduce_variation"], indirect=True)
def test_isolated_pixels_and_variation(script: ModuleType) -> None:
    board = np.indices((6, 7, 8)).sum(axis=0).astype(np.uint8) % 2
    assert script.isolated_share(board) == 1.0
    assert script.variation(board, periodic=False) == 2.0
    one = np.zeros((5, 7), np.uint8)
    one[2, 3] = 1
    assert script.isolated_share(one) == pytest.approx(1 / 15)  # of the inner 3 x 5
    assert script.variation(one, periodic=True) == pytest.approx(4 / 35)
    line = np.zeros((5, 5, 5), np.uint8)
    line[2, 2] = 1  # along x: alone in the sections normal to x only
    assert script.isolated_share(line) == pytest.approx(1 / 9 / 3)
    assert script.isolated_share(np.ones((4, 4), np.uint8)) == 0.0


@pytest.mark.parametrize("script", ["reproduce_descriptor_errors"], indirect=True)
def test_descriptor_errors(script: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / f"alloy{image.suffix}").write_bytes(image.read_bytes())
    call(monkeypatch, script, tmp_path / "out", "--images", str(folder), "--size", "16")
    plain, gram = table(tmp_path / "out" / "descriptor_errors.csv")
    assert (plain["recipe"], gram["recipe"]) == ("dmcr_sv", "dmcr_sgv")
    for row in (plain, gram):
        assert (float(row["paper, S"]), float(row["paper, G"])) == (4.6, 0.052)
        medium = np.load(tmp_path / "out" / "alloy" / f"{row['recipe']}.npy")
        assert row["φ"].split() == [f"{share:.4f}" for share in (1 - medium.mean(), medium.mean())]
        assert float(row["E(G)²"]) / 100 == pytest.approx((float(row["E(G)"]) / 100) ** 2)
        record = json.loads((tmp_path / "out" / "alloy" / f"{row['recipe']}.npy.json").read_text())
        for name, column in (("s2", "E(S2)"), ("s3", "E(S3)"), ("variation", "E(V)")):
            assert float(row[column]) / 100 == pytest.approx(record["errors"][name]["mean"])
    note = (tmp_path / "out" / "descriptor_errors.md").read_text()
    assert "lags below 3 voxels" in note
    assert "random weights" in note
    assert (tmp_path / "out" / "descriptor_errors.png").stat().st_size > 10_000


@pytest.mark.parametrize("script", ["reproduce_variation"], indirect=True)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", "16"), "size: expected an edge in 2D and one in 3D, got 1 numbers"),
        (("--weights", "-1"), "weights: expected a number greater than 0"),
        (("--image", "nowhere.tif"), "nowhere.tif"),
        (("--seed", "-1"), "seed: expected 0 or more"),
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


@pytest.mark.parametrize("script", ["reproduce_variation"], indirect=True)
def test_nothing_foreign_is_replaced(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path)
    assert "is neither; choose another" in capsys.readouterr().err
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "settings.json").write_text(json.dumps({"script": "another"}))
    with pytest.raises(SystemExit):
        call(monkeypatch, script, tmp_path)
    assert "was made with script another" in capsys.readouterr().err
