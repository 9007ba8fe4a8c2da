from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.descriptors.variation import Variation, normalised_variation
from mcrgen.errors import InputError


@pytest.mark.parametrize("shape", [(2, 3, 4, 7), (2, 2, 3, 4, 5)])
def test_equals_the_sum_over_neighbours(shape: tuple[int, ...]) -> None:
    medium = torch.rand(shape, dtype=torch.float64)
    array = medium.numpy()
    axes = range(2, len(shape))
    wrapped = sum(np.abs(array - np.roll(array, -1, axis)) for axis in axes)
    np.testing.assert_allclose(normalised_variation(medium, periodic=True), wrapped.reshape(*shape[:2], -1).mean(axis=2))
    inside = sum(np.abs(np.diff(array, axis=axis)).reshape(*shape[:2], -1).mean(axis=2) for axis in axes)
    np.testing.assert_allclose(normalised_variation(medium), inside)


@pytest.mark.parametrize("dimension", [2, 3])
def test_checkerboard_changes_everywhere(dimension: int) -> None:
    board = torch.from_numpy(np.indices((4, 6, 8)[:dimension]).sum(axis=0) % 2).float()[None, None]
    for periodic in (False, True):
        assert float(normalised_variation(board, periodic=periodic)) == dimension


def test_uniform_medium_has_none_and_no_gradient() -> None:
    medium = torch.full((1, 1, 4, 5), 0.5, requires_grad=True)
    value = normalised_variation(medium).sum()
    value.backward()
    assert value == 0
    assert medium.grad is not None
    assert not medium.grad.any()


@pytest.mark.parametrize("periodic", [False, True])
def test_gradcheck_and_module(periodic: bool) -> None:
    medium = torch.rand(2, 1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: normalised_variation(m, periodic=periodic), medium)
    torch.testing.assert_close(Variation(periodic=periodic)(medium), normalised_variation(medium, periodic=periodic))


def test_single_voxel_axis() -> None:
    with pytest.raises(InputError, match=r"indicator: expected 2 voxels or more along every axis, got \(4, 1\)"):
        normalised_variation(torch.zeros(1, 1, 4, 1))
