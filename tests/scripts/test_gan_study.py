from __future__ import annotations

import csv
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.errors import InputError

TINY = (
    "network.size=16", "network.features=4", "network.critic_features=4", "network.latent_channels=4", "trainer.max_steps=2",
    "trainer.batch_size=4", "monitor.every=2", "monitor.samples=4", "monitor.windows=16", "calibration.samples=4",
    "trainer.preview_every=2",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::mcrgen.callbacks.descriptor_monitor.CollapseWarning")
@pytest.mark.parametrize("script", ["reproduce_gan_study"], indirect=True)
def test_the_table_has_the_errors_of_all_methods_and_is_made_once(script: ModuleType, tmp_path: Path) -> None:
    image = tmp_path / "rock.npy"
    np.save(image, gaussian_level_cut((96, 80), (0.6, 0.4), 2.0, 0))
    options = script.Options(
        output=tmp_path / "out", images=(image,), quick=True, samples=4, annealed=2, swaps=20, training=TINY, seed=3
    )
    files = script.check(options)
    script.study(options, "rock", files["rock"])
    metrics = json.loads((tmp_path / "out" / "rock" / "comparison" / "metrics.json").read_text())["candidates"]
    with (tmp_path / "out" / "rock.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["dcgan", "wgan_gp", "annealing"]
    for method, found in zip(rows, metrics.values(), strict=True):
        assert found["images"] == (2 if method == "annealing" else 4)
        assert float(rows[method]["S2, MSE"]) == found["curves"]["s2"]["mse"]
        assert float(rows[method]["F4, MSE"]) == found["curves"]["p4"]["mse_scaled"]
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("sample_*.tif")}
    assert len(first) == 10
    script.study(options, "rock", files["rock"])
    assert {path: path.stat().st_mtime_ns for path in first} == first


@pytest.mark.parametrize("script", ["reproduce_gan_study"], indirect=True)
def test_bad_options_are_told_before_any_work(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="methods: expected dcgan, wgan_gp or annealing, got 'gan'"):
        script.check(script.Options(output=tmp_path / "out", methods=("gan",)))
    with pytest.raises(InputError, match=r"unknown key 'network\.sise'"):
        script.check(script.Options(output=tmp_path / "out", training=("network.sise=3",)))
    assert not (tmp_path / "out").exists()
