"""The race for a checkerboard of 64² pixels (figure 4 of He et al., Front. Phys. 13 (2025) 1684783).

    python scripts/reproduce_checkerboard_race.py --output DIR             a minute for each runner
    python scripts/reproduce_checkerboard_race.py --output DIR --quick     30 s for each: for two CPU cores

All runners begin with noise and look for a periodic medium like a board with squares of 8 pixels. The board that they measure
is four times as large, so that its edges, where it does not wrap around, count little. Each has a loss of its own, divided by
its value at the start; the time until that is at most 0.005 on the finest level is told (the levels before it are dashed). All
are judged alike by |S2 - S2*| / |S2*| over all lags of their black and white medium. The clock runs while the medium is worked
on; measuring the board before that, Gram matrices' network included, is told beside it.

Gram matrices of a network that pools are not the same for a board moved by a pixel: their error alone is then half of that of
noise. They are given little weight, so that S2 or S3 settles where the squares lie. DIR gets race.csv and .md, course.csv with
all times, race.png and the media.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from _reconstructions import Options, begin, configured
from _reproduction import report, run, show
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer

from mcrgen.commands._annealing import AnnealingGoal, annealing_goal
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._hardware import resolve_device
from mcrgen.commands._made import weight
from mcrgen.commands._reconstruct_config import Method, ReconstructConfig
from mcrgen.commands._reconstruction import labels_of, reconstruct
from mcrgen.commands._targets import Goal, goal_of_images
from mcrgen.data.lattices import checkerboard
from mcrgen.descriptors.compare import relative_l2
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.errors import InputError, require_positive
from mcrgen.plotting.curves import COLOURS
from mcrgen.reconstruction.annealing import Annealing
from mcrgen.reconstruction.energies import Energy, EnergyTerm
from mcrgen.reconstruction.levels import refined
from mcrgen.reconstruction.random_medium import random_medium

EDGE, SQUARE, EXEMPLAR = 64, 8, 256
REACHED = 5e-3
_COMMON = ("data.symmetry=none", "descriptors.limit=8", "optimization.max_steps=1000", "optimization.tolerance=0.002")
_LONG = (*_COMMON, "optimization.coarse_steps=200")  # coarse levels are left when they are done, in fewer steps mostly
_SHORT = (*_COMMON, "optimization.coarse_steps=60", "descriptors.weights.gram=0.01")
RUNNERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "S2": ("dmcr_sv", ("descriptors.names=[s2]", *_LONG)),
    "S2 + S3": ("dmcr_sv", ("descriptors.names=[s2,s3]", *_LONG)),
    "S2 + Gram": ("dmcr_sgv", ("descriptors.names=[s2,gram]", *_SHORT)),
    "S3 + Gram": ("dmcr_sgv", ("descriptors.names=[s3,gram]", *_SHORT)),
    "annealing, S2 along axes": ("yeong_torquato", ("descriptors.names=[s2]", "descriptors.limit=16")),
    "annealing, S2 map": ("yeong_torquato", ("descriptors.names=[s2-map]", "descriptors.limit=16")),
}
_SWEEP = EDGE**2


@dataclass(kw_only=True)
class Race(Options):
    """What to make and where."""

    seconds: float | None = None
    """Time that each runner has; 60, with --quick 30, if not given."""

    @property
    def most_seconds(self) -> float:
        """Time that each runner has."""
        return self.seconds if self.seconds is not None else 30.0 if self.quick else 60.0


@dataclass
class Log:
    """The course of a runner.

    Attributes:
        setup: seconds of measuring the board.
        seconds: at the start and after each step, or sweep of annealing.
        losses: at these times.
        levels: at these times; 0 is the finest.
        media: at these times.
    """

    setup: float = 0.0
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    media: list[NDArray[np.uint8]] = field(default_factory=list)

    def note(self, seconds: float, loss: float, level: int, medium: NDArray[np.uint8]) -> None:
        """Add one."""
        self.seconds.append(seconds)
        self.losses.append(loss)
        self.levels.append(level)
        self.media.append(medium)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Losses over that at the start."""
        return np.array(self.losses) / self.losses[0]

    @property
    def reached(self) -> float | None:
        """When the ratio was low enough on the finest level; None if never."""
        pairs = zip(self.seconds, self.ratios, self.levels, strict=True)
        return next((seconds for seconds, ratio, level in pairs if ratio <= REACHED and level == 0), None)

    def errors(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """|S2 - S2*| / |S2*| of the media."""
        return np.array([relative_l2(s2(medium), wanted) for medium in self.media])


def s2(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """S2 of phase 1 over all lags, periodic."""
    values: NDArray[np.float64] = two_point_map(torch.from_numpy(labels).double()[None, None], periodic=True)[0, 0].numpy()
    return values


class Clock(Callback):
    """Keeps the course of a reconstruction and ends it after some time; its own work does not count."""

    def __init__(self, log: Log, most_seconds: float, labels: Callable[[torch.Tensor], NDArray[np.uint8]]) -> None:
        self.course, self._most, self._labels = log, most_seconds, labels
        self._spent, self._since = 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The medium to start from."""
        self._keep(float(pl_module.evaluate({0: torch.arange(1)})), pl_module)  # type: ignore[operator]
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The medium after a step."""
        self._spent += time.perf_counter() - self._since
        self._keep(pl_module.loss, pl_module)  # type: ignore[arg-type]
        trainer.should_stop = trainer.should_stop or self._spent >= self._most
        self._since = time.perf_counter()

    def _keep(self, loss: float, task: Any) -> None:
        medium = task.medium.detach().cpu()
        for _ in range(task.level):
            medium = refined(medium)
        self.course.note(self._spent, loss, task.level, self._labels(medium))


def race_gradients(config: ReconstructConfig, goal: Goal, log: Log, most_seconds: float, folder: Path) -> None:
    """Run the differentiable reconstruction."""

    def labels(medium: torch.Tensor) -> NDArray[np.uint8]:
        return labels_of(medium, goal, None, periodic=config.periodic)

    device = resolve_device(config.optimization.device)
    clock = Clock(log, most_seconds, labels)
    reconstruct(config, goal, config.seed, folder, [clock], device, curves=False, start=None, title=folder.name)


def race_annealing(config: ReconstructConfig, goal: AnnealingGoal, log: Log, most_seconds: float) -> None:
    """Run annealing, a sweep at a time."""
    terms = [EnergyTerm(Energy(name), values, goal.phases, weight(config, name)) for name, values in goal.targets.items()]
    start = random_medium(config.size, goal.fractions, config.seed)
    Annealing(terms, start, config.annealing, seed=config.seed).run(1)  # compiles
    annealing, spent = Annealing(terms, start, config.annealing, seed=config.seed, periodic=config.periodic), 0.0
    log.note(0.0, annealing.progress.energy, 0, start)
    while spent < most_seconds and not annealing.progress.finished:
        since = time.perf_counter()
        now = annealing.run(_SWEEP)
        spent += time.perf_counter() - since
        log.note(spent, now.energy, 0, annealing.medium)


def race(options: Race, board: Path, name: str) -> Log:
    """Measure the board and run one of them."""
    recipe, own = RUNNERS[name]
    folder = options.output / name.replace(",", "").replace(" + ", "_").replace(" ", "_")
    folder.mkdir(exist_ok=True)
    config = configured(options, recipe, board, folder / "medium.npy", (EDGE, EDGE), *own)
    config.data.image = board
    log, start, exemplars = Log(), time.perf_counter(), read_exemplars(config.data)
    if config.method == Method.annealing:
        goal = annealing_goal(config, exemplars)
        log.setup = time.perf_counter() - start
        race_annealing(config, goal, log, options.most_seconds)
    else:
        aim = goal_of_images(config, exemplars)
        log.setup = time.perf_counter() - start
        race_gradients(config, aim, log, options.most_seconds, folder)
    np.save(folder / "medium.npy", log.media[-1])
    return log


def write_course(path: Path, logs: dict[str, Log], wanted: NDArray[np.float64]) -> None:
    """Every runner's times."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("runner", "seconds", "level", "loss", "loss / loss at the start", "S2 error"))
        for name, log in logs.items():
            columns = (log.seconds, log.levels, log.losses, log.ratios.tolist(), log.errors(wanted).tolist())
            writer.writerows((name, *row) for row in zip(*columns, strict=True))


def draw(path: Path, logs: dict[str, Log], board: NDArray[np.uint8], wanted: NDArray[np.float64]) -> None:
    """Both measures over time; below, the media."""
    figure = Figure(figsize=(13.5, 7.4), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(5.0, 2.3))
    left, right = above.subplots(1, 2, sharex=True)
    for (name, log), colour in zip(logs.items(), COLOURS, strict=False):
        draw_course(left, log, log.ratios, colour, name)
        draw_course(right, log, log.errors(wanted), colour, name)
    left.axhline(REACHED, color="0.4", ls=":", label=f"{REACHED:g}")
    left.set_ylabel("loss / loss at the start")
    right.set_ylabel("|S2 − S2*| / |S2*| over all lags")
    first = min(log.seconds[1] for log in logs.values())
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(left=max(first, 1e-3))
        axes.set_yscale("log")
        axes.set_xlabel("seconds")
        axes.grid(alpha=0.3)
    right.set_yscale("symlog", linthresh=1e-3)
    coarse = Line2D([], [], color="0.4", ls="--", label="coarser levels")
    handles = [*left.get_legend_handles_labels()[0], coarse]
    above.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    cells = below.subplots(1, 1 + len(logs), squeeze=False)[0]
    show(cells[0], board, "board", phases=2, phase=1)
    for axes, (name, log) in zip(cells[1:], logs.items(), strict=True):
        show(axes, log.media[-1], f"{name}\n{log.seconds[-1]:.1f} s", phases=2, phase=1)
    figure.savefig(path, dpi=140)


def draw_course(axes: Axes, log: Log, values: NDArray[np.float64], colour: str, name: str) -> None:
    """One line, dashed while the level is not the finest."""
    finest = np.array(log.levels) == 0
    begin_fine = int(np.argmax(finest)) if finest.any() else len(finest)
    axes.plot(log.seconds[: begin_fine + 1], values[: begin_fine + 1], "--", color=colour, lw=1.2)
    axes.plot(log.seconds[begin_fine:], values[begin_fine:], "-", color=colour, lw=1.8, label=name)


def main() -> None:
    options = tyro.cli(Race, description=__doc__)
    require_positive("seconds", options.most_seconds)
    if options.output.is_dir() and any(options.output.iterdir()):  # what is timed is not gone on with
        raise InputError(f"output: expected a new folder, '{options.output}' has files; choose another.")
    begin(options)
    file, board = options.output / "board.npy", checkerboard((EDGE, EDGE), SQUARE)
    np.save(file, checkerboard((EXEMPLAR, EXEMPLAR), SQUARE))
    wanted = s2(board)
    logs = {name: race(options, file, name) for name in RUNNERS}
    rows: list[dict[str, Any]] = [
        {
            "runner": name, "steps": len(log.seconds) - 1, "measuring, s": log.setup, "0.005 after, s": log.reached,
            "end, s": log.seconds[-1], "loss ratio": log.ratios[-1], "S2 error": log.errors(wanted)[-1],
        }
        for name, log in logs.items()
    ]  # fmt: skip
    formats = {"runner": "", "steps": "d", "measuring, s": ".1f", "0.005 after, s": ".2f", "end, s": ".1f", "loss ratio": ".2g"}
    report(options.output / "race", formats | {"S2 error": ".4f"}, rows)
    write_course(options.output / "course.csv", logs, wanted)
    draw(options.output / "race.png", logs, board, wanted)
    print(f"\nsteps of annealing are sweeps of {_SWEEP:,} attempts; figure: {options.output / 'race.png'}")


if __name__ == "__main__":
    run(main)
