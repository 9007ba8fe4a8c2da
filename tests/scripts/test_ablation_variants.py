"""The changes of an ablation: that each is in effect while training, and gone afterwards."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from tiny import tiny_config

import mcrgen
from mcrgen import config as configuration
from mcrgen.losses.sliced_wasserstein import SlicedWasserstein

pytestmark = pytest.mark.parametrize("script", ["_ablation_variants"], indirect=True)

State = dict[str, torch.Tensor]
PATCHED = (
    "one_cycle", "weight_averaging", "orthogonal_directions", "directions_in_windows", "max_sliced", "dilated_patterns",
    "linear_output", "training_statistics",
)  # fmt: skip


def trained(image: Path, folder: Path, *overrides: str) -> State:
    config = tiny_config(image, folder, "trainer.max_steps=3", "monitor.every=0", *overrides)
    state: State = torch.load(mcrgen.train(config).checkpoint, weights_only=True)["state_dict"]
    return state


@pytest.fixture(scope="module")
def of_recipe(image: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    return trained(image, tmp_path_factory.mktemp("recipe") / "run")


def test_all_that_is_no_option_is_tested(script: ModuleType) -> None:
    assert {name for name, variant in script.VARIANTS.items() if variant.patched is not None} == set(PATCHED)


@pytest.mark.parametrize("name", PATCHED)
def test_patches_are_used_while_training_and_taken_back(
    name: str, script: ModuleType, image: Path, of_recipe: State, tmp_path: Path
) -> None:
    place, attribute, replacement = script.VARIANTS[name].patched
    original, calls = getattr(place, attribute), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return replacement(*args, **kwargs)

    variant = script.Variant(script.VARIANTS[name].overrides, (place, attribute, counted))
    with variant.in_effect():
        state = trained(image, tmp_path / "run", *variant.overrides)
    assert calls
    assert getattr(place, attribute) is original
    changed = [key for key, values in of_recipe.items() if key not in state or not torch.equal(values, state[key])]
    assert any("running_mean" in key for key in changed)
    assert any(key.endswith("weight") for key in changed) == (name != "training_statistics")


def test_patches_are_taken_back_after_an_error(script: ModuleType) -> None:
    tanh, seen = torch.tanh, []

    def broken() -> None:
        with script.VARIANTS["linear_output"].in_effect():
            seen.append(torch.tanh)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert seen[0] is not tanh
    assert torch.tanh is tanh


EXPECTED = {
    "constant_learning_rate": {"optimizer.final_learning_rate": 0.02},
    "learning_rate_x2.5": {"optimizer.learning_rate": 0.05, "optimizer.final_learning_rate": 0.001},
    "learning_rate_/2.5": {"optimizer.learning_rate": 0.008, "optimizer.final_learning_rate": 0.00016},
    "exponent_2": {"loss.exponent": 2.0},
    "no_autocovariance": {"loss.covariance_weight": 0.0},
    "autocovariance_x5": {"loss.covariance_weight": 0.5},
    "characteristic_function": {"loss.distance": "characteristic", "loss.projections": 128},
    "projections_256": {"loss.projections": 256},
    "dilated_patterns": {"data.patch_size": 13},
    "no_symmetry": {"data.symmetry": "none"},
    "slab_48": {"trainer.slab_size": 48},
    "slab_64": {"trainer.slab_size": 64},
    "patch_5": {"data.patch_size": 5},
    "patch_11": {"data.patch_size": 11},
    "layers_12": {"network.layers": 12},
}


def flat(config: mcrgen.TrainConfig) -> dict[str, Any]:
    plain = configuration.to_plain(config)
    nested = {f"{room}.{key}": value for room, keys in plain.items() if isinstance(keys, dict) for key, value in keys.items()}
    return nested | {key: value for key, value in plain.items() if not isinstance(value, dict)}


def test_each_variant_changes_what_its_name_says(script: ModuleType) -> None:
    configs = {
        name: flat(configuration.load(mcrgen.TrainConfig, script.RECIPE_FILE, ["data.image=M1.bmp", *variant.overrides]))
        for name, variant in script.VARIANTS.items()
    }
    base = configs.pop("recipe")
    assert (base["network.channels"], base["trainer.slab_size"]) == (16, 96)  # those of swnn_quick
    for name, config in configs.items():
        changed = {key: value for key, value in config.items() if value != base[key]}
        assert changed == pytest.approx(EXPECTED.get(name, {})), name
        assert changed or name in PATCHED


def test_orthogonal_directions(script: ModuleType) -> None:
    directions = script.orthogonal_directions(13, 5, torch.Generator().manual_seed(0))
    assert directions.shape == (13, 5)
    for first in (0, 5, 10):
        block = directions[first : first + 5]
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), atol=1e-5, rtol=0)


def test_directions_in_windows(script: ModuleType) -> None:
    directions = script.directions_in_windows(200, 49, torch.Generator().manual_seed(0)).view(200, 7, 7)
    torch.testing.assert_close(directions.square().sum(dim=(1, 2)), torch.ones(200))
    used = (directions != 0).sum(dim=(1, 2))
    assert set(used.tolist()) == {n * n for n in range(3, 8)}


def test_largest_quarter(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(loc=(1.0, 0.0, 0.0, 0.0), size=(9, 4))
    loss, generators = SlicedWasserstein(projections=8, p=1.0), [torch.Generator().manual_seed(3) for _ in range(2)]
    found = script.largest_quarter(loss, torch.tensor(x).float(), torch.tensor(y).float(), generators[0])
    directions = torch.nn.functional.normalize(torch.randn(8, 4, generator=generators[1])).numpy()
    distances = sorted(wasserstein_distance(x @ d, y @ d) for d in directions)
    assert float(found) == pytest.approx(np.mean(distances[-2:]), rel=1e-5)


def test_both_scales(script: ModuleType) -> None:
    windows = np.random.default_rng(0).random((3, 2, 13, 13))  # of two channels, for patterns of 7 x 7
    near, far = script.both_scales(torch.tensor(windows.reshape(3, -1)))
    np.testing.assert_array_equal(near.reshape(3, 2, 7, 7), windows[:, :, 3:10, 3:10])
    np.testing.assert_array_equal(far.reshape(3, 2, 7, 7), windows[:, :, [0, 2, 4, 6, 8, 10, 12]][..., [0, 2, 4, 6, 8, 10, 12]])


def test_one_cycle(script: ModuleType) -> None:
    task = SimpleNamespace(
        hparams={"learning_rate": 0.02, "final_learning_rate": 0.0004, "max_steps": 40}, network=torch.nn.Linear(2, 2)
    )
    (optimizer,), (schedule,) = script.one_cycle(task)
    rates = []
    for _ in range(41):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        if len(rates) < 41:
            schedule.step()
    assert rates[0] == pytest.approx(0.0004)
    assert max(rates) == pytest.approx(0.02, rel=0.01)
    assert 11 <= rates.index(max(rates)) <= 13  # 30 % of the steps
    assert rates[-1] == pytest.approx(0.0004)
