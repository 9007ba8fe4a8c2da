from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors._three_point_spectral import SpectralThreePoint
from mcrgen.descriptors.three_point import half_window, spectral_is_cheaper, three_point_correlation

DIRECTLY = "mcrgen.descriptors.three_point.spectral_is_cheaper"


def spectral(slices: Tensor, limit: int) -> Tensor:
    return SpectralThreePoint.apply(slices, limit)


def by_rolling(image: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    shifted = np.stack([np.roll(image, (-dy, -dx), axis=(0, 1)) for dy, dx in half_window(limit).tolist()])
    return np.einsum("yx,iyx,jyx->ij", image, shifted, shifted) / image.size


@pytest.mark.parametrize(
    ("height", "width", "limit"),
    [(1, 1, 1), (1, 4, 1), (3, 3, 2), (5, 8, 3), (7, 7, 4), (16, 9, 5), (15, 15, 8), (17, 20, 9), (19, 26, 10), (33, 34, 17)],
)
def test_equals_counting(height: int, width: int, limit: int) -> None:
    slices = torch.randn(2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for image, s3 in zip(slices, spectral(slices, limit), strict=True):
        np.testing.assert_allclose(s3, by_rolling(image.numpy(), limit), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("height", "width", "limit"), [(5, 6, 3), (7, 7, 4), (9, 12, 5), (15, 18, 8), (25, 23, 11)])
def test_gradient_is_that_of_the_direct_way(monkeypatch: pytest.MonkeyPatch, height: int, width: int, limit: int) -> None:
    monkeypatch.setattr(DIRECTLY, lambda *_: False)
    slices = torch.randn(3, height, width, dtype=torch.float64, requires_grad=True)
    direct = three_point_correlation(slices[:, None], limit, periodic=True)[:, 0]
    ours = spectral(slices, limit)
    torch.testing.assert_close(ours, direct, rtol=0, atol=1e-13)
    weights = torch.randn_like(ours)  # not symmetric
    expected, gradient = (torch.autograd.grad((s3 * weights).sum(), slices)[0] for s3 in (direct, ours))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_gradcheck() -> None:
    slices = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: spectral(s, 2), slices)
    assert torch.autograd.gradcheck(lambda s: spectral(s.mT, 2), slices)


def test_single_precision() -> None:
    slices = (torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.4).float().requires_grad_()
    exact = slices.detach().double().requires_grad_()
    ours, expected = spectral(slices, 9), spectral(exact, 9)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=0)
    gradient, reference = (torch.autograd.grad(s3.square().sum(), s)[0] for s3, s in ((ours, slices), (expected, exact)))
    torch.testing.assert_close(gradient.double(), reference, rtol=0, atol=3e-6 * float(reference.abs().max()))


def test_periodic_shift_changes_nothing() -> None:
    slices = torch.rand(1, 15, 17, dtype=torch.float64)
    shifted = slices.roll((4, -5), dims=(1, 2))
    torch.testing.assert_close(spectral(shifted, 6), spectral(slices, 6), rtol=0, atol=1e-14)


def test_slices_do_not_depend_on_their_neighbours() -> None:
    slices = torch.rand(5, 11, 12, dtype=torch.float64, requires_grad=True)
    together = spectral(slices, 5)
    one_by_one = torch.cat([spectral(s[None], 5) for s in slices])
    assert torch.equal(together, one_by_one)
    ours, expected = (torch.autograd.grad(s3.square().sum(), slices)[0] for s3 in (together, one_by_one))
    torch.testing.assert_close(ours, expected, rtol=1e-14, atol=0)  # transforms of a batch are rounded differently


def test_correlation_takes_the_cheaper_way(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = torch.rand(2, 3, 20, 24, dtype=torch.float64)
    assert spectral_is_cheaper(medium, 9)
    ours = three_point_correlation(medium, 9, periodic=True)
    assert torch.equal(ours, spectral(medium.flatten(0, 1), 9).reshape(ours.shape))
    monkeypatch.setattr(DIRECTLY, lambda *_: False)
    torch.testing.assert_close(three_point_correlation(medium, 9, periodic=True), ours, rtol=0, atol=1e-13)


def test_where_the_spectral_way_is_cheaper() -> None:
    def cheaper(height: int, width: int, limit: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> bool:
        return spectral_is_cheaper(torch.empty(1, 1, height, width, dtype=dtype, device=device), limit)

    assert cheaper(64, 64, 8)
    assert cheaper(128, 128, 16)
    assert not cheaper(64, 64, 2)  # too few lags
    assert not cheaper(64, 4096, 16)  # too many pairs of wavenumbers
    assert not cheaper(64, 64, 8, dtype=torch.bfloat16)
    assert not cheaper(64, 64, 8, device="meta")  # compiled for processors only
    assert not cheaper(8, 64, 8)  # left to the error of the direct way
