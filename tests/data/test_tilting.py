from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from mcrgen.data.control import MIN_PATTERNS, reachable_range
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.sections import Windows
from mcrgen.data.tilting import tilted_weights
from mcrgen.errors import InputError

ROWS = np.array([[0.9, 0.1, 0.0], [0.5, 0.2, 0.3], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
COUNTS = np.array([100, 250, 150, 80, 300])


@pytest.fixture(scope="module")
def fractions() -> NDArray[np.float32]:
    return Windows([gaussian_level_cut((60, 71), (0.5, 0.3, 0.2), 1.5, seed=4)], 7).fractions(3)


@pytest.mark.parametrize("targets", [(0.3, 0.4, 0.3), (0.62, 0.2, 0.18), (0.5, 0.1, 0.4), (0.8, 0.12, 0.08)])
def test_means_are_the_targets(fractions: NDArray[np.float32], targets: tuple[float, ...]) -> None:
    weights = tilted_weights(fractions, targets)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(weights @ fractions.astype(np.float64), targets, atol=1e-6)


@pytest.mark.parametrize("targets", [(0.3, 0.4, 0.3), (0.55, 0.2, 0.25)])
def test_nearest_to_uniform(targets: tuple[float, ...]) -> None:
    prior = COUNTS / COUNTS.sum()
    found = minimize(
        lambda p: np.sum(p * np.log(p / prior)),
        prior,
        jac=lambda p: np.log(p / prior) + 1,
        bounds=[(1e-12, 1)] * len(ROWS),
        constraints=[
            {"type": "eq", "fun": lambda p: p @ ROWS - targets, "jac": lambda p: ROWS.T},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    # Rows in any order: the solution belongs to the row, not to its place.
    which = np.random.default_rng(0).permutation(np.repeat(np.arange(len(ROWS)), COUNTS))
    weights = tilted_weights(ROWS[which], targets)
    np.testing.assert_allclose(np.bincount(which, weights), found.x, atol=2e-5)


def test_two_phases_are_tilted_by_one_multiplier() -> None:
    fraction = np.random.default_rng(0).integers(0, 50, 500) / 49
    weights = tilted_weights(np.stack([1 - fraction, fraction], axis=1), (0.35, 0.65))
    slope = np.polyfit(fraction, np.log(weights), 1)
    np.testing.assert_allclose(np.polyval(slope, fraction), np.log(weights), atol=1e-9)
    assert weights @ fraction == pytest.approx(0.65, abs=1e-7)


def test_own_means_give_equal_weights(fractions: NDArray[np.float32]) -> None:
    weights = tilted_weights(fractions, tuple(fractions.mean(axis=0, dtype=np.float64)))
    np.testing.assert_allclose(weights * len(weights), 1, atol=1e-6)
    few = np.array([[0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_allclose(tilted_weights(few, (0.35, 0.65)), 0.5)


def test_a_phase_that_no_pattern_varies() -> None:
    a = np.random.default_rng(1).random(400) * 0.8
    fractions = np.stack([a, np.full(400, 0.2), 0.8 - a], axis=1)
    np.testing.assert_allclose(tilted_weights(fractions, (0.5, 0.2, 0.3)) @ fractions, (0.5, 0.2, 0.3), atol=1e-7)
    with pytest.raises(InputError, match=r"data\.phase_fractions: .* 0\.2000 to 0\.2000"):
        tilted_weights(fractions, (0.5, 0.1, 0.4))


def test_near_the_edge_of_what_patterns_reach() -> None:
    fraction = np.repeat(np.arange(50) / 49, 200)
    fractions = np.stack([1 - fraction, fraction], axis=1)
    for target in (1e-6, 1e-3, 1 - 1e-3, 1 - 1e-6):
        weights = tilted_weights(fractions, (1 - target, target))
        assert weights @ fraction == pytest.approx(target, abs=1e-7)


@pytest.mark.parametrize("targets", [(0.02, 0.96, 0.02), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1), (0.0, 1.0, 0.0)])
def test_out_of_reach_says_what_each_phase_reaches(targets: tuple[float, ...]) -> None:
    rng = np.random.default_rng(2)
    fractions = rng.dirichlet((6.0, 4.0, 3.0), 2000)
    low, high = reachable_range(fractions[:, 1])
    with pytest.raises(
        InputError, match=rf"data\.phase_fractions: expected .* {low:.4f} to {high:.4f}, .*got {targets[0]:g}, "
    ):
        tilted_weights(fractions, targets)


def test_too_few_effective_patterns() -> None:
    fraction = np.concatenate([np.full(1000, 0.2), np.full(MIN_PATTERNS // 2, 0.9)])
    fractions = np.stack([fraction, 1 - fraction], axis=1)
    with pytest.raises(InputError, match="reach together"):
        tilted_weights(fractions, (0.899, 0.101))
    tilted_weights(fractions, (0.3, 0.7))


def test_targets_that_make_no_sense() -> None:
    with pytest.raises(InputError, match=r"data\.phase_fractions: .* sum to 1, got 0\.5, 0\.3, 0\.3 with the sum 1\.1"):
        tilted_weights(ROWS, (0.5, 0.3, 0.3))
    with pytest.raises(InputError, match=r"data\.phase_fractions: expected 3 fractions, one for each phase, got 2"):
        tilted_weights(ROWS, (0.5, 0.5))
