from __future__ import annotations

from pathlib import Path

import pytest

from mcrgen.commands._regions import RegionSpec, check_map_values, parse_regions
from mcrgen.errors import InputError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "a=b:c").mkdir()
    path = tmp_path / "a=b:c" / "model.ckpt"
    path.touch()
    return path


def test_entries(model: Path) -> None:
    specs = parse_regions([f"3={model}", f" 0 = {model}:0,2 ", "255=7", f"-1={model}:9"])
    assert specs == (
        RegionSpec(3, model, None),
        RegionSpec(0, model, (0, 2)),
        RegionSpec(255, None, (7,)),
        RegionSpec(-1, model, (9,)),
    )
    assert parse_regions([]) == ()


def test_a_checkpoint_that_is_called_like_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "7").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_regions(["1=./7", "2=7"]) == (RegionSpec(1, Path("7"), None), RegionSpec(2, None, (7,)))


@pytest.mark.parametrize("entry", ["", "model.ckpt", "1", "1=", "=3", "a=3", "1.5=3", "1: 3"])
def test_malformed_entries(entry: str) -> None:
    with pytest.raises(InputError, match=rf"^region: expected VALUE=CKPT, VALUE=CKPT:0,2 or VALUE=LABEL, got '{entry}'; VALUE"):
        parse_regions([entry])


def test_a_value_given_twice(model: Path) -> None:
    with pytest.raises(
        InputError, match=r"^region: expected one entry for each value of the map, got several for 1, 4; keep one"
    ):
        parse_regions(["4=1", f"1={model}", "2=0", "4=3", "1=0"])


def test_no_such_checkpoint(model: Path) -> None:
    with pytest.raises(InputError, match=r"^region: no such file '.*modle.ckpt'; perhaps 'model.ckpt' is meant"):
        parse_regions([f"1={model.with_name('modle.ckpt')}:0,2"])
    with pytest.raises(InputError, match=r"^region: expected a file, got the folder"):
        parse_regions([f"1={model.parent}"])


@pytest.mark.parametrize(("content", "label"), [("256", "256"), ("-1", "-1"), ("CKPT:0,300", "300"), ("CKPT:-2,1", "-2")])
def test_labels_of_one_byte(model: Path, content: str, label: str) -> None:
    entry = f"1={content.replace('CKPT', str(model))}"
    with pytest.raises(InputError, match=rf"^region: expected labels from 0 to 255, got {label} in '{entry}'"):
        parse_regions([entry])


def test_labels_of_the_phases(model: Path) -> None:
    assert RegionSpec(1, model, None).phase_labels(3) == (0, 1, 2)
    assert RegionSpec(1, model, (0, 2)).phase_labels(2) == (0, 2)
    with pytest.raises(
        InputError, match=r"^region: expected 3 labels in the entry of 1, one for each phase of .*, got 2; name"
    ):
        RegionSpec(1, model, (0, 2)).phase_labels(3)


def test_values_of_the_map() -> None:
    specs = parse_regions(["0=0", "5=1", "7=1"])
    check_map_values(specs, [0, 5, 7])
    with pytest.raises(
        InputError, match=r"^region: expected an entry for each value of the map, got none for 1, 10; add --region"
    ):
        check_map_values(specs, [10, 1, 0, 5, 7])
    with pytest.raises(InputError, match=r"^region: expected values of the map \(0, 6\), got an entry for 5, 7; leave it out"):
        check_map_values((*specs, RegionSpec(6, None, (0,))), [0, 6])
