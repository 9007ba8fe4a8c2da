from __future__ import annotations

import math

import pytest
import torch

from mcrgen.descriptors.scaled_autocovariance import ScaledAutocovariance, scaled_autocovariance
from mcrgen.errors import InputError


@pytest.mark.parametrize("order", [2, 3, 6])
def test_scales_and_shifts_an_exponential_back(order: int) -> None:
    lags = torch.arange(9, dtype=torch.float64)
    fraction = torch.tensor([[0.1, 0.3, 0.6], [0.5, 0.25, 0.25]], dtype=torch.float64)
    decay = torch.exp(-lags / 4)
    curves = fraction[..., None] ** order + (fraction - fraction**order)[..., None] * decay
    torch.testing.assert_close(scaled_autocovariance(curves, fraction, order), decay.expand(2, 3, 9))
    torch.testing.assert_close(scaled_autocovariance(curves[1, 2], 0.25, order), decay)
    torch.testing.assert_close(scaled_autocovariance(curves[:, 0], fraction[:, 0], order), decay.expand(2, 9))


def test_one_at_zero_lag_and_zero_where_independent() -> None:
    curve = torch.tensor([0.2, 0.2**4])
    torch.testing.assert_close(scaled_autocovariance(curve, 0.2, 4), torch.tensor([1.0, 0.0]))


def test_gradcheck_and_module() -> None:
    curve = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    fraction = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, f: scaled_autocovariance(c, f, 3), (curve, fraction))
    torch.testing.assert_close(ScaledAutocovariance(order=3)(curve, fraction), scaled_autocovariance(curve, fraction, 3))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, math.nan])
def test_nothing_to_scale(fraction: float) -> None:
    message = rf"fraction: expected a phase fraction between 0 and 1 \(exclusive\), got {fraction}"
    with pytest.raises(InputError, match=message):
        scaled_autocovariance(torch.ones(3), fraction, 2)
    with pytest.raises(InputError, match=message):
        scaled_autocovariance(torch.ones(2, 3), torch.tensor([0.5, fraction]), 2)


def test_too_few_points() -> None:
    with pytest.raises(InputError, match="order: expected 2 points or more, got 1"):
        scaled_autocovariance(torch.ones(3), 0.5, 1)
