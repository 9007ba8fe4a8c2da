"""The script that measures one conditional generator against generators of a single phase fraction."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY, tiny_config

import mcrgen
from mcrgen.commands.train import TrainResult

pytestmark = pytest.mark.parametrize("script", ["benchmark_conditional"], indirect=True)


def call(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark_conditional.py", *map(str, options)])
    importlib.import_module("_reproduction").run(script.main, after_stop="")


def fake(*volumes: np.ndarray) -> Any:
    """A generator with these scores for seeds 0, 1, ..., which is calibrated to the threshold 0.5."""
    return SimpleNamespace(
        calibration=lambda fraction: SimpleNamespace(bias=(-0.5,)),
        generator=SimpleNamespace(scores=lambda noise, start, shape: torch.tensor(volumes[noise.seed])[None]),
    )


def test_judged(script: ModuleType) -> None:
    """Slabs of two voxels of a period of four along one axis: S2 along it is 1/2, 1/4, 0, the other axes have 1/2."""
    n = 24
    slabs = np.broadcast_to((np.arange(n) // 2 % 2)[:, None, None], (n, n, n)).astype(np.float32)
    more = np.where(np.arange(n)[:, None, None] < 6, np.float32(0.9), slabs)  # 15 of 24 layers
    row = script.judged(fake(slabs, slabs, more), 0.5, np.array([0.5, 0.5, 0.5]), (0, 1))
    assert (row.error, row.deviation) == (0.0, 0.0)
    across = [0.5, 6 / 23, 0.0]  # of n - r pairs along the axis
    s2 = [(value + 2 * 0.5) / 3 for value in across]
    assert row.s2 == pytest.approx(np.linalg.norm(np.subtract(s2, 0.5)) / np.linalg.norm([0.5] * 3))
    row = script.judged(fake(slabs, slabs, more), 0.5, np.array([0.5, 0.5]), (0, 2))
    layers = int((more[:, 0, 0] > 0.5).sum())
    assert row.error == pytest.approx((layers / n + 0.5) / 2 - 0.5)
    assert row.deviation == pytest.approx(abs(layers / n - 0.5) / 2**0.5)


def test_patterns_s2(script: ModuleType, image: Path, tmp_path: Path) -> None:
    """At lag 0 the fraction itself; at all others between it and its square, the further the less."""
    config = tiny_config(image, tmp_path, "data.phase_fraction_range=[0.2,0.4]", "data.patch_size=3")
    for fraction in (0.2, 0.31, 0.4):
        s2 = script.patterns_s2(config, fraction)
        assert s2.shape == (3,)
        assert s2[0] == pytest.approx(fraction, abs=0.01)
        assert fraction**2 < s2[2] < s2[1] < s2[0]


def test_end_to_end(
    script: ModuleType, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs: list[mcrgen.TrainConfig] = []
    train = mcrgen.train

    def counted(config: mcrgen.TrainConfig) -> TrainResult:
        configs.append(config)
        return train(config)

    monkeypatch.setattr(mcrgen, "train", counted)
    monkeypatch.setattr(script, "EDGE", 20)
    common = ["--image", image, "--range", 0.2, 0.4, "--volume-seeds", 1, 2]
    settings = [*TINY, "trainer.max_steps=2", "monitor.every=0", "calibration.fractions=2"]
    call(monkeypatch, script, *common, "--requested", 0.2, 0.3, "--single", 0.3, "--training", *settings)
    assert [(c.data.phase_fraction_range, c.data.phase_fraction) for c in configs] == [((0.2, 0.4), None), (None, 0.3)]
    assert {c.trainer.max_steps for c in configs} == {2}
    first, second = (line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| 0."))
    assert [float(cell) for cell in first[:1] + second[:1]] == [0.2, 0.3]
    assert first[4].strip() == ""
    alone, ratio = second[4].strip(" ×)").split(" (")
    assert float(ratio) == pytest.approx(float(second[3]) / float(alone), rel=0.02)
    assert not any(c.output is not None and c.output.exists() for c in configs)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--requested", "0.05"), "requested: expected fractions from 0.1 to 0.3, got 0.05"),
        (("--single", "0.12"), "single: expected fractions that are requested too, got 0.12"),
        (("--volume-seeds", "1"), "volume_seeds: expected two or more"),
        (("--image", "none.tif"), "image: no such file"),
    ],
)
def test_bad_input(
    options: tuple[str, ...],
    told: str,
    script: ModuleType,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, script, "--image", image, *options)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
