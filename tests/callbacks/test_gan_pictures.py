from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_adversarial import settings, train

from mcrgen.callbacks.loss_curves import LossCurves
from mcrgen.callbacks.reference import Reference, pooled, probabilities
from mcrgen.callbacks.sample_grid import SampleGrid, flat, greys
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.tasks.wgan_gp import WGANGPTask

METRICS = {"train/critic_loss": "critic", "train/generator_loss": "generator"}


def test_a_resumed_run_goes_on_with_its_curves(tmp_path: Path) -> None:
    whole, first, second = (LossCurves(tmp_path / f"{i}.png", METRICS, every=3) for i in range(3))
    train(WGANGPTask(settings()), 5, callbacks=[whole])
    trainer = train(WGANGPTask(settings()), 2, callbacks=[first])
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    train(WGANGPTask(settings()), 5, callbacks=[second], resume=tmp_path / "last.ckpt")
    assert whole.state_dict()["steps"] == [1, 2, 3, 4, 5]
    assert second.state_dict() == whole.state_dict()
    assert (tmp_path / "2.png").exists()


def test_grids_are_drawn_when_it_is_time(tmp_path: Path) -> None:
    windows = np.stack([gaussian_level_cut((16, 16), (0.6, 0.4), 2.0, seed) for seed in range(6)])
    train(WGANGPTask(settings()), 5, callbacks=[SampleGrid(tmp_path / "p", windows, 2, 1, every=2)])
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [f"step_{i:06d}.png" for i in (2, 4, 5)]


def test_pictures_show_labels() -> None:
    two = torch.tensor([[[[-9.0, 9.0]]]])
    assert np.allclose(greys(two, 2, 1), [[[0.0, 1.0]]], atol=1e-6)
    assert np.allclose(greys(two, 2, 0), [[[1.0, 0.0]]], atol=1e-6)  # the label of interest is 0
    three = torch.tensor([[[[0.0, 5.0]], [[1.0, 0.0]], [[2.0, 0.0]]]])
    assert greys(three, 3, 2).tolist() == [[[1.0, 0.0]]]


def test_volumes_are_shown_by_their_middle_sections_in_turn() -> None:
    media = np.arange(3 * 4**3).reshape(3, 4, 4, 4)
    found = flat(media)
    assert np.array_equal(found[0], media[0, 2])
    assert np.array_equal(found[1], media[1, :, 2])
    assert np.array_equal(found[2], media[2, :, :, 2])


def test_a_reference_of_windows_is_their_mean_and_scatter() -> None:
    windows = np.stack([gaussian_level_cut((20, 20), (0.6, 0.4), 2.0, seed) for seed in range(9)]) == 1
    windows[0, :5] = False  # windows differ in their phase fraction too
    found = Reference.of_windows(windows, max_lag=30)
    each = probabilities(torch.from_numpy(windows), 20, 19)
    assert (found.edge, found.max_lag) == (20, 19)
    assert found.fraction == pytest.approx(windows.mean())
    assert torch.allclose(found.curves["s2"], each["s2"].mean(dim=0))
    assert torch.allclose(found.low["s2"], torch.quantile(each["s2"], 0.025, dim=0))
    assert torch.equal(found.windows_s2, each["s2"])
    p4 = pooled(each)["p4"]
    expected = (p4 - found.fraction**4) / (found.fraction - found.fraction**4)
    assert torch.allclose(found.curves["f4"], expected)
