from __future__ import annotations

import math

import pytest
import torch

from mcrgen.descriptors.pattern_distance import PatternDistance, _drawn_patterns, pattern_distance
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.sliced_wasserstein import random_directions, sliced_wasserstein
from mcrgen.errors import InputError


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_uniform_media_in_closed_form(p: float) -> None:
    size, channels, gap = 4, 2, 0.3
    reference, candidate = torch.zeros(2, channels, 9, 7), torch.full((1, channels, 8, 11), gap)
    directions = random_directions(64, channels * size**2, torch.Generator().manual_seed(3))
    expected = (gap * directions.sum(dim=1)).abs().pow(p).mean() ** (1 / p)
    torch.testing.assert_close(pattern_distance(reference, candidate, size, projections=64, seed=3, p=p), expected)


def test_is_the_distance_of_all_patterns_where_they_are_few() -> None:
    x, y = torch.rand(2, 3, 9, 7), torch.rand(1, 3, 8, 11)
    directions = random_directions(16, 27, torch.Generator().manual_seed(0))
    expected = sliced_wasserstein(local_patterns(x, 3), local_patterns(y, 3), directions, 1.0)
    torch.testing.assert_close(pattern_distance(x, y, 3, projections=16), expected)


def test_drawn_patterns_are_different_local_patterns() -> None:
    slices = torch.arange(2 * 3 * 6 * 5, dtype=torch.float64).reshape(2, 3, 6, 5)
    everything = {tuple(p) for p in local_patterns(slices, 3).tolist()}
    drawn = [tuple(p) for p in _drawn_patterns(slices, 3, 15, seed=1).tolist()]
    assert len(everything) == 24
    assert len(set(drawn)) == len(drawn) == 15
    assert set(drawn) <= everything
    assert drawn != [tuple(p) for p in _drawn_patterns(slices, 3, 15, seed=2).tolist()]


def test_zero_to_itself_and_symmetric() -> None:
    x, y = torch.rand(1, 1, 30, 30), torch.rand(1, 1, 30, 30) ** 2
    assert pattern_distance(x, x, 4, count=100) == 0
    torch.testing.assert_close(pattern_distance(x, y, 4, count=100), pattern_distance(y, x, 4, count=100))


def test_orders_media_by_their_texture() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = [torch.rand(1, 1, 64, 64, generator=generator) for _ in range(3)]
    smooth = torch.nn.functional.avg_pool2d(noise[2], 3, 1)
    floor = pattern_distance(noise[0], noise[1], 5, count=2000)
    assert pattern_distance(noise[0], smooth, 5, count=2000) > 5 * floor


@pytest.mark.parametrize(("p", "count"), [(1.0, 100), (2.0, 12)])
def test_gradcheck(p: float, count: int) -> None:
    reference = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    candidate = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    distance = PatternDistance(size=3, projections=4, count=count, p=p)
    assert torch.autograd.gradcheck(distance, (reference, candidate))


def test_module_equals_function() -> None:
    x, y = torch.rand(1, 1, 9, 9), torch.rand(1, 1, 9, 9)
    expected = pattern_distance(x, y, 3, projections=8, count=20, seed=4)
    assert torch.equal(PatternDistance(size=3, projections=8, count=20, seed=4)(x, y), expected)


def test_bad_input() -> None:
    x, y = torch.rand(1, 1, 9, 9), torch.rand(1, 3, 9, 8)
    with pytest.raises(InputError, match="size: expected 1 to 8 for the slices of the candidate, got 9"):
        pattern_distance(x, y, 9)
    with pytest.raises(InputError, match="candidate: expected the 1 channels of the reference, got 3"):
        pattern_distance(x, y, 3)
    with pytest.raises(InputError, match=r"p: expected 1 or more, got 0.5"):
        pattern_distance(x, x, 3, p=0.5)
    with pytest.raises(InputError, match="p: expected 1 or more, got nan"):
        pattern_distance(x, x, 3, p=math.nan)
    with pytest.raises(InputError, match="projections: expected a number greater than 0, got 0"):
        pattern_distance(x, x, 3, projections=0)
    with pytest.raises(InputError, match="count: expected a number greater than 0, got 0"):
        pattern_distance(x, x, 3, count=0)
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        pattern_distance(x, x, 3, seed=-1)
