"""Reconstruction by simulated annealing after Yeong and Torquato."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError, require_positive, require_seed
from mcrgen.reconstruction._tables import NOTHING, make_field, make_tables, window
from mcrgen.reconstruction.energies import EnergyTerm, groups_of
from mcrgen.reconstruction.schedule import Schedule

_PROBES = 1000


@dataclass(frozen=True)
class Progress:
    """Where annealing stands.

    Attributes:
        energy: weighted sum of the relative squared deviations of the descriptors.
        temperature: of the chain at hand.
        swaps: attempted so far.
        accepted: of them.
        finished: whether the energy has reached the tolerance, or the swaps or the patience are used up.
    """

    energy: float
    temperature: float
    swaps: int
    accepted: int
    finished: bool


class Annealing:
    """Swaps voxels of different phases until descriptors of a medium match their targets.

    Yeong, Torquato, Phys. Rev. E 57 (1998) 495 and 58 (1998) 224. Numbers of pairs, segments and polytopes follow every swap as
    integers, so that nothing drifts; the energy is a function of them alone. A swap is left as soon as the part of the energy
    counted so far exceeds what the temperature allows, which changes no decision. Deviations from the papers: deviations are
    relative to the targets, so that weights compare between descriptors, and see
    :class:`~mcrgen.reconstruction.schedule.Schedule`.
    """

    def __init__(
        self, terms: Sequence[EnergyTerm], medium: NDArray[np.uint8], schedule: Schedule, *, seed: int, periodic: bool = True
    ) -> None:
        """Count the starting medium and find the first temperature.

        Args:
            terms: descriptors with their targets.
            medium: labels 0..n-1 to start from, 2D or 3D; each phase keeps its number of voxels. Left untouched.
            schedule: acceptance, cooling and end.
            seed: seed of the swaps.
            periodic: whether the medium repeats at its faces, the default because no voxel is near a wall then and targets of
                all lags are reached by as many pairs; otherwise only what lies inside is counted.

        Raises:
            InputError: no term, targets that do not suit the medium, labels that are no labels, or fewer than two phases.
        """
        require_seed(seed)
        _require_medium(medium)
        if not terms:
            raise InputError("terms: expected at least one descriptor to match, got none; add a term.")
        phases = int(medium.max()) + 1
        wrong = [phase for term in terms for phase in term.phases if not 0 <= phase < phases]
        if wrong:
            raise InputError(f"phases: expected labels 0 to {phases - 1} of the medium, got {wrong[0]}.")
        self.schedule = schedule
        self._groups = [group for term in terms for group in groups_of(term, medium.shape)]
        self._shape, self._phases, self._periodic = medium.shape, phases, periodic
        self._rng = _splitmix(seed)
        self._counters = np.zeros(5, np.int64)
        self._limits = _limits(schedule, medium.size)
        self._temperature = 0.0
        self._load(medium)
        self._temperature = schedule.first_temperature(self._probe())

    @property
    def medium(self) -> NDArray[np.uint8]:
        """A copy of the labels as they stand."""
        return window(self._field).reshape(self._shape).copy()

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        swaps, accepted, _ = self._counters[:3].tolist()
        energy = float(self._tables.energies.cumsum()[-1])
        finished = energy <= self.schedule.tolerance or bool((self._counters >= self._limits)[:3].any())
        return Progress(energy, self._temperature, swaps, accepted, finished)

    def run(self, swaps: int) -> Progress:
        """Attempt so many swaps more, or fewer where annealing ends; the result does not depend on how a run is divided.

        The interpreter's lock is free meanwhile; Ctrl-C is heard where a chain or the call ends, and leaves a
        state to go on from.

        Raises:
            InputError: ``swaps`` is not positive.
        """
        from mcrgen.reconstruction._swaps import run_swaps

        require_positive("swaps", swaps)
        schedule, counters, limits = self.schedule, self._counters, self._limits.copy()
        last = limits[0] = min(int(counters[0]) + swaps, int(limits[0]))
        rules = float(schedule.interface), schedule.metropolis, float(schedule.tolerance)
        while counters[0] < last and not self.progress.finished:
            if (counters[3:] >= limits[3:]).any():
                self._cool()
            run_swaps(self._field, self._tables, self._rng, counters, limits, self._temperature, *rules)
        return self.progress

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on bit for bit: NumPy arrays of plain integers, and a number."""
        return {
            "shape": np.array(self._shape),
            "voxels": self._window_places(self._field.voxels),
            "starts": self._field.starts.copy(),
            "rng": self._rng.view(np.int64).copy(),
            "counters": self._counters.copy(),
            "temperature": self._temperature,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state of annealing with the same terms; counts are counted anew.

        Raises:
            InputError: the state is of a medium of another size or of other phase fractions.
        """
        starts, voxels, shape = (np.asarray(state[name]) for name in ("starts", "voxels", "shape"))
        if not np.array_equal(shape, self._shape):
            raise InputError(f"state: expected a medium of {self._shape}, got {tuple(shape.tolist())}.")
        if not np.array_equal(starts, self._field.starts):
            raise InputError(f"state: expected phases of {np.diff(self._field.starts)} voxels, got {np.diff(starts)}.")
        medium = np.empty(voxels.size, np.uint8)
        medium[voxels] = np.repeat(np.arange(self._phases, dtype=np.uint8), np.diff(starts))
        self._load(medium.reshape(self._shape))
        # The table of the labels' voxels is in order of place now, and was in order of the swaps.
        padded = np.empty(voxels.size, np.int32)
        padded[self._window_places(self._field.voxels)] = self._field.voxels
        self._field.voxels[:] = padded[voxels]
        self._rng[:] = np.asarray(state["rng"]).view(np.uint64)
        self._counters[:] = state["counters"]
        self._temperature = float(state["temperature"])

    def _load(self, medium: NDArray[np.uint8]) -> None:
        from mcrgen.reconstruction._swaps import fill_energies

        self._field = make_field(medium, self._phases, self._groups, periodic=self._periodic)
        self._tables = make_tables(self._field, self._groups)
        fill_energies(self._tables)

    def _probe(self) -> NDArray[np.float64]:
        """Changes of the energy by random swaps, each from the present medium."""
        from mcrgen.reconstruction._swaps import attempt

        energy, interface = self.progress.energy, float(self.schedule.interface)
        rest = self._field, self._tables, self._rng, interface, math.inf, -math.inf
        return np.array([attempt(*rest)[0] - energy for _ in range(_PROBES)])

    def _cool(self) -> None:
        attempts, accepted = self._counters[3:].tolist()
        done = float(self._counters[0] / self._limits[0])
        self._temperature = self.schedule.next_temperature(self._temperature, accepted / attempts, done)
        self._counters[3:] = 0

    def _window_places(self, places: NDArray[np.int32]) -> NDArray[np.int64]:
        """Flat positions in the medium from those in the labels with margins."""
        index = np.unravel_index(places, tuple(self._field.padded.tolist()))
        inside = tuple(i - m for i, m in zip(index, self._field.margin, strict=True))
        return np.asarray(np.ravel_multi_index(inside, tuple(self._field.shape.tolist())), np.int64)


def _require_medium(medium: NDArray[np.uint8]) -> None:
    if medium.dtype != np.uint8 or medium.ndim not in (2, 3) or min(medium.shape) < 2:
        raise InputError(f"medium: expected uint8 labels in 2D or 3D, got {medium.dtype} of the shape {medium.shape}.")
    if int(medium.max()) >= NOTHING:
        raise InputError(f"medium: expected labels below {NOTHING}, got {medium.max()}; number the phases 0, 1, 2, ...")
    if medium.min() == medium.max():
        raise InputError(f"medium: expected two phases or more, got label {medium.max()} only; there is nothing to swap.")


def _limits(schedule: Schedule, voxels: int) -> NDArray[np.int64]:
    """What the counters may reach: attempts, accepted (no limit), rejections in a row, and the first two of a chain."""
    per_voxel = [schedule.swaps, 2 * schedule.swaps, schedule.patience, schedule.chain, schedule.chain_accepted]
    return np.array([max(1, round(n * voxels)) for n in per_voxel], np.int64)


def _splitmix(seed: int) -> NDArray[np.uint64]:
    """State of a xoshiro generator from a seed (Steele, Lea, Flood, OOPSLA 2014)."""
    words, mask = [], (1 << 64) - 1
    for k in range(1, 5):
        z = (seed + k * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        words.append(z ^ (z >> 31))
    return np.array(words, np.uint64)
