from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.descriptors.correlation_length import DECAY, autocorrelation_length
from mcrgen.descriptors.specific_surface import interface_density, specific_surface
from mcrgen.descriptors.two_point import two_point_correlation


def test_stripes() -> None:
    stripes = torch.tensor([1.0, 0.0]).repeat_interleave(4).repeat(4)[None, None, None, :].expand(1, 1, 5, 32)
    np.testing.assert_allclose(interface_density(stripes)[0, 0], [0.0, 7 / 31])


def test_sphere_has_its_true_area() -> None:
    radius, edge = 20.0, 50
    z, y, x = np.indices((edge, edge, edge)) - (edge - 1) / 2
    ball = torch.from_numpy(((z**2 + y**2 + x**2) <= radius**2).astype(np.float32))[None, None]
    area = float(specific_surface(ball)) * (edge - 1) * edge**2
    assert area == pytest.approx(4 * np.pi * radius**2, rel=0.01)


def test_is_the_slope_of_s2() -> None:
    medium = torch.from_numpy((np.random.default_rng(0).random((2, 3, 9, 9, 9)) < 0.3).astype(np.float32))
    periodic = torch.cat([medium, medium[..., :1]], dim=-1)
    s2 = two_point_correlation(medium, 1, 2, periodic=True)
    torch.testing.assert_close(interface_density(periodic)[..., 2], 2 * (s2[..., 0] - s2[..., 1]))


def test_autocorrelation_length_of_an_exponential() -> None:
    fraction, decay = 0.3, 6.0
    lags = torch.arange(64, dtype=torch.float64)
    s2 = fraction**2 + (fraction - fraction**2) * torch.exp(-lags / decay)
    assert autocorrelation_length(s2, fraction) == int(np.ceil(-decay * np.log(DECAY)))
    assert autocorrelation_length(s2[:5], fraction) == 4
