from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.commands._reconstruction import labels_of
from mcrgen.commands._targets import Goal


def a_goal(fractions: tuple[float, ...], phase: int) -> Goal:
    return Goal({}, fractions, phase, None)


@pytest.mark.parametrize("change", [-0.03, -0.004, 0.0, 0.004, 0.03])
@pytest.mark.parametrize(("phase", "shape"), [(0, (9, 14)), (1, (5, 6, 7))])
def test_two_phases_that_are_decided_stay(change: float, phase: int, shape: tuple[int, ...]) -> None:
    labels = (np.random.default_rng(0).random(shape) < 0.3).astype(np.uint8)
    f = labels.mean() + change
    medium = torch.from_numpy((labels == phase).astype(np.float32))[None]
    np.testing.assert_array_equal(labels_of(medium, a_goal((1 - f, f), phase), None, periodic=True), labels)


@pytest.mark.parametrize(
    "changes", [(0, 0, 0), (0.03, -0.03, 0), (-0.03, 0.03, 0), (-0.03, 0, 0.03), (0.004, 0.004, -0.008), (0, -0.004, 0.004)]
)
def test_three_phases_that_are_decided_stay(changes: tuple[float, float, float]) -> None:
    labels = np.random.default_rng(1).choice(3, (9, 14), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    fractions = tuple((np.bincount(labels.ravel()) / labels.size + changes).tolist())
    medium = torch.from_numpy(np.stack([labels == i for i in range(3)]).astype(np.float32))
    np.testing.assert_array_equal(labels_of(medium, a_goal(fractions, 2), None, periodic=True), labels)


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("sigma", [None, 0.7, 2.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_phase_fractions_of_grey_and_of_smoothed_media(
    fractions: tuple[float, ...], sigma: float | None, periodic: bool
) -> None:
    medium = torch.rand(len(fractions) if len(fractions) > 2 else 1, 16, 18, 14, generator=torch.Generator().manual_seed(0))
    labels = labels_of(medium, a_goal(fractions, 1), sigma, periodic=periodic)
    np.testing.assert_allclose(np.bincount(labels.ravel()) / labels.size, fractions, atol=1e-3)
