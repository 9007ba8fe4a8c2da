from __future__ import annotations

import pytest
import torch

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.two_point import autocovariance_map
from mcrgen.losses.covariance_matching import DECAY, CovarianceMatching, CovarianceTargets


def slices(seed: int, *, smooth: float = 1.5) -> torch.Tensor:
    return torch.from_numpy(gaussian_level_cut((2, 24, 20), (0.6, 0.4), smooth, seed)).double()[:, None]


def test_nothing_is_left_to_match_on_the_target_itself() -> None:
    medium = slices(0)
    loss = CovarianceMatching(CovarianceTargets(autocovariance_map(medium, 5)[None]))
    for _ in range(3):
        assert float(loss(medium)) == pytest.approx(0.0, abs=1e-20)


def test_value_is_the_relative_error_of_the_running_mean() -> None:
    target = autocovariance_map(slices(0), 4)
    loss = CovarianceMatching(CovarianceTargets(target[None]))
    first, second = slices(1), slices(2)
    loss(first)
    value = loss(second)
    weights = torch.tensor([DECAY * (1 - DECAY), 1 - DECAY]).double()
    weights /= weights.sum()
    centre = weights[0] * first.mean() + weights[1] * second.mean()
    maps = [autocovariance_map(first, 4, first.mean()[None]), autocovariance_map(second, 4, centre[None])]
    mean = weights[0] * maps[0] + weights[1] * maps[1]
    torch.testing.assert_close(value, (mean - target).square().sum() / target.square().sum())


def test_gradient_points_from_the_mean_to_the_target() -> None:
    target = autocovariance_map(slices(0), 4)
    loss = CovarianceMatching(CovarianceTargets(target[None]))
    medium = slices(1).requires_grad_()
    loss(medium).backward()
    gap = autocovariance_map(medium.detach(), 4, medium.detach().mean()[None]) - target
    covariance = autocovariance_map(medium, 4, medium.detach().mean()[None])
    (expected,) = torch.autograd.grad(2 * (gap * covariance).sum() / target.square().sum(), medium)
    torch.testing.assert_close(medium.grad, expected)


def test_descent_lowers_it_on_grey_values() -> None:
    target = autocovariance_map(slices(0), 6)
    field = torch.randn(2, 1, 24, 20, dtype=torch.float64, requires_grad=True)
    loss = CovarianceMatching(CovarianceTargets(target[None]))
    optimizer = torch.optim.Adam([field], lr=0.05)
    values = []
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(torch.sigmoid(3 * field))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.1 * values[0]


def test_running_mean_is_part_of_the_state() -> None:
    target = autocovariance_map(slices(0), 4)
    first, second = CovarianceMatching(CovarianceTargets(target[None])), CovarianceMatching(CovarianceTargets(target[None]))
    first(slices(1))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(slices(2)), second(slices(2)))


def test_targets_are_interpolated_and_each_has_a_mean_of_its_own() -> None:
    maps = torch.stack([autocovariance_map(slices(k), 4) for k in range(3)])
    at = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)
    loss = CovarianceMatching(CovarianceTargets(maps, at))
    medium = slices(5)
    own = autocovariance_map(medium, 4)
    for fraction, target in ((0.2, maps[0]), (0.55, 0.25 * maps[1] + 0.75 * maps[2]), (0.6, maps[2])):
        fresh = CovarianceMatching(CovarianceTargets(maps, at))
        value = fresh(medium, torch.tensor(fraction))
        torch.testing.assert_close(value, (own - target).square().sum() / target.square().sum())
    low = loss(medium, torch.tensor(0.2))
    loss(slices(6), torch.tensor(0.6))
    torch.testing.assert_close(loss(medium, torch.tensor(0.2)), low)


def test_slices_of_neighbouring_fractions_are_centred_each_at_its_own() -> None:
    """Two media that differ by a constant alone, at fractions that differ as much, have the autocovariance of one."""
    medium = 0.5 * slices(1)
    target = autocovariance_map(medium, 4)
    loss = CovarianceMatching(CovarianceTargets(target.expand(2, *target.shape), torch.tensor([0.2, 0.6], dtype=torch.float64)))
    for shift in (0.0, 0.05, 0.1):
        assert float(loss(medium + shift, torch.tensor(0.25 + shift))) == pytest.approx(0.0, abs=1e-12)


def test_given_means_tell_a_phase_from_its_complement() -> None:
    medium = slices(3)
    own = autocovariance_map(medium, 4)
    free, told = CovarianceTargets(own[None]), CovarianceTargets(own[None], means=medium.mean()[None])
    assert float(CovarianceMatching(free)(1 - medium)) == pytest.approx(0.0, abs=1e-20)
    assert float(CovarianceMatching(told)(medium)) == pytest.approx(0.0, abs=1e-20)
    gap = (1 - 2 * medium.mean()) ** 2
    centred = autocovariance_map(1 - medium, 4, medium.mean()[None])
    value = CovarianceMatching(told)(1 - medium)
    torch.testing.assert_close(value, (centred - own).square().sum() / own.square().sum())
    assert float(value) > 0.5 * float(gap**2 * own.numel() / own.square().sum())
