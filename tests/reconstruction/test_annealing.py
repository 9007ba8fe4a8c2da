from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from brute import indicators_of
from numpy.typing import NDArray

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.n_point import n_point_probability
from mcrgen.descriptors.polytopes import polytope_function
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.errors import InputError
from mcrgen.reconstruction._tables import make_field
from mcrgen.reconstruction.annealing import Annealing
from mcrgen.reconstruction.energies import Energy, EnergyTerm, diagonals, groups_of
from mcrgen.reconstruction.random_medium import random_medium
from mcrgen.reconstruction.schedule import Rule, Schedule

Medium = NDArray[np.uint8]
ENDLESS = Schedule(Rule.quench, swaps=1e6, patience=1e6, chain=1e6, chain_accepted=1e6, tolerance=0)
ISOTHERMAL = replace(ENDLESS, rule=Rule.geometric, interface=0.0)
SHAPES = [(13, 18), (5, 8, 7)]
LAGS = {Energy.s2: 4, Energy.lineal_path: 4, Energy.s2_diagonal: 4, Energy.s2_map: 3}


def measured(
    medium: Medium, energy: Energy, *, phases: tuple[int, ...] = (0, 2), lags: int | None = None, periodic: bool = True
):
    """The descriptor by the functions of mcrgen.descriptors, in the layout of EnergyTerm.targets."""
    field = torch.from_numpy(indicators_of(medium, int(medium.max()) + 1)[:, list(phases)]).double()
    lags = LAGS.get(energy, 2) if lags is None else lags
    axes = range(medium.ndim)
    if energy is Energy.s2:
        values = torch.stack([two_point_correlation(field, lags, axis, periodic=periodic) for axis in axes], dim=2)
    elif energy is Energy.lineal_path:
        values = torch.stack([lineal_path(field, lags, axis, periodic=periodic) for axis in axes], dim=2)
    elif energy is Energy.s2_map:
        values = two_point_map(field, lags, periodic=periodic)
    elif energy is Energy.s2_diagonal:
        pairs = [[[(0,) * medium.ndim, tuple(r * s for s in d)] for r in range(lags + 1)] for d in diagonals(medium.ndim)]
        values = torch.stack([n_point_probability(field, p, periodic=periodic) for p in pairs], dim=2)
    else:
        values = polytope_function(field, energy.value, lags, periodic=periodic)
    return values[0].numpy()


def terms_of(medium: Medium, **settings) -> list[EnergyTerm]:
    phases = settings.get("phases", (0, 2))
    return [EnergyTerm(e, measured(medium, e, **settings), phases, weight=1.0 + k) for k, e in enumerate(Energy)]


def energy_between(medium: Medium, terms: list[EnergyTerm], *, periodic: bool = True) -> float:
    """The energy from scratch; of opposite lags of a map both count as often."""
    total = 0.0
    for term in terms:
        values, targets = measured(medium, term.energy, phases=term.phases, periodic=periodic), np.array(term.targets)
        if term.energy is Energy.s2_map:
            n = targets[0].size // 2
            values, targets = (x.reshape(len(x), -1)[:, n:] for x in (values, targets))
        total += term.weight * float(((values - targets) ** 2).sum() / (targets**2).sum())
    return total


def start_of(shape: tuple[int, ...], seed: int = 1) -> Medium:
    return random_medium(shape, (0.45, 0.3, 0.25), seed)


def annealing_of(shape: tuple[int, ...], schedule: Schedule = ENDLESS, *, periodic: bool = True) -> Annealing:
    reference = gaussian_level_cut(shape, (0.45, 0.3, 0.25), 1.3, seed=2)
    terms = terms_of(reference, periodic=periodic)
    return Annealing(terms, start_of(shape), schedule, seed=3, periodic=periodic)


def heat(annealing: Annealing, temperature: float) -> None:
    annealing.restore({**annealing.state(), "temperature": temperature})


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_energy_after_many_swaps_is_the_energy_from_scratch(shape: tuple[int, ...], periodic: bool) -> None:
    annealing = annealing_of(shape, Schedule(tolerance=0, interface=0.5), periodic=periodic)
    reference = gaussian_level_cut(shape, (0.45, 0.3, 0.25), 1.3, seed=2)
    first = annealing.progress.energy
    terms = terms_of(reference, periodic=periodic)
    assert first == pytest.approx(energy_between(start_of(shape), terms, periodic=periodic), rel=1e-10)
    progress = annealing.run(5000)
    assert progress.accepted > 500
    assert progress.energy == pytest.approx(energy_between(annealing.medium, terms, periodic=periodic), rel=1e-10)
    assert progress.energy < first


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_counts_do_not_drift(shape: tuple[int, ...], periodic: bool) -> None:
    annealing = annealing_of(shape, ISOTHERMAL, periodic=periodic)
    heat(annealing, math.inf)
    annealing.run(5000)
    terms = terms_of(annealing.medium, periodic=periodic)
    fresh = Annealing(terms, annealing.medium, ENDLESS, seed=0, periodic=periodic)
    np.testing.assert_array_equal(annealing._tables.counts, fresh._tables.counts)
    # Targets measured by mcrgen.descriptors on the medium itself, in units of the counts.
    np.testing.assert_allclose(annealing._tables.counts, fresh._tables.targets, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_phases_keep_their_voxels(shape: tuple[int, ...]) -> None:
    annealing = annealing_of(shape)
    annealing.run(3000)
    medium = annealing.medium
    assert medium.shape == shape
    np.testing.assert_array_equal(np.bincount(medium.ravel()), np.bincount(start_of(shape).ravel()))
    assert (medium != start_of(shape)).any()


def test_infinite_temperature_accepts_everything() -> None:
    annealing = annealing_of((13, 18), ISOTHERMAL)
    heat(annealing, math.inf)
    progress = annealing.run(2000)
    assert progress.accepted == progress.swaps == 2000


@pytest.mark.parametrize("interface", [0.0, 1.0])
def test_quench_never_rises(interface: float) -> None:
    schedule = Schedule(rule=Rule.quench, tolerance=0, interface=interface)
    annealing = annealing_of((13, 18), schedule)
    energies = [annealing.progress.energy, *(annealing.run(20).energy for _ in range(100))]
    assert (np.diff(energies) <= 0).all()
    assert energies[-1] < 0.5 * energies[0]


def test_threshold_bounds_every_rise() -> None:
    annealing = annealing_of((13, 18), replace(ISOTHERMAL, rule=Rule.threshold))
    energies = np.array([annealing.run(1).energy for _ in range(1000)])
    assert 0 < np.diff(energies).max() < annealing.progress.temperature


def test_interface_swaps_touch_interfaces_only() -> None:
    reference = gaussian_level_cut((21, 24), (0.5, 0.5), 3.0, seed=4)
    terms = [EnergyTerm(Energy.s2, measured(reference, Energy.s2, phases=(1,)), (1,))]
    start = gaussian_level_cut((21, 24), (0.5, 0.5), 3.0, seed=8)
    annealing = Annealing(terms, start, replace(ISOTHERMAL, interface=1.0), seed=5)
    heat(annealing, math.inf)
    for _ in range(200):
        before = annealing.medium
        annealing.run(1)
        changed = before != annealing.medium
        neighbours = [np.roll(before, shift, axis) != before for shift in (1, -1) for axis in (0, 1)]
        assert changed.sum() == 2
        assert np.logical_or.reduce(neighbours)[changed].all()


def test_pairs_of_voxels_are_drawn_evenly() -> None:
    medium = np.array([[0, 0, 0], [1, 1, 2]], np.uint8)
    flat = np.full((1, 2, 2), 0.5)
    annealing = Annealing([EnergyTerm(Energy.s2, flat, (0,))], medium, ISOTHERMAL, seed=6)
    heat(annealing, math.inf)
    media = []
    for _ in range(6000):
        annealing.run(1)
        media.append(int("".join(map(str, annealing.medium.ravel())), 3))
    # All 6! / (3! 2! 1!) media equally often, 100 times.
    _, numbers = np.unique(media, return_counts=True)
    assert len(numbers) == 60
    assert ((numbers - 100) ** 2 / 100).sum() < 59 + 5 * math.sqrt(2 * 59)


def test_metropolis_reaches_the_boltzmann_distribution() -> None:
    medium = np.array([[0, 0, 0], [1, 1, 0]], np.uint8)
    target = np.array([[[1 / 3, 0.3], [1 / 3, 0.1]]])
    annealing = Annealing([EnergyTerm(Energy.s2, target, (1,))], medium, ISOTHERMAL, seed=7)
    heat(annealing, 0.05)
    seen: dict[float, int] = {}
    for _ in range(8000):
        energy = round(annealing.run(1).energy, 9)
        seen[energy] = seen.get(energy, 0) + 1
    states: dict[float, int] = {}
    for first in range(6):
        for second in range(first):
            other = np.zeros(6, np.uint8)
            other[[first, second]] = 1
            term = EnergyTerm(Energy.s2, target, (1,))
            energy = round(Annealing([term], other.reshape(2, 3), ENDLESS, seed=0).progress.energy, 9)
            states[energy] = states.get(energy, 0) + 1
    weights = {energy: number * math.exp(-energy / 0.05) for energy, number in states.items()}
    assert len(states) > 2
    for energy, weight in weights.items():
        assert seen.get(energy, 0) / 8000 == pytest.approx(weight / sum(weights.values()), abs=0.03)


@pytest.mark.parametrize("rule", list(Rule))
def test_restored_run_goes_on_bit_for_bit(rule: Rule) -> None:
    schedule = Schedule(rule=rule, chain=1.0, chain_accepted=0.4, tolerance=0, interface=0.3, swaps=4000 / 280)
    whole, half = annealing_of((5, 8, 7), schedule), annealing_of((5, 8, 7), schedule)
    final = whole.run(4000)
    half.run(1234)
    file = io.BytesIO()
    np.savez(file, **half.state())
    file.seek(0)
    other = annealing_of((5, 8, 7), schedule)
    with np.load(file) as state:
        other.restore(dict(state))
    assert other.progress == half.progress
    other.run(77)
    assert other.run(10_000) == final
    assert final.finished
    np.testing.assert_array_equal(other.medium, whole.medium)
    np.testing.assert_array_equal(other.state()["rng"], whole.state()["rng"])


def test_seeds_differ_and_repeat() -> None:
    media = []
    for seed in (1, 1, 2):
        target = measured(start_of((9, 11), 8), Energy.s2)
        annealing = Annealing([EnergyTerm(Energy.s2, target, (0, 2))], start_of((9, 11)), Schedule(), seed=seed)
        annealing.run(500)
        media.append(annealing.medium)
    np.testing.assert_array_equal(media[0], media[1])
    assert (media[0] != media[2]).any()


@pytest.mark.parametrize("name", ["stripes", "checkerboard"])
def test_known_medium_is_recovered(name: str) -> None:
    y, x = np.indices((8, 8))
    medium = ((x // 2 if name == "stripes" else x // 2 + y // 2) % 2).astype(np.uint8)
    terms = [EnergyTerm(Energy.s2_map, measured(medium, Energy.s2_map, phases=(1,), lags=7), (1,))]
    schedule = Schedule(chain=30, chain_accepted=30, factor=0.9, interface=0.0, tolerance=1e-15, swaps=10_000)
    annealing = Annealing(terms, random_medium((8, 8), (0.5, 0.5), 9), schedule, seed=10)
    progress = annealing.run(640_000)
    assert progress.finished
    assert progress.energy == pytest.approx(0, abs=1e-15)
    found = annealing.medium
    shifts = [np.roll(medium, (a, b), (0, 1)) for a in range(4) for b in range(4)]
    assert any((found == shift).all() for shift in shifts)


def test_warm_start_at_the_target_is_finished() -> None:
    medium = start_of((9, 11))
    annealing = Annealing(terms_of(medium), medium, Schedule(), seed=0)
    assert annealing.progress.energy == pytest.approx(0, abs=1e-20)
    progress = annealing.run(100)
    assert progress.finished
    assert progress.swaps == 0
    np.testing.assert_array_equal(annealing.medium, medium)


def test_patience_ends_a_run() -> None:
    annealing = annealing_of((13, 18), Schedule(rule=Rule.quench, patience=0.2, tolerance=0))
    progress = annealing.run(100_000)
    assert progress.finished
    assert annealing.state()["counters"][2] == round(0.2 * 13 * 18)
    assert progress.swaps < 100_000


def test_bad_arguments() -> None:
    medium = start_of((9, 11))
    term = EnergyTerm(Energy.s2, measured(medium, Energy.s2), (0, 2))
    with pytest.raises(InputError, match="terms: expected at least one"):
        Annealing([], medium, Schedule(), seed=0)
    with pytest.raises(InputError, match="medium: expected uint8 labels"):
        Annealing([term], medium.astype(np.int64), Schedule(), seed=0)
    with pytest.raises(InputError, match="medium: expected two phases or more, got label 0 only"):
        Annealing([term], np.zeros((9, 11), np.uint8), Schedule(), seed=0)
    with pytest.raises(InputError, match="medium: expected labels below 255"):
        Annealing([term], medium * np.uint8(127) + np.uint8(1), Schedule(), seed=0)
    with pytest.raises(InputError, match=r"phases: expected labels 0 to 2 of the medium, got 3"):
        Annealing([EnergyTerm(Energy.s2, term.targets, (0, 3))], medium, Schedule(), seed=0)
    with pytest.raises(InputError, match="seed: expected 0 or more"):
        Annealing([term], medium, Schedule(), seed=-1)
    annealing = Annealing([term], medium, Schedule(), seed=0)
    with pytest.raises(InputError, match="swaps: expected a number greater than 0"):
        annealing.run(0)
    other = Annealing([term], random_medium((9, 11), (0.4, 0.3, 0.3), 0), Schedule(), seed=0)
    with pytest.raises(InputError, match="state: expected phases of"):
        annealing.restore(other.state())
    turned = Annealing([term], np.ascontiguousarray(medium.T), Schedule(), seed=0)
    with pytest.raises(InputError, match=r"state: expected a medium of \(9, 11\), got \(11, 9\)"):
        annealing.restore(turned.state())


def test_medium_beyond_32_bits() -> None:
    huge = np.broadcast_to(np.uint8(0), (1300, 1300, 1300))
    groups = groups_of(EnergyTerm(Energy.s2, np.ones((1, 3, 3)), (0,)), huge.shape)
    with pytest.raises(InputError, match=r"medium: expected at most 2\^31 voxels"):
        make_field(huge, 1, groups, periodic=True)
