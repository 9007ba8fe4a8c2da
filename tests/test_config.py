from __future__ import annotations

from pathlib import Path

import pytest

import mcrgen
from mcrgen import config
from mcrgen.commands._hardware import Precision
from mcrgen.errors import InputError
from mcrgen.reconstruction.schedule import Rule

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_load(path: Path) -> None:
    given = ["data.image=rock.tif"]
    made = path.stem.startswith(("dmcr", "yeong"))
    schema = mcrgen.ReconstructConfig if made else config.choose([mcrgen.TrainConfig, mcrgen.GanConfig], path)
    loaded = config.load(schema, path, [*given, "paths=[v.tif]", "size=[8,8,8]"] if made else given)
    assert loaded.data.image == Path("rock.tif")
    assert isinstance(loaded, mcrgen.GanConfig) == ("gan" in path.stem)


def test_a_frozen_section_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("paths: [v.tif]\nsize: [8, 8]\nannealing: {rule: lam, swaps: 7}\n")
    loaded = config.load(mcrgen.ReconstructConfig, tmp_path / "c.yaml", ["annealing.factor=0.5"])
    assert (loaded.annealing.rule, loaded.annealing.swaps, loaded.annealing.factor) == (Rule.lam, 7, 0.5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_are_recipes_by_name(path: Path) -> None:
    assert config.recipe(path.stem).read_text() == path.read_text()


def test_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: {image: a.tif}\nnetwork: {channels: 7, layers: 3}\n")
    loaded = config.load(mcrgen.TrainConfig, file, ["network.layers=5", "trainer.precision=bf16"])
    assert (loaded.network.channels, loaded.network.layers) == (7, 5)
    assert loaded.trainer.precision is Precision.bf16
    assert loaded.trainer.max_steps == mcrgen.TrainConfig(data=loaded.data).trainer.max_steps


def test_round_trip(tmp_path: Path) -> None:
    generate = mcrgen.GenerateConfig(checkpoint=Path("a.ckpt"), output=Path("v.tif"), size=(1, 2, 3))
    config.save(generate, tmp_path / "c.yaml")
    assert config.load(mcrgen.GenerateConfig, tmp_path / "c.yaml") == generate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {imge: a.tif}", r"unknown key 'data\.imge'; perhaps 'data\.image' is meant"),
        ("netwrk: {channels: 3}", r"unknown key 'netwrk'; perhaps 'network' is meant"),
        ("network: {channels: wide}", r"network\.channels.*wide"),
        ("network: 3", r"expected keys and values for network"),
        ("trainer: {precision: half}", r"trainer\.precision"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        config.load(mcrgen.TrainConfig, file)


def test_a_missing_value_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("output: v.tif")
    with pytest.raises(InputError, match=r"checkpoint: a value is required; give --checkpoint or set it in a file"):
        config.load(mcrgen.GenerateConfig, tmp_path / "c.yaml")


def test_a_file_without_a_suffix_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("data: {image: a.tif}")
    assert config.load(mcrgen.TrainConfig, tmp_path / "mine").data.image == Path("a.tif")


def test_a_recipe_may_be_named_by_a_string() -> None:
    overrides = ["data.image=a.tif"]
    by_name = config.load(mcrgen.TrainConfig, "swnn_quick", overrides)
    assert by_name == config.load(mcrgen.TrainConfig, Path("swnn_quick"), overrides)
    assert by_name != config.load(mcrgen.TrainConfig, None, overrides)


def test_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no recipe 'swn_quick'; perhaps 'swnn_quick' is meant.*recipes: .*swnn"):
        config.load(mcrgen.TrainConfig, Path("swn_quick"))


def test_differences() -> None:
    a = mcrgen.GenerateConfig(checkpoint=Path("a"), output=Path("v.tif"))
    b = mcrgen.GenerateConfig(checkpoint=Path("a"), output=Path("v.tif"), seed=4)
    assert config.differences(b, config.to_plain(a)) == ["seed"]
