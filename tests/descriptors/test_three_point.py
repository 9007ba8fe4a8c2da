from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.three_point import ThreePoint, half_window, three_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.errors import InputError

MODULE = "mcrgen.descriptors.three_point"


def random_medium(*shape: int) -> Tensor:
    return torch.from_numpy((np.random.default_rng(0).random(shape) < 0.4).astype(np.float64))


def threshold(mean: float, t: float, k: float) -> float:
    low, value, high = (1 / (1 + math.exp(-k * (m - t))) for m in (0.0, mean, 1.0))
    return (value - low) / (high - low)


def by_loops(image: np.ndarray, limit: int, periodic: bool, soft: tuple[float, float] | None) -> np.ndarray:
    lags = half_window(limit).tolist()
    h, w = image.shape
    sums, counts = np.zeros((len(lags),) * 2), np.zeros((len(lags),) * 2)
    for y, x in np.ndindex(h, w):
        inside = [periodic or (y + dy < h and 0 <= x + dx < w) for dy, dx in lags]
        values = [image[(y + dy) % h, (x + dx) % w] for dy, dx in lags]
        if soft:
            values = [threshold((image[y, x] + v) / 2, *soft) for v in values]
        for i, j in itertools.product(range(len(lags)), repeat=2):
            if inside[i] and inside[j]:
                sums[i, j] += values[i] * values[j] * (1.0 if soft else image[y, x])
                counts[i, j] += 1
    return sums / counts


def test_half_window_holds_one_of_each_pair_of_opposite_lags() -> None:
    for limit in (1, 2, 5, 16):
        lags = [tuple(r) for r in half_window(limit).tolist()]
        quadrants = {(dy, dx) for dy in range(limit) for dx in range(limit)}
        quadrants |= {(dy, -dx) for dy in range(1, limit) for dx in range(1, limit)}
        assert set(lags) == quadrants
        assert len(lags) == limit**2 + (limit - 1) ** 2
        assert lags[0] == (0, 0)
        assert lags == sorted(lags)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("shape", "limit"), [((2, 3, 6, 7), 3), ((1, 2, 3, 8), 2), ((1, 1, 5, 5), 3), ((2, 1, 1, 3), 1)])
def test_equals_counting(shape: tuple[int, ...], limit: int, periodic: bool, soft: bool) -> None:
    medium = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s3 = three_point_correlation(medium, limit, periodic=periodic, soft=soft, threshold=0.6, steepness=7.0)
    n = limit**2 + (limit - 1) ** 2
    assert s3.shape == (*shape[:2], n, n)
    for b, c in np.ndindex(*shape[:2]):
        expected = by_loops(medium[b, c].numpy(), limit, periodic, (0.6, 7.0) if soft else None)
        np.testing.assert_allclose(s3[b, c], expected, atol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_diagonal_and_first_row_are_s2(periodic: bool) -> None:
    medium = random_medium(2, 3, 9, 12)
    limit = 4
    s3 = three_point_correlation(medium, limit, periodic=periodic)
    dy, dx = half_window(limit).unbind(-1)
    s2 = two_point_map(medium, limit - 1, periodic=periodic)[..., limit - 1 + dy, limit - 1 + dx]
    torch.testing.assert_close(s3.diagonal(dim1=-2, dim2=-1), s2)
    torch.testing.assert_close(s3[..., 0, :], s2)
    torch.testing.assert_close(s3, s3.mT)


def test_checkerboard_in_closed_form() -> None:
    board = torch.from_numpy(np.indices((8, 10)).sum(axis=0) % 2).float()[None, None]
    even = (half_window(4).sum(dim=1) % 2 == 0).float()
    torch.testing.assert_close(three_point_correlation(board, 4, periodic=True)[0, 0], 0.5 * even[:, None] * even)


def test_soft_threshold_is_exact_at_both_ends() -> None:
    for value in (0.0, 1.0):
        uniform = torch.full((1, 1, 7, 6), value, dtype=torch.float64)
        s3 = three_point_correlation(uniform, 3, soft=True)
        torch.testing.assert_close(s3, torch.full_like(s3, value))
    half = three_point_correlation(torch.full((1, 1, 7, 6), 0.5, dtype=torch.float64), 2, soft=True)
    torch.testing.assert_close(half, torch.full_like(half, threshold(0.5, 0.75, 10.0) ** 2))
    assert threshold(0.5, 0.75, 10.0) == pytest.approx(0.082, abs=5e-4)


def test_steep_threshold_tends_to_the_product() -> None:
    medium = random_medium(1, 1, 9, 10).float()
    soft = three_point_correlation(medium, 3, soft=True, steepness=2000.0)
    torch.testing.assert_close(soft, three_point_correlation(medium, 3))


@pytest.mark.parametrize("chunk", [1, 1500, 9000])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int, soft: bool, periodic: bool) -> None:
    medium = torch.rand(5, 1, 7, 9, dtype=torch.float64, requires_grad=True)

    def value_and_gradient() -> tuple[Tensor, Tensor]:
        s3 = three_point_correlation(medium, 3, periodic=periodic, soft=soft)
        weight = torch.arange(s3.numel(), dtype=s3.dtype).reshape(s3.shape).sin()
        return s3.detach(), torch.autograd.grad((s3 * weight).sum(), medium)[0]

    whole = value_and_gradient()
    monkeypatch.setattr(f"{MODULE}._CHUNK_BYTES", chunk)
    for ours, expected in zip(value_and_gradient(), whole, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_gradcheck(soft: bool, periodic: bool) -> None:
    medium = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    function = ThreePoint(limit=2, periodic=periodic, soft=soft)
    assert torch.autograd.gradcheck(function, medium)
    assert torch.autograd.gradcheck(function, medium.mT)


def test_no_block_is_kept_for_the_gradient() -> None:
    medium = torch.rand(1, 1, 20, 20, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        three_point_correlation(medium, 4, soft=True)
    assert max(t.numel() for t in kept) <= max(23 * 26, 25 * 25)


def test_full_resolution_under_autocast() -> None:
    medium = random_medium(1, 1, 40, 41).float().requires_grad_()
    expected = three_point_correlation(medium, 3)
    torch.testing.assert_close(expected, three_point_correlation(medium.double(), 3).float(), rtol=1e-7, atol=0)
    (gradient,) = torch.autograd.grad(expected.square().sum(), medium)
    with torch.autocast("cpu", torch.bfloat16):
        ours = three_point_correlation(medium, 3)
        assert torch.equal(ours, expected)
        torch.testing.assert_close(torch.autograd.grad(ours.square().sum(), medium)[0], gradient)


def test_bad_input() -> None:
    medium = random_medium(1, 1, 9, 12)
    with pytest.raises(InputError, match="limit: expected 1 to 5 for slices of 9 x 12, got 6"):
        three_point_correlation(medium, 6)
    with pytest.raises(InputError, match=r"threshold: expected a number between 0 and 1 \(exclusive\), got 1.5"):
        three_point_correlation(medium, 2, soft=True, threshold=1.5)
    with pytest.raises(InputError, match=r"steepness: expected a number greater than 0, got 0"):
        three_point_correlation(medium, 2, soft=True, steepness=0)
