from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mcrgen.data.control import END_SHARE, MIN_PATTERNS, Choice, FractionRange, SortedPatterns, reachable_range
from mcrgen.data.sections import Windows
from mcrgen.errors import InputError


@pytest.fixture(scope="module")
def fractions(two_phases: NDArray[np.uint8]) -> NDArray[np.float32]:
    return Windows([two_phases], 7).fractions(2)[:, 1]


@pytest.mark.parametrize("target", [0.12, 0.2, 0.3, 0.34, 0.5, 0.7])
def test_sorted_patterns_reach_the_target(fractions: NDArray[np.float32], target: float) -> None:
    choice = SortedPatterns(fractions, 0).choice(target)
    kept = fractions[choice.indices]
    assert kept.mean(dtype=np.float64) == pytest.approx(target, abs=1e-3)
    assert len(np.unique(choice.indices)) == len(kept)
    rest = np.delete(fractions, choice.indices)
    assert kept.min() >= rest.max() or kept.max() <= rest.min()


def test_sorted_patterns_are_cut_where_a_search_of_all_cuts_says(fractions: NDArray[np.float32]) -> None:
    few = np.random.default_rng(0).choice(fractions, 150, replace=False).astype(np.float64)
    up = np.sort(few)
    for target in np.linspace(*reachable_range(few), 23):
        errors = [abs(part[:n].mean() - target) for part in (up, up[::-1]) for n in range(MIN_PATTERNS, 151)]
        got = few[SortedPatterns(few, 1).choice(target).indices].mean()
        assert abs(got - target) == pytest.approx(min(errors), abs=1e-12)


def test_reachable_range_is_that_of_the_extreme_patterns(fractions: NDArray[np.float32]) -> None:
    ordered = np.sort(fractions)
    assert reachable_range(fractions) == pytest.approx((ordered[:MIN_PATTERNS].mean(), ordered[-MIN_PATTERNS:].mean()))
    for end in reachable_range(fractions):
        choice = SortedPatterns(fractions, 0).choice(end)
        assert len(choice.indices) >= MIN_PATTERNS
        assert fractions[choice.indices].mean(dtype=np.float64) == pytest.approx(end, abs=1e-9)


def test_few_patterns_are_all_kept() -> None:
    assert len(SortedPatterns(np.linspace(0, 1, 20), 0).choice(0.5).indices) == 20


def test_equal_patterns_are_cut_anywhere() -> None:
    fractions = np.repeat([0.0, 1.0], 1000)
    kept = SortedPatterns(fractions, 0).choice(0.2).indices
    assert np.mean(fractions[kept]) == pytest.approx(0.2)
    ones = kept[kept >= 1000]
    assert ones.min() < 1050
    assert ones.max() > 1950


def test_draws_have_the_probabilities() -> None:
    probabilities = np.array([0.5, 0.0, 0.3, 0.2])
    choice = Choice(np.array([7, 8, 9, 10]), np.cumsum(probabilities))
    np.testing.assert_allclose(choice.weights, probabilities)
    drawn = choice.draw(np.random.default_rng(0), 100_000)
    np.testing.assert_allclose(np.bincount(drawn, minlength=11)[7:] / 100_000, probabilities, atol=6e-3)
    # The draws are independent: neighbours do not resemble one another.
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.02
    even = Choice(np.array([3, 5])).draw(np.random.default_rng(0), 10_000)
    assert np.bincount(even)[[3, 5]] / 10_000 == pytest.approx([0.5, 0.5], abs=0.02)


def test_targets_cover_the_range_evenly_and_its_ends_more() -> None:
    targets = np.array([FractionRange(0.2, 0.6).at(step, seed=5) for step in range(400)])
    for end in (0.2, 0.6):
        assert np.mean(targets == end) == pytest.approx(END_SHARE, abs=0.01)
    within = targets[(targets > 0.2) & (targets < 0.6)]
    # Discrepancy of the additive recurrence: below log(N) / N, far less than the 1 / sqrt(N) of random draws.
    uniform = (np.sort(within) - 0.2) / 0.4
    assert np.abs(uniform - (np.arange(len(within)) + 0.5) / len(within)).max() < 0.02
    assert np.histogram(targets[:32], 4, (0.2, 0.6))[0].min() >= 6


def test_targets_depend_on_seed_and_step_alone() -> None:
    targets = FractionRange(0.2, 0.6)
    assert targets.at(3, 0) == targets.at(3, 0) != targets.at(3, 1)
    assert {FractionRange(0.3, 0.3).at(step, 0) for step in range(50)} == {0.3}


def test_out_of_reach_says_the_range() -> None:
    with pytest.raises(InputError, match=r"data\.phase_fraction: expected a target .* 0\.1000 to 0\.5000, got 0\.6\."):
        FractionRange(0.6, 0.6).require_within((0.1, 0.5))
    with pytest.raises(InputError, match=r"data\.phase_fraction_range: expected .* 0\.1000 to 0\.5000, got 0\.05 to 0\.3\."):
        FractionRange(0.05, 0.3).require_within((0.1, 0.5))
    with pytest.raises(InputError, match=r"data\.phase_fraction_range: expected an ascending range"):
        FractionRange(0.4, 0.3).require_within((0.1, 0.5))


def test_what_is_said_to_be_within_reach_is() -> None:
    reach = 0.12344, 0.45678
    with pytest.raises(InputError, match=r"0\.1235 to 0\.4567"):
        FractionRange(0.6, 0.6).require_within(reach)
    FractionRange(0.1235, 0.4567).require_within(reach)
