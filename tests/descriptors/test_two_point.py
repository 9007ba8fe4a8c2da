from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.two_point import TwoPointCorrelation, autocovariance_map, symmetrise, two_point_correlation
from mcrgen.errors import InputError


def random_medium(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy((np.random.default_rng(seed).random(shape) < 0.4).astype(np.float32))


def brute_force(line_axis_last: np.ndarray, lag: int, periodic: bool) -> float:
    a = line_axis_last
    if periodic:
        return float((a * np.roll(a, -lag, axis=-1)).mean())
    return float((a[..., : a.shape[-1] - lag] * a[..., lag:]).mean())


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (2, 1, 5, 8, 6)])
def test_equals_pair_counting(shape: tuple[int, ...], periodic: bool) -> None:
    medium = random_medium(*shape)
    for axis in range(len(shape) - 2):
        lag = shape[2 + axis] - 1
        s2 = two_point_correlation(medium, lag, axis, periodic=periodic)
        assert s2.shape == (*shape[:2], lag + 1)
        for b in range(shape[0]):
            for c in range(shape[1]):
                array = np.moveaxis(medium[b, c].numpy(), axis, -1)
                expected = [brute_force(array, r, periodic) for r in range(lag + 1)]
                np.testing.assert_allclose(s2[b, c], expected, atol=1e-12)


def test_grey_values_equal_pair_counting() -> None:
    medium = torch.rand(2, 1, 5, 8, 6)
    for axis in range(3):
        array = np.moveaxis(medium.double().numpy(), 2 + axis, -1)
        expected = [[brute_force(array[b, 0], r, False) for r in range(5)] for b in range(2)]
        np.testing.assert_allclose(two_point_correlation(medium, 4, axis)[:, 0], expected, atol=1e-12)


def test_module_equals_function() -> None:
    medium = random_medium(1, 2, 6, 7)
    torch.testing.assert_close(TwoPointCorrelation(max_lag=3, axis=1)(medium), two_point_correlation(medium, 3, 1))


def test_many_lines_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = torch.rand(1, 1, 9, 10, 11)
    whole = two_point_correlation(medium, 5, 1)
    monkeypatch.setattr("mcrgen.descriptors.two_point._CHUNK", 37)
    torch.testing.assert_close(two_point_correlation(medium, 5, 1), whole)


def test_stripes_in_closed_form() -> None:
    stripes = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(8)[None, None, None, :].expand(1, 1, 6, 32)
    across = two_point_correlation(stripes, 8, 1, periodic=True)[0, 0]
    along = two_point_correlation(stripes, 5, 0)[0, 0]
    torch.testing.assert_close(across, torch.tensor([0.5, 0.25, 0.0, 0.25] * 2 + [0.5], dtype=torch.float64))
    torch.testing.assert_close(along, torch.full((6,), 0.5, dtype=torch.float64))


def test_permuting_axes_permutes_results() -> None:
    medium = random_medium(1, 1, 6, 7, 8)
    turned = medium.permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(two_point_correlation(turned, 4, 0), two_point_correlation(medium, 4, 2))


def test_gradcheck() -> None:
    medium = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: two_point_correlation(m, 3, 1), medium)
    assert torch.autograd.gradcheck(lambda m: two_point_correlation(m, 3, 0, periodic=True), medium)
    assert torch.autograd.gradcheck(lambda m: autocovariance_map(m, 2), medium)


def test_lag_beyond_the_axis() -> None:
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 6 for an axis of 7 voxels, got 7"):
        two_point_correlation(random_medium(1, 1, 7, 9), 7, 0)
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 6 for slices of 7 x 9, got 8"):
        autocovariance_map(random_medium(1, 1, 7, 9), 8)


def test_map_equals_pair_counting() -> None:
    slices = random_medium(3, 2, 7, 9, seed=1)
    lag = 4
    covariance = autocovariance_map(slices, lag)
    centred = slices.double().numpy() - slices.double().mean(dim=(0, 2, 3)).numpy()[:, None, None]
    h, w = slices.shape[2:]
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            ys, xs = max(0, -dy), max(0, -dx)
            a = centred[:, :, ys : h - max(0, dy), xs : w - max(0, dx)]
            b = centred[:, :, ys + dy : h + min(0, dy), xs + dx : w + min(0, dx)]
            np.testing.assert_allclose(covariance[:, lag + dy, lag + dx], (a * b).mean(axis=(0, 2, 3)), atol=1e-12)


def test_map_subtracts_a_given_mean() -> None:
    slices = random_medium(1, 1, 8, 8)
    zero_mean = autocovariance_map(slices, 0, torch.zeros(1))
    assert float(zero_mean) == pytest.approx(float(slices.mean()))


def test_symmetrised_map_has_the_symmetry_of_the_square() -> None:
    m = symmetrise(torch.rand(2, 5, 5))
    for turned in (torch.rot90(m, 1, (-2, -1)), m.transpose(-2, -1), m.flip(-1), m.flip(-2)):
        torch.testing.assert_close(turned, m)


def test_map_sees_diagonal_stripes_that_axes_do_not() -> None:
    i, j = np.indices((64, 64))
    one = torch.from_numpy(((i + j) % 8 < 4).astype(np.float32))[None, None]
    other = one.flip(-1)
    for axis in range(2):
        torch.testing.assert_close(two_point_correlation(one, 20, axis), two_point_correlation(other, 20, axis))
    difference = autocovariance_map(one, 8) - autocovariance_map(other, 8)
    assert difference.norm() > 0.5 * autocovariance_map(one, 8).norm()
