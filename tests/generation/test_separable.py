from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from mcrgen.generation.blocks import Block
from mcrgen.generation.separable import box_taps, enlarged, filtered, gaussian_taps


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.62, 1.0, 2.4])
def test_gaussian_taps_are_those_of_scipy(sigma: float) -> None:
    impulse = np.zeros(41)
    impulse[20] = 1.0
    response = ndimage.gaussian_filter1d(impulse, sigma)
    taps = np.array(gaussian_taps(sigma))
    radius = len(taps) // 2
    np.testing.assert_allclose(taps, response[20 - radius : 21 + radius], rtol=1e-12)
    assert np.count_nonzero(response[: 20 - radius]) == 0


@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5, 4.5, 7.9])
def test_box_taps_turn_a_step_into_a_straight_ramp(width: float) -> None:
    taps = box_taps(width)
    assert taps == taps[::-1]
    middles = np.arange(-10, 10) + 0.5
    response = np.convolve(np.concatenate([np.zeros(20), np.ones(20)]), taps, mode="same")[10:30]
    np.testing.assert_allclose(response, np.clip(0.5 + middles / max(width, 1.0), 0.0, 1.0), atol=1e-12)


def test_filtered_is_a_valid_correlation() -> None:
    values = np.random.default_rng(0).standard_normal((2, 9, 10, 13)).astype(np.float32)
    taps = [0.1, -0.5, 2.0, -0.5, 0.1]
    kernel = np.einsum("i,j,k", taps, taps, taps)
    expected = [ndimage.correlate(v.astype(float), kernel)[2:-2, 2:-2, 2:-2] for v in values]
    before = values.copy()
    np.testing.assert_allclose(filtered(torch.from_numpy(values), taps).numpy(), expected, atol=2e-5)
    np.testing.assert_array_equal(values, before)


def test_parts_and_mirror_images_have_the_same_bits() -> None:
    values = torch.from_numpy(np.random.default_rng(1).random((20, 21, 33), dtype=np.float32))
    taps = gaussian_taps(0.8)
    whole = filtered(values, taps)
    assert torch.equal(filtered(values[2:15, 3:16, 5:24], taps), whole[2:9, 3:10, 5:18])
    for axis in range(3):
        assert torch.equal(filtered(values.flip(axis), taps), whole.flip(axis))


def test_enlarged() -> None:
    assert enlarged(Block((0, -1, 5), (2, 3, 6)), 4) == Block((-4, -5, 1), (6, 7, 10))
