from __future__ import annotations

import pytest
import torch

from mcrgen.descriptors.three_point import spectral_is_cheaper, three_point_correlation
from mcrgen.errors import InputError
from mcrgen.losses.three_point_matching import three_point_errors


@pytest.mark.parametrize(("shape", "limit"), [((2, 3, 18, 21), 9), ((3, 1, 6, 40), 3)])
def test_equals_the_squares_of_the_differences(shape: tuple[int, ...], limit: int) -> None:
    slices = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    assert spectral_is_cheaper(slices, limit) == (limit == 9)
    lags = limit**2 + (limit - 1) ** 2
    target = torch.rand(lags, lags, dtype=torch.float64)  # not even symmetric
    expected = (three_point_correlation(slices, limit, periodic=True) - target).square().sum(dim=(-2, -1))
    errors = three_point_errors(slices, target, limit)
    torch.testing.assert_close(errors, expected, rtol=1e-12, atol=0)
    weights = torch.rand_like(errors)
    ours, gradient = (torch.autograd.grad((e * weights).sum(), slices)[0] for e in (errors, expected))
    torch.testing.assert_close(ours, gradient, rtol=0, atol=1e-12 * float(gradient.abs().max()))
    with torch.no_grad():
        torch.testing.assert_close(three_point_errors(slices, target.float(), limit), expected, rtol=1e-6, atol=0)


def test_own_correlation_is_the_minimum() -> None:
    slices = torch.rand(1, 1, 17, 20, dtype=torch.float64, requires_grad=True)
    target = three_point_correlation(slices.detach(), 9, periodic=True)[0, 0]
    error = three_point_errors(slices, target, 9)
    assert error.item() < 1e-24
    assert torch.autograd.grad(error.sum(), slices)[0].abs().max() < 1e-12


def test_target_of_another_limit() -> None:
    with pytest.raises(InputError, match=r"target: expected 25 x 25 for limit 4, got \(13, 13\); measure it with it"):
        three_point_errors(torch.rand(1, 1, 9, 9), torch.rand(13, 13), 4)
    with pytest.raises(InputError, match="limit: expected 1 to 5 for slices of 9 x 12, got 6"):
        three_point_errors(torch.rand(1, 1, 9, 12), torch.rand(61, 61), 6)
