from __future__ import annotations

import numpy as np
import pytest

from mcrgen.descriptors.measure import measure
from mcrgen.descriptors.windows import Band, bands, grid_windows, measure_windows, random_windows


@pytest.mark.parametrize(("shape", "edge"), [((40, 40), 20), ((33, 70), 16), ((30, 31, 45), 15), ((20, 20), 20)])
def test_grid_covers_the_medium(shape: tuple[int, ...], edge: int) -> None:
    covered = np.zeros(shape, int)
    windows = grid_windows(shape, edge)
    for window in windows:
        assert covered[window].shape == (edge,) * len(shape)
        covered[window] += 1
    assert (covered > 0).all()
    assert len(windows) <= 64


@pytest.mark.parametrize(
    ("shape", "edge"), [((4096, 4096), 128), ((576, 576, 576), 128), ((1100, 1100), 128), ((300, 9000), 100)]
)
def test_a_large_medium_gets_an_even_selection(shape: tuple[int, ...], edge: int) -> None:
    windows = grid_windows(shape, edge)
    assert 27 <= len(windows) <= 64
    assert len(set(map(str, windows))) == len(windows)
    for axis, length in enumerate(shape):
        starts = sorted({w[axis].start for w in windows})
        assert starts[0] == 0
        assert starts[-1] == length - edge
        assert np.ptp(np.diff(starts)) <= 1


def test_random_windows_are_inside_and_reach_the_borders() -> None:
    windows = random_windows((12, 30), 10, 500, np.random.default_rng(0))
    starts = np.array([[s.start for s in w] for w in windows])
    assert all(s.stop - s.start == 10 for w in windows for s in w)
    assert starts.min(axis=0).tolist() == [0, 0]
    assert starts.max(axis=0).tolist() == [2, 20]


def test_band_is_the_percentiles_over_windows() -> None:
    noise = np.random.default_rng(1).random((64, 64)) < 0.4
    windows = grid_windows((64, 64), 32)
    measured = measure_windows(lambda w: noise[w], windows, ("s2", "chord_length"), 8)
    curves = np.array([measure(noise[w], max_lag=8, curves=("s2",)).curves["s2"].mean for w in windows])
    band = bands(measured, lambda m, name: m.curves[name].mean)["s2"]
    np.testing.assert_allclose(band.low, np.percentile(curves, 2.5, axis=0))
    np.testing.assert_allclose(band.high, np.percentile(curves, 97.5, axis=0))


def test_share_inside() -> None:
    band = Band(np.zeros(4), np.ones(4))
    assert band.share_inside(np.array([0.5, 2.0, 1.0, -1.0])) == 0.5
    assert band.share_inside(np.array([0.5, 2.0])) == 0.5
    assert band.share_inside(np.full(9, 0.1)) == 1.0
