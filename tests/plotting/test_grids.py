from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mcrgen.plotting.grids import plot_grids, tiled
from mcrgen.plotting.losses import _smooth, plot_losses


def test_images_stand_row_by_row_with_gaps_between() -> None:
    images = np.arange(5)[:, None, None] * np.ones((5, 3, 4))
    found = tiled(images, 2)
    assert found.shape == (2 * 3 + 2, 2 * 4 + 2)
    assert (found[:3, :4] == 0).all()
    assert (found[:3, 6:] == 1).all()
    assert (found[5:, :4] == 2).all()
    assert (found[5:, 6:] == 3).all()
    assert np.isnan(found[3:5]).all()
    assert np.isnan(found[:, 4:6]).all()


def test_figures_are_written(tmp_path: Path) -> None:
    plot_grids(tmp_path / "g.png", {"a": np.zeros((9, 8, 8)), "b": np.ones((4, 8, 8))}, title="t")
    plot_losses(tmp_path / "l.png", [1, 2, 3], {"critic": [3.0, 2.0, 1.0], "generator": [0.0, 1.0, 0.0]}, title="t")
    for name in ("g.png", "l.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture))) > 10


def test_the_smoothed_course_is_the_mean_over_a_neighbourhood() -> None:
    values = np.random.default_rng(0).standard_normal(400).tolist()
    found = _smooth(values)
    assert np.isclose(found[200], np.mean(values[196:205]))
    assert np.isclose(found[0], np.mean(values[:5]))
    assert np.isclose(found[-1], np.mean(values[-5:]))
