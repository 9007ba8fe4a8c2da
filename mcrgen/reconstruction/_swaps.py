"""Compiled kernels of annealing: draw two voxels, count what their swap changes, take it or leave it.

Importing this module imports numba, which takes about a second: import it where it is called.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mcrgen.reconstruction._compiled import compiled
from mcrgen.reconstruction._random import below, uniform
from mcrgen.reconstruction._tables import FIGURES, NOTHING, PAIRS, Field, Ints, Tables

SWAPS, ACCEPTED, FAILURES, CHAIN_SWAPS, CHAIN_ACCEPTED = range(5)
"""Places in the counters: attempts, accepted ones, rejections since the last accepted one, and the first two of this chain."""


@compiled
def at_interface(field: Field, place: int) -> bool:
    """Whether a face neighbour is of another phase."""
    own = field.labels[place]
    for step in field.neighbours:
        for other in (field.labels[place - step], field.labels[place + step]):
            if own != other != NOTHING:
                return True
    return False


@compiled
def pick(field: Field, rng: NDArray[np.uint64], interface: bool) -> tuple[np.int64, np.int64]:
    """Slots in ``voxels`` of any voxel and of one of another phase; by rejection, both at interfaces."""
    n = len(field.voxels)
    i = below(rng, n)
    while interface and not at_interface(field, field.voxels[i]):
        i = below(rng, n)
    phase = field.labels[field.voxels[i]]
    first, size = field.starts[phase], field.starts[phase + 1] - field.starts[phase]
    while True:
        j = below(rng, n - size)
        if j >= first:
            j += size
        if not interface or at_interface(field, field.voxels[j]):
            return i, j


@compiled
def paint(field: Field, place: int, label: np.uint8) -> None:
    """Set a voxel and its copies in the margins."""
    height, width = field.padded[1], field.padded[2]
    z, y, x = place // (height * width), place // width % height, place % width
    for a in range(-field.copies, field.copies + 1):
        zz = z + a * field.shape[0]
        if zz < 0 or zz >= field.padded[0]:
            continue
        for b in range(-field.copies, field.copies + 1):
            yy = y + b * field.shape[1]
            if yy < 0 or yy >= height:
                continue
            for c in range(-field.copies, field.copies + 1):
                xx = x + c * field.shape[2]
                if 0 <= xx < width:
                    field.labels[(zz * height + yy) * width + xx] = label


@compiled
def count_row(field: Field, tables: Tables, g: int, loser: int, winner: int) -> None:
    """:func:`count_pairs` where the lags follow each other along the last axis: contiguous, so that vector units are used."""
    phase, begin, end, lag = np.uint8(tables.groups[g, 1]), tables.groups[g, 2], tables.groups[g, 3], tables.groups[g, 4]
    n = end - begin
    gain_after = field.labels[winner + lag : winner + lag + n]
    gain_before = field.labels[winner - lag - n + 1 : winner - lag + 1]
    loss_after = field.labels[loser + lag : loser + lag + n]
    loss_before = field.labels[loser - lag - n + 1 : loser - lag + 1]
    deltas = tables.deltas[begin:end]
    for i in range(n):
        gain = np.int32(gain_after[i] == phase) + np.int32(gain_before[n - 1 - i] == phase)
        deltas[i] = gain - np.int32(loss_after[i] == phase) - np.int32(loss_before[n - 1 - i] == phase)


@compiled
def count_pairs(field: Field, tables: Tables, g: int, loser: int, winner: int) -> None:
    """Change of the pairs of a group, in which the phase leaves one voxel for another."""
    phase, begin, end = np.uint8(tables.groups[g, 1]), tables.groups[g, 2], tables.groups[g, 3]
    lag, step = tables.groups[g, 4], tables.groups[g, 5]
    labels = field.labels
    for v in range(begin, end):
        gain = np.int32(labels[winner + lag] == phase) + np.int32(labels[winner - lag] == phase)
        loss = np.int32(labels[loser + lag] == phase) + np.int32(labels[loser - lag] == phase)
        tables.deltas[v] = gain - loss
        lag += step


@compiled
def run_of(labels: NDArray[np.uint8], place: int, phase: int, step: int, longest: int) -> int:
    """Voxels of the phase that follow each other from the next one on."""
    n = 0
    while n < longest and labels[place + (n + 1) * step] == phase:
        n += 1
    return n


@compiled
def count_segments(field: Field, tables: Tables, g: int, loser: int, winner: int) -> None:
    """The same of segments: with runs of a and b voxels to either side, min(a, r) + min(b, r) - r + 1 of lag r hold a voxel."""
    phase, begin, end, step = tables.groups[g, 1], tables.groups[g, 2], tables.groups[g, 3], tables.groups[g, 5]
    longest = end - begin - 1
    more = run_of(field.labels, winner, phase, step, longest), run_of(field.labels, winner, phase, -step, longest)
    less = run_of(field.labels, loser, phase, step, longest), run_of(field.labels, loser, phase, -step, longest)
    for r in range(end - begin):
        gain = max(0, min(more[0], r) + min(more[1], r) - r + 1)
        loss = max(0, min(less[0], r) + min(less[1], r) - r + 1)
        tables.deltas[begin + r] = gain - loss


@compiled
def figures_at(field: Field, tables: Tables, v: int, phase: int, place: int) -> int:
    """Polytopes of a value with a vertex at a place whose other vertices lie in the phase."""
    n = 0
    for row in range(tables.first_corner[v], tables.first_corner[v + 1]):
        k = tables.corners[row, 0]
        while k > 0 and field.labels[place + tables.corners[row, k]] == phase:
            k -= 1
        n += k == 0
    return n


@compiled
def count_figures(field: Field, tables: Tables, g: int, loser: int, winner: int) -> None:
    """The same of polytopes."""
    phase, begin, end = tables.groups[g, 1], tables.groups[g, 2], tables.groups[g, 3]
    for v in range(begin, end):
        tables.deltas[v] = figures_at(field, tables, v, phase, winner) - figures_at(field, tables, v, phase, loser)


@compiled
def energy_of(tables: Tables, g: int) -> float:
    """Energy of a group with the counts and deltas."""
    total = 0.0
    for v in range(tables.groups[g, 2], tables.groups[g, 3]):
        deviation = np.float64(tables.counts[v] + tables.deltas[v]) - tables.targets[v]
        total += tables.factors[v] * deviation * deviation
    return total


@compiled
def try_swap(field: Field, tables: Tables, u: int, v: int, phases: tuple[int, int], allowed: float) -> float:
    """Energy after two voxels of the two phases swap, or that of the first groups once it exceeds what is allowed.

    Both voxels must hold NOTHING: what goes through both of them counts for neither phase, before and after.
    """
    total = 0.0
    for g in range(len(tables.groups)):
        kind, phase = tables.groups[g, 0], tables.groups[g, 1]
        if phase != phases[0] and phase != phases[1]:
            tables.trials[g] = tables.energies[g]
        else:
            loser, winner = (u, v) if phase == phases[0] else (v, u)
            if kind == PAIRS and tables.groups[g, 5] == 1:
                count_row(field, tables, g, loser, winner)
            elif kind == PAIRS:
                count_pairs(field, tables, g, loser, winner)
            elif kind == FIGURES:
                count_figures(field, tables, g, loser, winner)
            else:
                count_segments(field, tables, g, loser, winner)
            tables.trials[g] = energy_of(tables, g)
        total += tables.trials[g]
        if total > allowed:
            break
    return total


@compiled
def commit(tables: Tables, phases: tuple[int, int]) -> None:
    """Make the change counted last the state."""
    for g in range(len(tables.groups)):
        if tables.groups[g, 1] == phases[0] or tables.groups[g, 1] == phases[1]:
            for v in range(tables.groups[g, 2], tables.groups[g, 3]):
                tables.counts[v] += tables.deltas[v]
        tables.energies[g] = tables.trials[g]


@compiled
def total_energy(tables: Tables) -> float:
    """Sum of the groups, always in the same order, so that it does not depend on the way here."""
    total = 0.0
    for g in range(len(tables.energies)):
        total += tables.energies[g]
    return total


@compiled
def fill_energies(tables: Tables) -> None:
    """Energies of all groups from the counts, the deltas being zero."""
    for g in range(len(tables.groups)):
        tables.energies[g] = energy_of(tables, g)


@compiled
def attempt(
    field: Field, tables: Tables, rng: NDArray[np.uint64], interface: float, enough: float, allowed: float
) -> tuple[float, bool]:
    """Try one swap: count until the energy exceeds ``enough``, keep it up to ``allowed``; its energy and whether it is kept."""
    i, j = pick(field, rng, interface > 0 and uniform(rng) < interface)
    u, v = field.voxels[i], field.voxels[j]
    phases = field.labels[u], field.labels[v]
    paint(field, u, NOTHING)
    paint(field, v, NOTHING)
    energy = try_swap(field, tables, u, v, phases, enough)
    accepted = energy <= allowed
    if accepted:
        commit(tables, phases)
        field.voxels[i], field.voxels[j] = v, u
    paint(field, u, phases[1] if accepted else phases[0])
    paint(field, v, phases[0] if accepted else phases[1])
    return energy, accepted


@compiled
def reached_limit(counters: Ints, limits: Ints) -> bool:
    """Whether a counter is where it may not go beyond."""
    stop = False
    for k in range(len(counters)):
        stop |= counters[k] >= limits[k]
    return stop


@compiled
def run_swaps(
    field: Field,
    tables: Tables,
    rng: NDArray[np.uint64],
    counters: Ints,
    limits: Ints,
    temperature: float,
    interface: float,
    metropolis: bool,
    tolerance: float,
) -> float:
    """Try swaps until a counter reaches its limit or the energy the tolerance; returns the energy.

    The number that decides is drawn first, so that a swap is left as soon as the groups counted so far exceed it.
    """
    energy = total_energy(tables)
    while energy > tolerance and not reached_limit(counters, limits):
        allowed = energy + temperature
        if metropolis:
            allowed = energy - temperature * math.log(uniform(rng)) if temperature > 0 else energy
        reached, accepted = attempt(field, tables, rng, interface, allowed, allowed)
        counters[SWAPS] += 1
        counters[CHAIN_SWAPS] += 1
        counters[FAILURES] += 1
        if accepted:
            energy = reached
            counters[FAILURES] = 0
            counters[ACCEPTED] += 1
            counters[CHAIN_ACCEPTED] += 1
    return energy
