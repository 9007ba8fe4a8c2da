"""``mcrgen reconstruct --method annealing``: targets, run and errors of Yeong-Torquato annealing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._lightning import open_loggers
from mcrgen.commands._made import Made, error_summary, fraction_errors, weight
from mcrgen.commands._reconstruct_config import ReconstructConfig, descriptor_names
from mcrgen.commands._statistics import Statistics
from mcrgen.errors import StoppedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.plotting.convergence import Course
    from mcrgen.reconstruction.annealing import Annealing, Progress

_AXES = "zyx"
_CHUNK = 200_000


@dataclass(frozen=True)
class AnnealingGoal:
    """What a medium should be.

    Attributes:
        targets: name of a descriptor -> its values as of :class:`~mcrgen.reconstruction.energies.EnergyTerm`.
        fractions: fraction of each phase.
        phase: index of the phase of interest.
        voxel_size_um: edge length of a voxel, or None.
    """

    targets: dict[str, NDArray[np.float64]]
    fractions: tuple[float, ...]
    phase: int
    voxel_size_um: float | None

    @property
    def phases(self) -> tuple[int, ...]:
        """Those with targets: one of two, all of three and more."""
        return (self.phase,) if len(self.fractions) == 2 else tuple(range(len(self.fractions)))

    def towards(self, other: AnnealingGoal, share: float) -> AnnealingGoal:
        """A goal ``share`` of the way to another in the space of descriptors, for the lags that both have."""
        pairs = zip(self.fractions, other.fractions, strict=True)
        targets = {}
        for name, here in self.targets.items():
            there = other.targets[name]
            lags = min(here.shape[-1], there.shape[-1])
            targets[name] = (1.0 - share) * here[..., :lags] + share * there[..., :lags]
        return replace(
            self,
            targets=targets,
            fractions=tuple((1.0 - share) * a + share * b for a, b in pairs),
        )


def annealing_goal(config: ReconstructConfig, source: Exemplars | Statistics) -> AnnealingGoal:
    """Measure images, or read a table."""
    import numpy as np

    dimensions, limit = len(config.size), config.descriptors.lags
    if isinstance(source, Statistics):
        axes = _AXES[-dimensions:] if source.covers(dimensions) else "---"[:dimensions]
        curves = {name: [source.along(name, axis)[:limit] for axis in axes] for name in descriptor_names(config)}
        fractions = (1.0 - source.fraction, source.fraction) if source.phase else (source.fraction, 1.0 - source.fraction)
        targets = {name: np.array(values, np.float64)[None] for name, values in curves.items()}
        return AnnealingGoal(targets, fractions, source.phase, source.voxel_size_um)
    fractions = tuple(source.fractions.tolist())
    goal = AnnealingGoal({}, fractions, source.phases.phase, source.voxel_size_um)
    targets = {name: _of_sections(config, source, name, goal.phases) for name in descriptor_names(config)}
    return replace(goal, targets=targets)


def _of_sections(config: ReconstructConfig, exemplars: Exemplars, name: str, phases: Sequence[int]) -> NDArray[np.float64]:
    """A descriptor's targets in the medium from those of sections; an axis has the mean of the sections along it."""
    import numpy as np

    by_normal: dict[int, NDArray[np.float64]] = {}
    for normal, sections, symmetry in zip(exemplars.normals, exemplars.sections, exemplars.symmetries, strict=True):
        by_normal[normal] = _mean_over(config, exemplars, name, sections, symmetry.value)
        if len(config.size) == 2:
            return by_normal[normal]
    if name in ("s2", "lineal_path"):
        return np.stack([_along(by_normal, axis) for axis in range(3)], axis=1)
    anywhere = np.mean(list(by_normal.values()), axis=0)
    order = (2, 1, 0) if name == "s2_diagonal" else (0, 1, 2)  # pairs of axes z y, z x, y x: normal to x, y, z
    return np.concatenate([by_normal.get(normal, anywhere) for normal in order], axis=1)


def _mean_over(
    config: ReconstructConfig, exemplars: Exemplars, name: str, sections: Sequence[NDArray[np.uint8]], symmetry: str
) -> NDArray[np.float64]:
    """Mean over sections, turned in all ways of their symmetry, each with the weight of its pixels."""
    import numpy as np
    import torch

    from mcrgen.data.symmetry import ELEMENTS, Symmetry, turn
    from mcrgen.io.phases import indicators

    lags = lags_of(name, config, [section.shape for of_normal in exemplars.sections for section in of_normal])
    elements = ELEMENTS[Symmetry(symmetry)]
    found = []
    for section in sections:
        indicator = torch.from_numpy(indicators(section, exemplars.phases))[None]
        images = [turn(indicator, element) for element in elements]
        turned = [measure(name, image, lags, periodic=config.exemplar_periodic) for image in images]
        found.append(np.mean(turned, axis=0))
    mean: NDArray[np.float64] = np.average(found, axis=0, weights=[section.size for section in sections])
    return mean


def lags_of(name: str, config: ReconstructConfig, shapes: Sequence[tuple[int, ...]]) -> int:
    """Lags of a descriptor: the limit, or what still fits into the medium and the images."""
    from mcrgen.descriptors.polytopes import POLYTOPES, largest_edge

    limit, every = config.descriptors.lags, [config.size, *shapes]
    return min(limit, *(largest_edge(name, shape) + 1 for shape in every)) if name in POLYTOPES else limit


def _along(by_normal: dict[int, NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
    """Mean over the sections that hold an axis."""
    import numpy as np

    places = {normal: [a for a in range(3) if a != normal] for normal in by_normal}
    curves = [values[:, places[normal].index(axis)] for normal, values in by_normal.items() if normal != axis]
    mean: NDArray[np.float64] = np.mean(curves, axis=0)
    return mean


def measure(name: str, indicator: Tensor, lags: int, *, periodic: bool) -> NDArray[np.float64]:
    """A descriptor of one medium ``(1, C, *spatial)`` in the form of :class:`~mcrgen.reconstruction.energies.EnergyTerm`."""
    import torch

    from mcrgen.descriptors.lineal_path import lineal_path
    from mcrgen.descriptors.n_point import n_point_probability
    from mcrgen.descriptors.polytopes import polytope_function
    from mcrgen.descriptors.two_point import two_point_correlation
    from mcrgen.descriptors.two_point_map import two_point_map
    from mcrgen.reconstruction.energies import diagonals

    dimensions = indicator.ndim - 2
    if name in ("s2", "lineal_path"):
        curve = two_point_correlation if name == "s2" else lineal_path
        along = [curve(indicator, lags - 1, axis, periodic=periodic)[0] for axis in range(dimensions)]
        found = torch.stack(along, dim=1)
    elif name == "s2_diagonal":
        steps = [((0,) * dimensions, tuple(r * v for v in step)) for step in diagonals(dimensions) for r in range(lags)]
        found = n_point_probability(indicator, steps, periodic=periodic)[0]
        found = found.reshape(len(found), -1, lags)
    elif name == "s2_map":
        found = two_point_map(indicator.double(), lags - 1, periodic=periodic)[0]
    else:
        found = polytope_function(indicator, name, lags - 1, periodic=periodic)[0]
    values: NDArray[np.float64] = found.double().numpy()
    return values


def anneal(
    config: ReconstructConfig,
    goal: AnnealingGoal,
    seed: int,
    folder: Path,
    *,
    start: NDArray[np.uint8] | None = None,
    title: str,
) -> Made:
    """Run annealing in a folder, from its last state if there is one.

    Raises:
        StoppedError: stopped by Ctrl-C; the message says how to go on.
    """
    from mcrgen.reconstruction.annealing import Annealing
    from mcrgen.reconstruction.energies import Energy, EnergyTerm
    from mcrgen.reconstruction.random_medium import random_medium

    terms = [EnergyTerm(Energy(name), values, goal.phases, weight(config, name)) for name, values in goal.targets.items()]
    with console.status("preparing"):
        medium = random_medium(config.size, goal.fractions, seed) if start is None else start
        annealing = Annealing(terms, medium, config.annealing, seed=seed, periodic=config.periodic)
    course = _run(config, annealing, folder, title)
    end = annealing.progress
    why = _why(config, end, annealing.medium.size)
    console.print(f"{title}: {end.swaps} swaps, energy {end.energy:.3g} ({why})")
    labels = annealing.medium
    return Made(labels, _errors(config, goal, labels), end.energy, end.swaps, why, course, failed=False)


def _why(config: ReconstructConfig, end: Progress, voxels: int) -> str:
    if end.energy <= config.annealing.tolerance:
        return "the energy reached the tolerance"
    if end.swaps >= round(config.annealing.swaps * voxels):
        return "all swaps were done"
    return f"no swap was accepted in {config.annealing.patience:g} sweeps"


def _run(config: ReconstructConfig, annealing: Annealing, folder: Path, title: str) -> Course:
    """Swap until annealing ends, in pieces that a bar, a log and a saved state come between."""
    from mcrgen.plotting.convergence import Course

    state, course = folder / "last.npz", Course()
    if state.exists():
        course = _restore(annealing, state)
    voxels = annealing.medium.size
    if not course.steps:
        _note(course, annealing.progress, annealing)
    try:
        with open_loggers(config.logging, folder, configuration.to_plain(config)) as loggers, progress_bar() as bar:
            # Counted in sweeps, attempts per voxel as in the options: numbers of swaps take the width that the bar needs.
            task = bar.add_task(title, total=config.annealing.swaps, unit="sweep", status="")
            bar.update(task, completed=annealing.progress.swaps / voxels)
            while not annealing.progress.finished:
                now = annealing.run(_CHUNK)
                bar.update(task, completed=now.swaps / voxels, status=f"energy {now.energy:.3g}")
                for logger in loggers:
                    logger.log_metrics(_metrics(now), step=now.swaps)
                    logger.save()
                _note(course, now, annealing)
                _save(annealing, course, state)
            bar.update(task, total=annealing.progress.swaps / voxels)
    except KeyboardInterrupt as interrupt:
        raise StoppedError("stopped; go on with the same command and --resume.") from interrupt
    return course


def _metrics(now: Progress) -> dict[str, float]:
    return {
        "train/loss": now.energy,
        "train/temperature": now.temperature,
        "train/accepted": now.accepted / max(1, now.swaps),
    }


def _note(course: Course, now: Progress, annealing: Annealing) -> None:
    course.note(now.swaps, {"loss": now.energy})
    if course.due or now.finished:
        medium = annealing.medium
        middle = medium if medium.ndim == 2 else medium[len(medium) // 2]
        course.keep(middle / max(1, int(medium.max())))


def _save(annealing: Annealing, course: Course, path: Path) -> None:
    import numpy as np

    partial = path.with_suffix(".partial.npz")
    pictures = {f"picture_{step}": image for step, image in course.pictures.items()}
    kept = {"steps": np.array(course.steps), "energies": np.array(course.terms["loss"])}
    kept |= {f"state_{name}": np.asarray(value) for name, value in annealing.state().items()}
    np.savez_compressed(partial, **kept, **pictures)  # type: ignore[arg-type]
    os.replace(partial, path)


def _restore(annealing: Annealing, path: Path) -> Course:
    import numpy as np

    from mcrgen.plotting.convergence import Course

    with np.load(path) as kept:
        state: dict[str, Any] = {k.removeprefix("state_"): kept[k] for k in kept.files if k.startswith("state_")}
        annealing.restore({k: v if v.ndim else v.item() for k, v in state.items()})
        pictures = {int(k.removeprefix("picture_")): kept[k] for k in kept.files if k.startswith("picture_")}
        return Course(kept["steps"].tolist(), {"loss": kept["energies"].tolist()}, pictures)


def _errors(config: ReconstructConfig, goal: AnnealingGoal, labels: NDArray[np.uint8]) -> dict[str, Any]:
    """Relative errors of the finished medium's descriptors, |D - D*| / |D*|, and its phase fractions."""
    import numpy as np
    import torch

    from mcrgen.io.phases import Phases, indicators

    indicator = torch.from_numpy(indicators(labels, Phases(tuple(range(len(goal.fractions))), goal.phase)))[None]
    errors: dict[str, Any] = {}
    for name, wanted in goal.targets.items():
        lags = wanted.shape[-1] if name != "s2_map" else wanted.shape[-1] // 2 + 1
        found = measure(name, indicator, lags, periodic=config.periodic)
        errors[name] = error_summary({"all": float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))})
    return errors | fraction_errors(labels, goal.fractions)
