from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mcrgen.generation.noise import gaussian_noise


def test_boxes_agree_bit_for_bit() -> None:
    whole = gaussian_noise(7, (-5, -4, -3), (12, 10, 9), 3)
    for origin, shape in [((-5, -4, -3), (1, 1, 1)), ((0, 0, 0), (4, 5, 6)), ((-2, 1, -1), (9, 2, 7))]:
        part = gaussian_noise(7, origin, shape, 3)
        z, y, x = (o - w for o, w in zip(origin, (-5, -4, -3), strict=True))
        d, h, w = shape
        np.testing.assert_array_equal(part, whole[z : z + d, y : y + h, x : x + w])


def test_more_channels_keep_the_first_ones() -> None:
    np.testing.assert_array_equal(
        gaussian_noise(1, (0, 0, 0), (3, 4, 5), 5)[..., :3], gaussian_noise(1, (0, 0, 0), (3, 4, 5), 3)
    )


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40])
def test_is_standard_normal(seed: int) -> None:
    values = gaussian_noise(seed, (0, 0, 0), (40, 50, 60), 3).astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 5 / np.sqrt(n)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs(stats.kurtosis(values.ravel())) < 5 * np.sqrt(24 / n)
    assert np.abs(values).max() < 5.9
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3


def test_neighbours_channels_and_seeds_are_independent() -> None:
    a = gaussian_noise(0, (0, 0, 0), (40, 50, 60), 4).astype(np.float64)
    b = gaussian_noise(1, (0, 0, 0), (40, 50, 60), 4).astype(np.float64)
    pairs = [(a, b), (a[..., :1], a[..., 1:2]), (a[..., :1], a[..., 2:3]), (a[..., 2:3], a[..., 3:])]
    for offset in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 3, 5)]:
        z, y, x = offset
        pairs.append((a[z:, y:, x:], a[: 40 - z, : 50 - y, : 60 - x]))
    for first, second in pairs:
        for power in (1, 2):
            u, v = first**power, second**power
            assert abs(np.corrcoef(u.ravel(), v.ravel())[0, 1]) < 5 / np.sqrt(u.size)


def test_spectrum_is_white() -> None:
    field = gaussian_noise(3, (0, 0, 0), (64, 64, 64), 1)[..., 0]
    power = np.abs(np.fft.rfftn(field)[1:, 1:, 1:-1]) ** 2 / field.size
    assert abs(power.mean() - 1) < 5 / np.sqrt(power.size)
    assert power.max() < 25


def test_a_period_repeats_the_noise_and_changes_nothing_within() -> None:
    plain = gaussian_noise(5, (0, 0, 0), (4, 5, 6), 3)
    wrapped = gaussian_noise(5, (-3, -2, -7), (11, 9, 20), 3, period=(4, None, 6))
    np.testing.assert_array_equal(wrapped[3:7, 2:7, 7:13], plain)
    np.testing.assert_array_equal(wrapped[:7], wrapped[4:])
    np.testing.assert_array_equal(wrapped[:, :, :14], wrapped[:, :, 6:])
    np.testing.assert_array_equal(wrapped[3:7, :2, 7:13], gaussian_noise(5, (0, -2, 0), (4, 2, 6), 3))
