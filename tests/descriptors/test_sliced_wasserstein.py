from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from mcrgen.descriptors.sliced_wasserstein import random_directions, sliced_wasserstein, sort_rows, wasserstein_1d


@pytest.mark.parametrize(("n", "m"), [(7, 7), (6, 9), (5, 13), (12, 4)])
def test_p1_equals_scipy(n: int, m: int) -> None:
    rng = np.random.default_rng(n * m)
    x, y = rng.standard_normal((4, n)), rng.standard_normal((4, m))
    ours = wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y), 1.0)
    np.testing.assert_allclose(ours, [wasserstein_distance(a, b) for a, b in zip(x, y, strict=True)], rtol=1e-12)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(("n", "m"), [(4, 6), (3, 8), (5, 5)])
def test_equals_replication_to_the_common_multiple(n: int, m: int, p: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, n)), rng.standard_normal((2, m))
    common = math.lcm(n, m)
    a = np.sort(np.repeat(x, common // n, axis=1))
    b = np.sort(np.repeat(y, common // m, axis=1))
    expected = (np.abs(a - b) ** p).mean(axis=1)
    np.testing.assert_allclose(wasserstein_1d(torch.from_numpy(x), torch.from_numpy(y), p), expected, rtol=1e-12)


def test_best_matching_of_a_small_set() -> None:
    from itertools import permutations

    rng = np.random.default_rng(2)
    x, y = rng.standard_normal(5), rng.standard_normal(5)
    best = min(((x - y[list(order)]) ** 2).mean() for order in permutations(range(5)))
    ours = wasserstein_1d(torch.from_numpy(x)[None], torch.from_numpy(y)[None], 2.0)
    assert float(ours) == pytest.approx(best)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6)])
def test_gradcheck(n: int, m: int) -> None:
    x = torch.randn(3, n, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, m, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: wasserstein_1d(v, y, 1.0), x)
    assert torch.autograd.gradcheck(lambda v: wasserstein_1d(v, y, 2.0), x)


def test_sort_rows_equals_torch_in_value_and_gradient() -> None:
    x = torch.randn(5, 33, requires_grad=True)
    weight = torch.randn(5, 33)
    ours, theirs = sort_rows(x), torch.sort(x, dim=-1).values
    torch.testing.assert_close(ours, theirs)
    gradient, expected = (torch.autograd.grad((s * weight).sum(), x)[0] for s in (ours, theirs))
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(sort_rows(x.detach()), theirs)


def test_shift_along_the_directions() -> None:
    x = torch.randn(50, 6, dtype=torch.float64)
    shift = torch.randn(6, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(9, 6, dtype=torch.float64))
    expected = (directions @ shift).abs().mean()
    torch.testing.assert_close(sliced_wasserstein(x, x + shift, directions, 1.0), expected)


def test_permuting_the_vectors_changes_nothing() -> None:
    x, y = torch.randn(20, 4), torch.randn(30, 4)
    directions = random_directions(8, 4, torch.Generator().manual_seed(0))
    a = sliced_wasserstein(x, y, directions, 1.0)
    b = sliced_wasserstein(x[torch.randperm(20)], y[torch.randperm(30)], directions, 1.0)
    torch.testing.assert_close(a, b)


def test_directions_are_unit_and_isotropic() -> None:
    directions = random_directions(20000, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(20000))
    torch.testing.assert_close(directions.T @ directions / 20000, torch.eye(3) / 3, atol=0.01, rtol=0)


def test_full_resolution_under_autocast() -> None:
    x, y = torch.randn(64, 5), torch.randn(64, 5)
    directions = random_directions(8, 5, torch.Generator().manual_seed(0))
    expected = sliced_wasserstein(x, y, directions, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sliced_wasserstein(x, y, directions, 1.0), expected)
