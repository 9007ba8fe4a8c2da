from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import mcrgen
from mcrgen.cli import main
from mcrgen.commands._reports import REPORTS
from mcrgen.commands.characterize import CharacterizeResult
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.measure import measure
from mcrgen.errors import InputError
from mcrgen.io.images import imagej_tags

VOLUME = gaussian_level_cut((24, 30, 34), (0.5, 0.3, 0.2), 2.0, 0)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "v.tif", VOLUME, metadata=None, **imagej_tags(VOLUME.shape, 2.0))
    return tmp_path / "v.tif"


def characterize(medium: Path, **changes: Any) -> CharacterizeResult:
    settings = {"output": medium.parent / "out"} | changes
    return mcrgen.characterize(mcrgen.CharacterizeConfig(medium=medium, **settings))


def columns(path: Path) -> dict[str, np.ndarray]:
    rows = list(csv.DictReader(path.read_text().replace("True", "1").replace("False", "0").splitlines()))
    return {name: np.array([float(row[name]) for row in rows if row[name] != ""]) for name in rows[0]}


def test_curves_as_tables_and_json(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = characterize(volume, phase=1, max_lag=10)
    expected = measure(VOLUME == 1, max_lag=10)
    stored = json.loads((result.folder / "characterization.json").read_text())
    assert stored == json.loads(json.dumps(result.data))
    assert stored["phase"] == 1
    assert stored["medium"]["voxel_size_um"] == pytest.approx(2.0)
    assert stored["phase_fraction"] == pytest.approx(0.3, abs=1e-3)
    assert stored["specific_surface"] == expected.specific_surface
    scaled_s2 = stored["descriptors"]["s2"]["s2"]["scaled"]
    assert stored["autocorrelation_length"] == next(r for r, value in enumerate(scaled_s2) if value <= 0.05)
    s2 = columns(result.folder / "s2.csv")
    np.testing.assert_array_equal(s2["lag"], np.arange(11))
    np.testing.assert_allclose(s2["lag_um"], 2.0 * np.arange(11))
    for axis in "zyx":
        np.testing.assert_allclose(s2[axis], expected.curves["s2"].parts[axis])
    polytopes = columns(result.folder / "polytopes.csv")
    np.testing.assert_allclose(polytopes["p6_y"], expected.curves["p6"].parts["y"])
    assert stored["descriptors"]["polytopes"]["p4"]["order"] == 4
    np.testing.assert_allclose(stored["descriptors"]["lineal_path"]["lineal_path"]["mean"], expected.curves["lineal_path"].mean)
    for name in ("s2", "lineal_path", "chord_length", "polytopes"):
        with Image.open(result.folder / f"{name}.png") as picture:
            assert picture.width > 700
    assert "phase fraction of 1 (measured)" in capsys.readouterr().out


def test_everything_there_is(volume: Path) -> None:
    folder = characterize(volume, descriptors=("all",), sections=3, s3_limit=4).folder
    for name in set(REPORTS) - {"pores"}:
        assert (folder / f"{name}.png").stat().st_size > 10_000, name
        assert len((folder / f"{name}.csv").read_text().splitlines()) > 3, name
    assert not (folder / "pores.png").exists()
    with np.load(folder / "s3.npz") as arrays:
        assert arrays["z"].shape == (25, 25)
        assert arrays["lags"].shape == (25, 2)
    with np.load(folder / "gram.npz") as arrays:
        assert arrays["y_1"].shape == (64, 64)
    with np.load(folder / "s2_map.npz") as arrays:
        centre = tuple(n // 2 for n in arrays["map"].shape)
        assert arrays["map"][centre] == pytest.approx(0.2, abs=1e-3)
    c2 = columns(folder / "c2.csv")["mean"]
    assert (c2 <= columns(folder / "s2.csv")["mean"] + 1e-9).all()
    minkowski = columns(folder / "minkowski.csv")
    assert minkowski["distance"][6] == 0
    assert minkowski["fraction"][6] == pytest.approx(0.2, abs=1e-3)
    assert (np.diff(minkowski["fraction"]) >= 0).all()


def test_an_image_with_its_pores(volume: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", VOLUME[10])
    result = characterize(tmp_path / "image.npy", descriptors=("pores", "minkowski", "s2-map"), voxel_size_um=0.5)
    assert set(result.data["descriptors"]) == {"pores", "minkowski", "s2_map"}
    assert result.data["medium"]["voxel_size_um"] == 0.5
    assert "mean_curvature" not in result.data["descriptors"]["minkowski"]
    assert columns(result.folder / "pores.csv")["area"].min() >= 1
    with pytest.raises(InputError, match=r"descriptors: pores are those of an image, '.*v\.tif' is a volume"):
        characterize(volume, descriptors=("pores",), overwrite=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"descriptors": ("s2", "linal-path")},
            r"descriptors: expected any of s2, .* got 'linal-path'; perhaps 'lineal-path' is meant",
        ),
        ({"descriptors": ()}, r"descriptors: expected at least one name"),
        ({"phase": 3}, r"phase: expected one of the label values 0, 1, 2, got 3"),
        ({"max_lag": 24}, r"max_lag: expected 1 to 23 for a shortest edge of 24 voxels, got 24"),
        ({"max_lag": 0}, r"max_lag: expected 1 to 23"),
        ({"voxel_size_um": -1.0}, r"voxel_size_um: expected a number greater than 0, got -1"),
        ({"descriptors": ("s3",), "s3_limit": 13}, r"s3_limit: expected 1 to 12 for a shortest edge of 24 voxels, got 13"),
        ({"descriptors": ("gram",), "gram": "none.pth"}, r"gram: no such file 'none\.pth'"),
        ({"voxel_size_um": float("inf")}, r"voxel_size_um: expected a number greater than 0, got inf"),
    ],
)
def test_bad_input(volume: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        characterize(volume, **changes)
    assert not (volume.parent / "out").exists()


def test_what_does_not_fit_into_memory_is_refused(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.commands._reports.BYTES_PER_VOXEL", {"c2": 1e12})
    with pytest.raises(InputError, match=r"descriptors: c2 needs about \d+ GiB for a medium of 24 x 30 x 34 voxels"):
        characterize(volume, descriptors=("s2", "c2"))


def test_nothing_is_overwritten_unasked(volume: Path) -> None:
    characterize(volume, descriptors=("s2",))
    with pytest.raises(InputError, match=r"characterization\.json' exists already"):
        characterize(volume, descriptors=("lineal-path",))
    folder = characterize(volume, descriptors=("lineal-path",), overwrite=True).folder
    assert not (folder / "s2.csv").exists(), "results of another run do not stay beside these"
    assert (folder / "lineal_path.csv").exists()


def test_from_the_shell(volume: Path, tmp_path: Path) -> None:
    args = ["characterize", str(volume), "--descriptors", "s2", "lineal-path", "--output", str(tmp_path / "shell")]
    assert main([*args, "--voxel-size-um", "0.1", "--max-lag", "5", "--phase", "0"]) == 0
    data = json.loads((tmp_path / "shell" / "characterization.json").read_text())
    assert data["phase"] == 0
    assert data["max_lag"] == 5
    assert list(data["descriptors"]) == ["s2", "lineal_path"]
