from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny_config

import mcrgen
from mcrgen.commands._extent import Extent
from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.commands._sources import OneGenerator
from mcrgen.errors import InputError
from mcrgen.generation.fields import constant
from mcrgen.generation.noise import APERIODIC, Noise
from mcrgen.tasks.swnn import SWNNTask

LOW, HIGH = 0.2, 0.4
STEPS = ["trainer.max_steps=60", "monitor.every=0", "calibration.fractions=3"]
CUBES = ["calibration.threshold_blocks=4", "calibration.threshold_block_size=32", "calibration.batchnorm_block_size=24"]


@pytest.fixture(scope="module")
def conditional(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conditional") / "run"
    overrides = [f"data.phase_fraction_range=[{LOW},{HIGH}]", *STEPS, *CUBES]
    return mcrgen.train(tiny_config(image, folder, *overrides)).checkpoint


def generated(checkpoint: Path, path: Path, **options: object) -> NDArray[np.uint8]:
    settings = {"size": (64,), "precision": Precision.fp32, "device": "cpu"} | options
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=path, **settings))
    return np.load(path)


def test_checkpoint_is_plain_data_with_a_table(conditional: Path) -> None:
    record = torch.load(conditional, weights_only=True)["mcrgen"]
    assert record["conditional"]["fractions"] == pytest.approx([LOW, 0.3, HIGH])
    assert record["conditional"]["statistics"].shape == (
        3,
        1,
        2,
        4,
    )  # fractions, normalised layers, mean and variance, channels
    assert record["calibration"]["fractions"] == pytest.approx([0.7, 0.3])  # the image's own
    assert record["calibration"]["achieved"][1] == pytest.approx(0.3, abs=1e-3)
    assert (conditional.parent / "preview.png").exists()


@pytest.mark.parametrize("fraction", [LOW, 0.237, 0.31, HIGH])
def test_any_fraction_of_the_range_is_made(conditional: Path, tmp_path: Path, fraction: float) -> None:
    volume = generated(conditional, tmp_path / "v.npy", phase_fraction=fraction)
    assert volume.mean() == pytest.approx(fraction, abs=0.02)
    exact = generated(conditional, tmp_path / "e.npy", phase_fraction=fraction, exact=True)
    assert exact.mean() == pytest.approx(fraction, abs=1e-4)


def test_the_network_changes_with_the_fraction_and_not_the_threshold_alone(conditional: Path) -> None:
    """At one and the same phase fraction, the networks of two make different media of the same noise."""
    loaded = load_generator(conditional, "cpu", Precision.fp32)
    scores = [loaded.at(f).generator.scores(Noise(0), (0, 0, 0), (48,) * 3).numpy() for f in (LOW, HIGH)]
    small, large = (values > np.quantile(values, 0.7) for values in scores)
    assert (small != large).mean() > 0.003


def test_a_virtual_volume_is_the_generated_one(conditional: Path, tmp_path: Path) -> None:
    volume = generated(conditional, tmp_path / "v.npy", phase_fraction=0.25, seed=3)
    virtual = mcrgen.VirtualVolume(conditional, 3, size=64, phase_fraction=0.25, precision="fp32", device="cpu", block_size=32)
    assert (virtual[10:40, 5:64, 33] != volume[10:40, 5:64, 33]).mean() < 1e-3


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_a_ramp_is_followed_whatever_the_blocks(conditional: Path, tmp_path: Path, precision: Precision) -> None:
    field = {"phase_fraction_field": f"{LOW}:{HIGH}", "gradient_axis": "y", "precision": precision, "size": (48, 96, 64)}
    volumes = [generated(conditional, tmp_path / f"{b}.npy", block_size=b, **field) for b in (96, 32)]
    assert (volumes[0] != volumes[1]).mean() < 1e-4
    profile = volumes[0].mean(axis=(0, 2)).reshape(4, 24).mean(axis=1)
    np.testing.assert_allclose(profile, LOW + (HIGH - LOW) * (np.arange(4) + 0.5) / 4, atol=0.04)
    exact = generated(conditional, tmp_path / "e.npy", exact=True, **field)
    assert exact.mean() == pytest.approx((LOW + HIGH) / 2, abs=1e-4)
    assert (tmp_path / "e.npy.phase_fraction.tif").exists()


def test_a_uniform_field_is_the_generator_of_that_fraction(conditional: Path, tmp_path: Path) -> None:
    uniform = generated(conditional, tmp_path / "f.npy", phase_fraction_field="0.3", exact=True)
    plain = generated(conditional, tmp_path / "p.npy", phase_fraction=0.3, exact=True)
    assert (uniform != plain).mean() < 1e-3


def test_a_field_from_a_file_moves_with_the_box(conditional: Path, tmp_path: Path) -> None:
    field = np.full((24, 24, 24), LOW, np.float32)
    field[:, :, 12:] = HIGH
    np.save(tmp_path / "field.npy", field)
    options = {"phase_fraction_field": str(tmp_path / "field.npy"), "size": None, "box": "-30:-6,100:124,7:31"}
    volume = generated(conditional, tmp_path / "v.npy", **options)
    low, high = (generated(conditional, tmp_path / f"{f}.npy", phase_fraction_field=f"{f}", size=None, box=options["box"])
                 for f in (LOW, HIGH))  # fmt: skip
    halo = 2
    assert (volume[:, :, : 12 - halo] != low[:, :, : 12 - halo]).mean() < 1e-3
    assert (volume[:, :, 12 + halo :] != high[:, :, 12 + halo :]).mean() < 1e-3


def test_the_memory_of_a_field_is_that_of_the_network_that_follows_it(conditional: Path) -> None:
    loaded = load_generator(conditional, "cpu", Precision.fp32)
    field, extent, shape = constant(0.3), Extent((0, 0, 0), (40, 30, 20), APERIODIC), (20, 30, 20)
    source = OneGenerator(loaded, Noise(0), extent, None, field, exact=False, inside=None)
    assert source.memory(shape) == loaded.over(field).generator.memory(shape) > loaded.generator.memory(shape)


def test_a_resumed_training_is_the_uninterrupted_one(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the running means of each part of the range, and the fraction of each step."""
    options = [f"data.phase_fraction_range=[{LOW},{HIGH}]", "monitor.every=0", "calibration.fractions=2"]
    whole = mcrgen.train(tiny_config(image, tmp_path / "whole", *options))
    step = SWNNTask.training_step

    def interrupted(self: SWNNTask, batch: Any, batch_idx: int) -> None:
        if self.global_step == 5:
            raise KeyboardInterrupt
        step(self, batch, batch_idx)

    monkeypatch.setattr(SWNNTask, "training_step", interrupted)
    with pytest.raises(mcrgen.StoppedError, match="go on with"):
        mcrgen.train(tiny_config(image, tmp_path / "cut", *options))
    monkeypatch.undo()
    resumed = mcrgen.train(tiny_config(image, tmp_path / "cut", *options, "resume=true"))
    first, second = (torch.load(run.checkpoint, weights_only=True) for run in (whole, resumed))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for key, value in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][key], value, rtol=0, atol=1e-4)
    table = [content["mcrgen"]["conditional"]["thresholds"] for content in (first, second)]
    np.testing.assert_allclose(table[1], table[0], atol=1e-3)


def test_in_another_arithmetic_thresholds_are_measured_anew(conditional: Path) -> None:
    measured = torch.load(conditional, weights_only=True)["mcrgen"]["calibration"]["precision"]
    other = Precision.fp32 if measured == "bf16" else Precision.bf16
    same = load_generator(conditional, "cpu", Precision(measured)).conditional
    anew = load_generator(conditional, "cpu", other).conditional
    assert same._table.thresholds == same._stored.thresholds
    assert anew._table.thresholds != anew._stored.thresholds
    np.testing.assert_allclose(anew._table.thresholds, anew._stored.thresholds, atol=0.05)


def test_a_region_takes_it_at_its_own_fraction(conditional: Path, checkpoint: Path, tmp_path: Path) -> None:
    regions = np.zeros((24, 24, 24), np.uint8)
    regions[12:] = 1
    np.save(tmp_path / "map.npy", regions)
    volume = generated(
        checkpoint, tmp_path / "v.npy", size=(24,), regions=tmp_path / "map.npy", region=(f"1={conditional}:2,3",)
    )
    assert set(np.unique(volume[:12])) == {0, 1}
    assert set(np.unique(volume[12:])) == {2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"phase_fraction": 0.41},
            r"phase_fraction: expected 0\.2 to 0\.4, the range that the generator was trained for, got 0\.41",
        ),
        ({"phase_fraction_field": "0.1:0.3:z"}, r"phase_fraction_field: expected values between 0\.2 and 0\.4, got 0\.1"),
    ],
)
def test_out_of_range(conditional: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generated(conditional, tmp_path / "v.npy", **options)
    assert not list(tmp_path.iterdir())
