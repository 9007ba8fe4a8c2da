"""How annealing cools: the known schedules and their settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError, require_fraction, require_positive


class Rule(StrEnum):
    """Which swaps are accepted, and how the temperature T goes down.

    ``geometric``: Metropolis, T times a factor after each chain (Yeong, Torquato, Phys. Rev. E 57 (1998) 495). ``threshold``:
    the same with every change below T accepted (Dueck, Scheuer, J. Comput. Phys. 90 (1990) 161). ``lam``: Metropolis with T
    led along a rate of acceptance, 0.44 through the middle half of the run (Lam, Delosme 1988, as simplified by Swartz and
    Boyan). ``quench``: T = 0.
    """

    geometric = "geometric"
    threshold = "threshold"
    lam = "lam"
    quench = "quench"


@dataclass(frozen=True)
class Schedule:
    """Settings of annealing.

    Attributes:
        rule: acceptance and cooling. geometric: Metropolis, the temperature times the factor after each chain; threshold: the
            same, but every rise below the temperature is accepted; lam: Metropolis along a planned rate of acceptance; quench:
            no rise is accepted.
        acceptance: part of the swaps that raise the energy which is accepted at the start; sets the first temperature.
        factor: of the temperature from one chain to the next; with the rule lam to the power of the relative deviation from the
            rate of acceptance aimed at, 10 at most.
        chain: attempted swaps per voxel after which a chain ends.
        chain_accepted: accepted swaps per voxel after which it ends before.
        interface: part of the attempts that draw both voxels at interfaces (voxels with a face neighbour of another phase)
            instead of anywhere. A swap can take a voxel away from all interfaces, so that its reverse cannot be drawn and the
            numbers of candidates differ: there is no detailed balance then and no Boltzmann distribution at T > 0, only a
            minimiser that wastes fewer attempts.
        swaps: attempts per voxel after which annealing ends; the rule lam is planned for that many.
        patience: rejected swaps in a row, per voxel, after which it ends.
        tolerance: energy at or below which it ends.
    """

    rule: Rule = Rule.geometric
    acceptance: float = 0.5
    factor: float = 0.98
    chain: float = 1.0
    chain_accepted: float = 0.5
    interface: float = 0.5
    swaps: float = 500.0
    patience: float = 10.0
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InputError: one is out of its range.
        """
        require_fraction("acceptance", self.acceptance)
        if not 0 < self.factor < 1:
            raise InputError(f"factor: expected a number between 0 and 1 (exclusive), got {self.factor}.")
        if not 0 <= self.interface <= 1:
            raise InputError(f"interface: expected a part from 0 to 1, got {self.interface}.")
        for name in ("chain", "chain_accepted", "swaps", "patience"):
            require_positive(name, getattr(self, name))
        if not self.tolerance >= 0:
            raise InputError(f"tolerance: expected an energy of 0 or more, got {self.tolerance}.")

    @property
    def metropolis(self) -> bool:
        """Whether a rise of the energy is accepted with probability exp(-rise / T) instead of up to T."""
        return self.rule is not Rule.threshold

    def first_temperature(self, changes: NDArray[np.floating[Any]]) -> float:
        """Temperature at which the rises among these changes of the energy are accepted at the rate ``acceptance``."""
        rises = changes[changes > 0]
        if self.rule is Rule.quench or not len(rises):
            return 0.0
        if self.rule is Rule.threshold:
            return float(np.quantile(rises, self.acceptance))
        low, high = 0.0, float(rises.max()) / -math.log(self.acceptance)
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if np.exp(-rises / middle).mean() > self.acceptance else (middle, high)
        return high

    def next_temperature(self, temperature: float, accepted: float, done: float) -> float:
        """Temperature of the next chain, after the accepted part of this one's attempts and the done part of all of them."""
        power = min(10.0, accepted / lam_rate(done) - 1) if self.rule is Rule.lam else 1.0
        return temperature * math.pow(self.factor, power)


def lam_rate(done: float) -> float:
    """Rate of acceptance that Lam's schedule aims at after a part of the run."""
    if done < 0.15:
        return 0.44 + 0.56 * math.pow(560.0, -done / 0.15)
    return 0.44 * math.pow(440.0, -max(0.0, done - 0.65) / 0.35)
