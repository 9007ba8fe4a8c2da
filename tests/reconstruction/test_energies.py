from __future__ import annotations

import numpy as np
import pytest

from mcrgen.errors import InputError
from mcrgen.reconstruction.energies import Energy, EnergyTerm, diagonals, groups_of


def test_diagonals() -> None:
    assert diagonals(2) == [(1, 1), (1, -1)]
    assert diagonals(3) == [(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)]


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 6)])
def test_map_holds_every_lag_once_up_to_its_sign(shape: tuple[int, ...]) -> None:
    d, limit = len(shape), 2
    targets = np.random.default_rng(0).random((1, *(2 * limit + 1,) * d))
    seen = {}
    for group in groups_of(EnergyTerm(Energy.s2_map, targets, (0,)), shape):
        for i, value in enumerate(group.targets):
            lag = group.vertices(i)[-1]
            assert value == targets[(0, *(limit + v for v in lag))]
            seen[lag] = value
    assert len(seen) == ((2 * limit + 1) ** d + 1) // 2
    assert not any(lag != (0,) * d and tuple(-v for v in lag) in seen for lag in seen)


@pytest.mark.parametrize(
    ("energy", "shape", "match"),
    [
        (Energy.s2, (1, 3, 4), r"targets: expected s2 of the shape \(1, 2, 4\), got \(1, 3, 4\)"),
        (Energy.s2, (1, 2, 8), r"expected lags up to 6 of s2 in a medium of \(7, 9\), got 7"),
        (Energy.s2_map, (1, 4, 4), r"targets: expected s2_map of the shape \(1, 5, 5\)"),
        (Energy.s2_map, (1, 15, 15), "expected lags up to 6 of s2_map"),
        (Energy.p4, (1, 1, 8), "expected lags up to 6 of p4"),
        (Energy.p6, (1, 2, 3), r"targets: expected p6 of the shape \(1, 1, 3\)"),
        (Energy.lineal_path, (2, 2, 3), r"expected lineal_path of the shape \(1, 2, 3\)"),
    ],
)
def test_targets_of_a_wrong_shape(energy: Energy, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        groups_of(EnergyTerm(energy, np.ones(shape), (0,)), (7, 9))


def test_bad_values() -> None:
    targets = np.ones((1, 2, 3))
    with pytest.raises(InputError, match="targets: expected finite values of s2"):
        groups_of(EnergyTerm(Energy.s2, targets * np.nan, (0,)), (7, 9))
    with pytest.raises(InputError, match="targets: expected values of s2 above 0"):
        groups_of(EnergyTerm(Energy.s2, targets * 0, (0,)), (7, 9))
    with pytest.raises(InputError, match="weight: expected a number greater than 0"):
        groups_of(EnergyTerm(Energy.s2, targets, (0,), weight=0), (7, 9))
