from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.phase_fraction import phase_fraction
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.descriptors.two_point_map import TwoPointMap, radial_average, two_point_map
from mcrgen.errors import InputError


def random_medium(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy((np.random.default_rng(seed).random(shape) < 0.4).astype(np.float64))


def pair_mean(first: np.ndarray, second: np.ndarray, lag: tuple[int, ...], periodic: bool) -> float:
    if periodic:
        return float((first * np.roll(second, [-r for r in lag], range(first.ndim))).mean())
    here = tuple(slice(max(0, -r), n - max(0, r)) for r, n in zip(lag, first.shape, strict=True))
    there = tuple(slice(max(0, r), n - max(0, -r)) for r, n in zip(lag, first.shape, strict=True))
    return float((first[here] * second[there]).mean())


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(
    ("shape", "max_lag"), [((2, 3, 7, 6), None), ((2, 3, 7, 6), 4), ((2, 1, 3, 5, 4), 2), ((1, 2, 4, 3, 3), None)]
)
def test_equals_pair_counting(shape: tuple[int, ...], max_lag: int | None, periodic: bool, cross: bool) -> None:
    medium, partner = random_medium(*shape), random_medium(*shape, seed=1)
    maps = two_point_map(medium, max_lag, other=partner if cross else None, periodic=periodic)
    spatial = shape[2:]
    if max_lag is not None:
        lags = [range(-max_lag, max_lag + 1)] * len(spatial)
    elif periodic:
        lags = [range(-(n // 2), n - n // 2) for n in spatial]
    else:
        lags = [range(1 - n, n) for n in spatial]
    assert maps.shape == (*shape[:2], *map(len, lags))
    for b, c in np.ndindex(*shape[:2]):
        first, second = medium[b, c].numpy(), (partner if cross else medium)[b, c].numpy()
        expected = [pair_mean(first, second, lag, periodic) for lag in itertools.product(*lags)]
        np.testing.assert_allclose(maps[b, c].flatten(), expected, atol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_holds_the_axis_curves(periodic: bool) -> None:
    medium = random_medium(2, 1, 8, 9, 7)
    maps = two_point_map(medium, 5, periodic=periodic)
    for axis, line in enumerate((maps[..., 5:, 5, 5], maps[..., 5, 5:, 5], maps[..., 5, 5, 5:])):
        torch.testing.assert_close(line, two_point_correlation(medium, 5, axis, periodic=periodic))


def test_checkerboard_in_closed_form() -> None:
    board = torch.from_numpy(np.indices((6, 8)).sum(axis=0) % 2).float()[None, None]
    lags = torch.from_numpy(np.indices((6, 8)).sum(axis=0) + 1)  # the zero lag stands at (3, 4)
    torch.testing.assert_close(two_point_map(board, periodic=True)[0, 0], 0.5 * (lags % 2 == 0).float())


def test_periodic_map_sums_to_the_squared_number_of_voxels() -> None:
    medium = random_medium(2, 3, 6, 7, 5)
    total = two_point_map(medium, periodic=True).sum(dim=(2, 3, 4))
    torch.testing.assert_close(total, phase_fraction(medium).square() * (6 * 7 * 5))


def test_phases_of_one_medium_add_up() -> None:
    labels = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (2, 7, 9)))
    phases = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    pairs = [two_point_map(phases.roll(i, 1), 4, other=phases.roll(j, 1)) for i in range(3) for j in range(3)]
    torch.testing.assert_close(torch.stack(pairs).sum(dim=0).sum(dim=1), torch.full((2, 9, 9), 3.0, dtype=torch.float64))


def test_symmetries() -> None:
    medium, partner = random_medium(1, 2, 7, 9), random_medium(1, 2, 7, 9, seed=1)
    maps = two_point_map(medium, 4)
    torch.testing.assert_close(maps, maps.flip(-1, -2))
    torch.testing.assert_close(two_point_map(medium.mT, 4), maps.mT)
    cross = two_point_map(medium, 4, other=partner)
    torch.testing.assert_close(two_point_map(partner, 4, other=medium), cross.flip(-1, -2))


def test_batches_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    medium, partner = random_medium(3, 2, 6, 7), random_medium(3, 2, 6, 7, seed=1)
    whole = two_point_map(medium, 3, other=partner)
    monkeypatch.setattr("mcrgen.descriptors.two_point_map._CHUNK", 300)
    torch.testing.assert_close(two_point_map(medium, 3, other=partner), whole)


@pytest.mark.parametrize("periodic", [False, True])
def test_float32_keeps_to_the_stated_accuracy(periodic: bool) -> None:
    medium = random_medium(1, 1, 40, 45, 50)
    single = two_point_map(medium.float(), 10, periodic=periodic)
    assert single.dtype == torch.float32
    assert (single - two_point_map(medium, 10, periodic=periodic)).abs().max() < 5e-7 * medium.mean()


@pytest.mark.parametrize(("shape", "radius"), [((2, 3, 7, 10), 3), ((2, 1, 6, 9, 8), 2)])
def test_radial_average_by_loops(shape: tuple[int, ...], radius: int) -> None:
    maps = torch.rand(shape, dtype=torch.float64)
    radii, values = radial_average(maps)
    assert radii.tolist() == list(range(radius + 1))
    shells: list[list[np.ndarray]] = [[] for _ in range(20)]
    for place in np.ndindex(*shape[2:]):
        distance = np.sqrt(sum((i - n // 2) ** 2 for i, n in zip(place, shape[2:], strict=True)))
        shells[round(float(distance))].append(maps[(..., *place)].numpy())
    expected = np.stack([np.mean(shells[r], axis=0) for r in range(radius + 1)], axis=-1)
    np.testing.assert_allclose(values, expected)


def test_radial_average_of_a_single_lag() -> None:
    radii, values = radial_average(torch.full((1, 1, 2, 5), 0.5))
    assert radii.tolist() == [0]
    assert values.tolist() == [[[0.5]]]


def test_gradcheck() -> None:
    medium = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    partner = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    for periodic, max_lag in itertools.product((False, True), (None, 2)):
        assert torch.autograd.gradcheck(lambda m, lag=max_lag, p=periodic: two_point_map(m, lag, periodic=p), medium)
        assert torch.autograd.gradcheck(lambda m, o, p=periodic: two_point_map(m, 2, other=o, periodic=p), (medium, partner))
    assert torch.autograd.gradcheck(lambda m: radial_average(m)[1], medium)


def test_module_equals_function() -> None:
    medium = random_medium(1, 2, 6, 7)
    torch.testing.assert_close(TwoPointMap(max_lag=3, periodic=True)(medium), two_point_map(medium, 3, periodic=True))


def test_bad_input() -> None:
    medium = random_medium(1, 1, 6, 7)
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 5 for a medium of \(6, 7\) voxels, got 6"):
        two_point_map(medium, 6)
    with pytest.raises(InputError, match=r"other: expected the shape \(1, 1, 6, 7\) of the indicator, got \(1, 1, 7, 6\)"):
        two_point_map(medium, 3, other=medium.mT)
