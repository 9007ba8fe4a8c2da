from __future__ import annotations

import numpy as np
import pytest
import torch
from brute import indicators_of, probability

from mcrgen.descriptors.polytopes import POLYTOPES, PolytopeFunction, largest_edge, polytope_function
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError

CORNERS = {
    "p3h": {1: [(0, 0), (0, 1), (1, 1)], 2: [(0, 0), (0, 2), (2, 1)], 3: [(0, 0), (0, 3), (3, 2)], 4: [(0, 0), (0, 4), (3, 2)]},
    "p3v": {2: [(0, 0), (2, 0), (1, 2)], 4: [(0, 0), (4, 0), (2, 3)]},
    "p4": {1: [(0, 0), (0, 1), (1, 0), (1, 1)], 3: [(0, 0), (0, 3), (3, 0), (3, 3)]},
    "p6": {2: [(0, 1), (0, 3), (2, 0), (2, 4), (4, 1), (4, 3)], 3: [(0, 2), (0, 5), (3, 0), (3, 6), (6, 2), (6, 5)]},
}
"""Corners written down by hand: heights sqrt(3)/2 r = 0.87, 1.73, 2.60, 3.46 and halves rounded, one half upwards."""


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("kind", CORNERS)
def test_sections_by_counting(kind: str, periodic: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (8, 9))
    indicator = indicators_of(labels, 2)
    measured = polytope_function(torch.from_numpy(indicator), kind, max(CORNERS[kind]), periodic=periodic)
    assert measured.shape == (1, 2, 1, max(CORNERS[kind]) + 1)
    for r, corners in CORNERS[kind].items():
        for c in range(2):
            assert float(measured[0, c, 0, r]) == pytest.approx(probability(indicator[0, c], corners, periodic=periodic))


def test_p2_is_the_mean_of_both_axes() -> None:
    medium = torch.from_numpy(np.random.default_rng(1).random((2, 1, 9, 12)) < 0.4)
    both = (two_point_correlation(medium, 8, 0) + two_point_correlation(medium, 8, 1)) / 2
    torch.testing.assert_close(polytope_function(medium, "p2", 8)[:, :, 0], both)


@pytest.mark.parametrize("kind", POLYTOPES)
@pytest.mark.parametrize("periodic", [False, True])
def test_volume_planes_are_the_means_of_their_sections(kind: str, periodic: bool) -> None:
    volume = torch.from_numpy(np.random.default_rng(2).random((1, 2, 7, 8, 9)) < 0.7)
    lag = largest_edge(kind, (7, 8, 9))
    assert lag >= 3
    measured = polytope_function(volume, kind, lag, periodic=periodic)
    for normal in range(3):
        sections = volume.movedim(2 + normal, 1).flatten(0, 0)[0]
        per_section = polytope_function(sections, kind, lag, periodic=periodic)
        torch.testing.assert_close(measured[0, :, normal], per_section[:, :, 0].mean(dim=0))


def test_invariants() -> None:
    medium = torch.from_numpy(np.random.default_rng(3).random((1, 1, 40, 42)) < 0.6)
    fraction = medium.double().mean()
    for kind in POLYTOPES:
        curve = polytope_function(medium, kind, 10)[0, 0, 0]
        assert float(curve[0]) == pytest.approx(float(fraction))
        assert bool((curve <= fraction + 0.03).all())
    transposed = polytope_function(medium.transpose(2, 3), "p3v", 10)
    torch.testing.assert_close(transposed, polytope_function(medium, "p3h", 10))


def test_noise_tends_to_powers_of_the_fraction() -> None:
    noise = torch.from_numpy(np.random.default_rng(4).random((1, 1, 400, 400)) < 0.5)
    for kind, polytope in POLYTOPES.items():
        curve = polytope_function(noise, kind, 12)[0, 0, 0, 1:]
        np.testing.assert_allclose(curve, 0.5**polytope.order, atol=0.006)


def test_stripes_along_the_columns() -> None:
    stripes = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(12)[None, None, None].expand(1, 1, 30, 48)
    square = polytope_function(stripes, "p4", 8, periodic=True)[0, 0, 0]
    np.testing.assert_allclose(square, [0.5, 0.25, 0, 0.25] * 2 + [0.5])


def test_gradcheck() -> None:
    field = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    for kind in ("p3h", "p4"):
        assert torch.autograd.gradcheck(lambda x, k=kind: polytope_function(x, k, 3), field)
    assert torch.autograd.gradcheck(lambda x: polytope_function(x, "p6", 2, periodic=True), field)


def test_module_equals_function() -> None:
    medium = torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(PolytopeFunction(kind="p3v", max_lag=4)(medium), polytope_function(medium, "p3v", 4))


def test_bad_input() -> None:
    medium = torch.rand(1, 1, 20, 30)
    assert largest_edge("p6", (20, 30)) == 10  # two heights of round(0.87 * 11) = 10 are 20
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 10 for p6 in a medium of \(20, 30\), got 11"):
        polytope_function(medium, "p6", 11)
    with pytest.raises(InputError, match=r"kind: expected one of p2, p3h, p3v, p4, p6, got 'p5'"):
        polytope_function(medium, "p5", 2)
