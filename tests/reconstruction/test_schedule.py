from __future__ import annotations

import math

import numpy as np
import pytest

from mcrgen.errors import InputError
from mcrgen.reconstruction.schedule import Rule, Schedule, lam_rate

CHANGES = np.random.default_rng(0).normal(0.5, 1.0, 5000)


@pytest.mark.parametrize("acceptance", [0.2, 0.5, 0.9])
def test_first_temperature_accepts_the_wanted_part_of_the_rises(acceptance: float) -> None:
    rises = CHANGES[CHANGES > 0]
    metropolis = Schedule(acceptance=acceptance).first_temperature(CHANGES)
    assert np.exp(-rises / metropolis).mean() == pytest.approx(acceptance, abs=1e-4)
    threshold = Schedule(rule=Rule.threshold, acceptance=acceptance).first_temperature(CHANGES)
    assert (rises < threshold).mean() == pytest.approx(acceptance, abs=1e-3)


def test_equal_rises() -> None:
    assert Schedule(acceptance=0.5).first_temperature(np.full(9, 2.0)) == pytest.approx(2 / math.log(2), rel=1e-5)


def test_no_temperature() -> None:
    assert Schedule(rule=Rule.quench).first_temperature(CHANGES) == 0
    assert Schedule().first_temperature(-np.abs(CHANGES)) == 0


def test_lam_rate() -> None:
    assert lam_rate(0) == 1
    assert lam_rate(0.15) == lam_rate(0.65) == 0.44
    assert lam_rate(0.149999) == pytest.approx(0.441, abs=1e-5)
    assert lam_rate(1) == pytest.approx(0.001)
    assert (np.diff([lam_rate(s) for s in np.linspace(0, 1, 200)]) <= 0).all()


def test_next_temperature() -> None:
    assert Schedule(factor=0.5).next_temperature(1.0, 0.0, 0.4) == 0.5
    lam = Schedule(rule=Rule.lam, factor=0.5)
    assert lam.next_temperature(3.0, 0.44, 0.4) == 3.0
    assert lam.next_temperature(1.0, 0.88, 0.4) == 0.5
    assert lam.next_temperature(1.0, 0.0, 0.4) == 2.0
    assert lam.next_temperature(1.0, 1.0, 1.0) == 0.5**10


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"acceptance": 1.0}, "acceptance: expected"),
        ({"factor": 1.0}, "factor: expected a number between 0 and 1"),
        ({"interface": 1.5}, "interface: expected a part from 0 to 1, got 1.5"),
        ({"chain": 0}, "chain: expected a number greater than 0"),
        ({"patience": -1}, "patience: expected"),
        ({"tolerance": math.nan}, "tolerance: expected an energy of 0 or more"),
    ],
)
def test_bad_settings(settings: dict[str, float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Schedule(**settings)
