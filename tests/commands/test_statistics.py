from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mcrgen.commands._statistics import read_statistics
from mcrgen.commands.characterize import CharacterizeConfig
from mcrgen.commands.characterize import run as characterize
from mcrgen.errors import InputError


def table(path: Path, columns: dict[str, list[float]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def test_what_characterize_writes_is_read_back(tmp_path: Path) -> None:
    labels = (np.random.default_rng(0).random((6, 9, 8)) < 0.3).astype(np.uint8) * 255
    np.save(tmp_path / "volume.npy", labels)
    result = characterize(CharacterizeConfig(medium=tmp_path / "volume.npy", output=tmp_path / "c", max_lag=3, phase=0))
    found = read_statistics(tmp_path / "c" / "characterization.json", None)
    assert found.fraction == pytest.approx(float((labels == 0).mean()))
    assert found.phase == 0
    assert found.covers(3)
    for axis in "zyx":
        assert found.along("s2", axis) == result.data["descriptors"]["s2"]["s2"]["parts"][axis]
        assert found.along("lineal_path", axis) == result.data["descriptors"]["lineal_path"]["lineal_path"]["parts"][axis]
        assert found.density(axis) == result.data["interface_density"][axis]
    one = read_statistics(tmp_path / "c" / "s2.csv", None)
    assert one.curves["s2"] == {column: pytest.approx(values) for column, values in found.curves["s2"].items()}


def test_a_table_of_one_curve_is_the_same_along_all_axes(tmp_path: Path) -> None:
    found = read_statistics(table(tmp_path / "lineal-path.csv", {"lag": [0, 1], "mean": [0.25, 0.125]}), None)
    assert found.fraction == 0.25
    assert not found.covers(2)
    assert found.along("lineal_path", "z") == found.along("lineal_path", "x") == [0.25, 0.125]
    by_axis = read_statistics(table(tmp_path / "s2.csv", {"lag": [0, 1], "y": [0.5, 0.4], "x": [0.5, 0.3]}), None)
    assert by_axis.along("s2", "x") == [0.5, 0.3]
    assert by_axis.along("s2", "-") == pytest.approx([0.5, 0.35])
    assert by_axis.covers(2)
    assert not by_axis.covers(3)


def test_a_fraction_given_wins(tmp_path: Path) -> None:
    assert read_statistics(table(tmp_path / "s2.csv", {"lag": [0], "mean": [0.25]}), 0.3).fraction == 0.3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lag": [1, 2], "mean": [0.1, 0.2]}, "lags are not 0, 1, 2"),
        ({"lag": [0, 1], "values": [0.1, 0.2]}, "no table of descriptors"),
        ({"r": [0, 1], "mean": [0.1, 0.2]}, "no table of descriptors"),
        ({"lag": [0, 1], "mean": [0.0, 0.0]}, "expected a phase fraction between 0 and 1"),
        ({"lag": [0, 1], "mean": [1.0, 1.0]}, "expected a phase fraction between 0 and 1"),
        ({"lag": [0, 1], "mean": [0.5, 1.5]}, "expected probabilities between 0 and 1"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, columns: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_statistics(table(tmp_path / "s2.csv", columns), None)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="source: no such file"):
        read_statistics(tmp_path / "s2.csv", None)
    with pytest.raises(InputError, match=r"named s2.csv or lineal_path.csv"):
        read_statistics(table(tmp_path / "curve.csv", {"lag": [0], "mean": [0.25]}), None)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="no table of descriptors"):
        read_statistics(tmp_path / "broken.json", None)
    (tmp_path / "three.json").write_text(json.dumps({"medium": {"values": [0, 1, 2]}}))
    with pytest.raises(InputError, match=r"two phases.*with 3"):
        read_statistics(tmp_path / "three.json", None)
