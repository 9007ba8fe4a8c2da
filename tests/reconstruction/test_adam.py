from copy import deepcopy

import pytest
import torch

from mcrgen.errors import InputError
from mcrgen.reconstruction.adam import ProjectedAdam


def minimise(optimizer, x, target, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        (x - target).square().sum().backward()
        optimizer.step()


def test_is_adam_inside_the_box():
    start = torch.linspace(0.3, 0.6, 12).view(3, 4)
    target = torch.linspace(0.2, 0.7, 12).view(3, 4)
    x, y = start.clone().requires_grad_(), start.clone().requires_grad_()
    minimise(ProjectedAdam([x], lr=0.01, low=-10.0, high=10.0), x, target, 25)
    minimise(torch.optim.Adam([y], lr=0.01), y, target, 25)
    assert torch.equal(x, y)


def test_finds_the_minimum_in_the_box():
    target = torch.tensor([-0.5, 0.25, 0.75, 1.5], dtype=torch.float64)
    x = torch.full((4,), 0.5, dtype=torch.float64, requires_grad=True)
    minimise(ProjectedAdam([x], lr=0.02, low=0.0, high=1.0), x, target, 600)
    torch.testing.assert_close(x.detach(), target.clamp(0, 1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_leaves_a_bound_as_soon_as_the_gradient_turns(sign):
    x = torch.zeros(1, requires_grad=True)
    optimizer = ProjectedAdam([x], lr=0.1, low=-0.5, high=0.5)
    for _ in range(30):
        x.grad = torch.full_like(x, sign)
        optimizer.step()
    assert x.item() == -0.5 * sign
    x.grad = torch.full_like(x, -sign)
    optimizer.step()
    assert abs(x.item()) < 0.5


def test_bounds_of_every_entry_and_the_closure():
    high = torch.tensor([0.1, 0.2, 0.3])
    x = torch.zeros(2, 3, requires_grad=True)
    optimizer = ProjectedAdam([x], lr=1.0, low=-1.0, high=high)

    def closure():
        optimizer.zero_grad()
        loss = -x.sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure=closure).detach()) == 0.0
    assert torch.equal(x.detach(), high.expand(2, 3))


def test_resumed_run_repeats_the_uninterrupted_one():
    target = torch.linspace(-0.5, 1.5, 7)
    x = torch.full((7,), 0.5, requires_grad=True)
    optimizer = ProjectedAdam([x], lr=0.1, low=0.0, high=1.0)
    minimise(optimizer, x, target, 8)
    y = x.detach().clone().requires_grad_()
    resumed = ProjectedAdam([y], lr=0.1, low=0.0, high=1.0)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    minimise(optimizer, x, target, 5)
    minimise(resumed, y, target, 5)
    assert torch.equal(x, y)


def test_arguments_are_checked():
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(InputError, match="lr: expected a number greater than 0, got 0"):
        ProjectedAdam([x], lr=0.0, low=0.0, high=1.0)
    with pytest.raises(InputError, match="params: expected one or more tensors"):
        ProjectedAdam([], lr=0.1, low=0.0, high=1.0)
    with pytest.raises(InputError, match="low: expected less than high everywhere, got 1 and 0"):
        ProjectedAdam([x], lr=0.1, low=1.0, high=0.0)
