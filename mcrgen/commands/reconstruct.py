"""``mcrgen reconstruct``: a medium from the descriptors of images, or of tables."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mcrgen import config as configuration
from mcrgen.commands._annealing import AnnealingGoal, anneal, annealing_goal
from mcrgen.commands._compiling import compile_kernels
from mcrgen.commands._console import console, quiet_libraries
from mcrgen.commands._hardware import resolve_device
from mcrgen.commands._learning import example
from mcrgen.commands._made import Made
from mcrgen.commands._reconstruct_checks import check_options
from mcrgen.commands._reconstruct_config import USUAL_WINDOW, Method, ReconstructConfig
from mcrgen.commands._reconstruct_record import tell_media, write_medium
from mcrgen.commands._reconstruct_sources import (
    OPTIONS,
    Source,
    output_files,
    read_sources,
    read_start,
    require_files,
    require_output,
    working_folder,
)
from mcrgen.commands._reconstruction import reconstruct
from mcrgen.commands._statistics import Statistics
from mcrgen.commands._targets import Goal, goal_of_images, goal_of_table
from mcrgen.errors import InputError, StoppedError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pytorch_lightning import Callback


@dataclass(frozen=True)
class ReconstructResult:
    """What was made.

    Attributes:
        outputs: the media.
        errors: of each, by descriptor.
        ended: why the search for each ended.
    """

    outputs: tuple[Path, ...]
    errors: tuple[dict[str, Any], ...]
    ended: tuple[str, ...]


def run(config: ReconstructConfig) -> ReconstructResult:
    """Optimise a medium until its slices have the descriptors of the source, and write it.

    Beside the output OUT are left ``OUT.json`` (options, provenance, errors of the descriptors) and the folder
    ``OUT.reconstruction`` with the log, the last checkpoint, pictures and ``convergence.png``.

    Raises:
        InputError: bad input, before any work; or the loss was no number: the last good medium is written all the same.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    require_files(config)
    check_options(config)
    device = resolve_device(config.optimization.device)
    configs, sources = read_sources(config)
    outputs, start = output_files(config), read_start(config, sources[0])
    for output in outputs:
        require_output(config, sources, output)
    with quiet_libraries():
        try:
            return _reconstruct(configs, sources, outputs, device, start)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            raise StoppedError("stopped; go on with the same command and --resume.") from interrupt


def _reconstruct(
    configs: Sequence[ReconstructConfig],
    sources: Sequence[Source],
    outputs: Sequence[Path],
    device: torch.device,
    start: NDArray[np.uint8] | None,
) -> ReconstructResult:
    compile_kernels(configs[0], device)
    with console.status("measuring the source"):
        goals = [_goal(config, source) for config, source in zip(configs, sources, strict=True)]
    errors, ended = [], []
    for number, output in enumerate(outputs):
        place = number * (len(goals) - 1) / max(1, len(outputs) - 1)
        before = min(int(place), max(0, len(goals) - 2))
        goal = goals[0] if len(goals) == 1 else _between(goals[before], goals[before + 1], place - before)
        made = _one(configs[0], sources, sources[round(place)], goal, output, device, start)
        errors.append(made.errors)
        ended.append(made.why)
        if made.interrupted and output != outputs[-1]:
            raise StoppedError(f"stopped when '{output}' was written; go on with the same command and --resume.")
    if len(outputs) > 1:
        tell_media(outputs)
    return ReconstructResult(tuple(outputs), tuple(errors), tuple(ended))


def _between(first: Goal | AnnealingGoal, second: Goal | AnnealingGoal, share: float) -> Goal | AnnealingGoal:
    if isinstance(first, AnnealingGoal):  # all goals of a run are of its one method
        return first.towards(cast("AnnealingGoal", second), share)
    return first.towards(cast("Goal", second), share)


def _goal(config: ReconstructConfig, source: Source) -> Goal | AnnealingGoal:
    if config.method == Method.annealing:
        return annealing_goal(config, source)
    return goal_of_table(config, source) if isinstance(source, Statistics) else goal_of_images(config, source)


def _one(
    config: ReconstructConfig,
    sources: Sequence[Source],
    nearest: Source,
    goal: Goal | AnnealingGoal,
    output: Path,
    device: torch.device,
    start: NDArray[np.uint8] | None,
) -> Made:
    """Reconstruct one medium, several times if asked to, and write the best; pictures show it beside the nearest source.

    Raises:
        InputError: the loss was no number.
        StoppedError: a signal came in the last step of a run that others were to follow.
    """
    folder, curves = working_folder(output), isinstance(nearest, Statistics)
    _prepare(config, folder)
    made: list[Made] = []
    restarts = config.optimization.restarts
    for restart in range(restarts):
        own = folder if restarts == 1 else folder / f"run_{restart + 1}"
        title = _title(config, output, restart + 1)
        own.mkdir(parents=True, exist_ok=True)
        seed = config.seed + restart
        if isinstance(goal, AnnealingGoal):
            made.append(anneal(config, goal, seed, own, start=start, title=title))
        else:
            callbacks = _callbacks(config, own, nearest, goal)
            made.append(reconstruct(config, goal, seed, own, callbacks, device, curves=curves, start=start, title=title))
        if made[-1].interrupted and restart + 1 < restarts:
            raise StoppedError(f"stopped after run {restart + 1} of {restarts}; go on with the same command and --resume.")
    best = min(made, key=lambda one: (one.failed, one.loss))
    write_medium(config, sources, goal.voxel_size_um, best, output)
    if best.failed:
        raise InputError(
            f"descriptors.weights: the loss was no number after step {best.steps}; the last good medium is in '{output}'. Try "
            "smaller weights or another learning rate."
        )
    return replace(best, interrupted=made[-1].interrupted)


def _title(config: ReconstructConfig, output: Path, run: int) -> str:
    """What tells a run from the others of a command."""
    parts = [output.stem] if config.interpolate else []
    if config.optimization.restarts > 1:
        parts.append(f"run {run}")
    return ", ".join(parts) or "reconstructing"


def _prepare(config: ReconstructConfig, folder: Path) -> None:
    """Clear what an earlier run left, or check that it was this one.

    Raises:
        InputError: the run to go on with had other options.
    """
    plain, saved = replace(config, resume=False, overwrite=False), folder / OPTIONS
    if config.resume and saved.exists():
        before = configuration.to_plain(configuration.load(ReconstructConfig, saved))
        changed = [key for key in configuration.differences(plain, before) if not key.startswith(_FREE_ON_RESUME)]
        if changed:
            differ = "differs" if len(changed) == 1 else "differ"
            raise InputError(
                f"resume: {', '.join(changed)} {differ} from the run in '{folder}'; give the same options or another output."
            )
        return
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    configuration.save(plain, saved)


_FREE_ON_RESUME = ("logging.", "record.", "optimization.device", "smoothing")


def _callbacks(config: ReconstructConfig, folder: Path, source: Source, goal: Goal) -> list[Callback]:
    """Pictures, and the monitor if there is an image to compare with."""
    from mcrgen.callbacks.sample_images import SampleImages
    from mcrgen.commands._learning import make_monitor

    if isinstance(source, Statistics):
        return []
    callbacks: list[Callback] = [SampleImages(folder / "previews", example(source), every=config.record.preview_every)]
    if config.record.monitor_every:
        window = config.record.monitor_size or min(USUAL_WINDOW, *config.size)
        callbacks.append(
            make_monitor(
                source, folder / "monitor", goal.fractions, every=config.record.monitor_every, samples=_WINDOWS, size=window,
                max_lag=window // 2,
            )
        )  # fmt: skip
    return callbacks


_WINDOWS = 8
