"""One reconstruction: a task is run, and its medium becomes labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._hardware import Precision
from mcrgen.commands._lightning import open_trainer
from mcrgen.commands._made import Made, error_summary, fraction_errors, weight
from mcrgen.commands._reconstruct_config import ReconstructConfig, Slices, Variation, descriptor_names
from mcrgen.commands._targets import Goal, descriptor_parts
from mcrgen.errors import StoppedError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pytorch_lightning import Callback
    from torch import Tensor

    from mcrgen.plotting.convergence import Course
    from mcrgen.reconstruction.settings import ReconstructionSettings
    from mcrgen.tasks.reconstruction import ReconstructionTask

_MARGIN = 1e-6


def build_task(
    config: ReconstructConfig,
    goal: Goal,
    seed: int,
    *,
    curves: bool,
    device: torch.device,
    start: NDArray[np.uint8] | None = None,
) -> ReconstructionTask:
    """The task that reaches for a goal on a device; ``curves`` says that S2 is known along the axes only."""
    import torch

    from mcrgen.io.phases import Phases, indicators
    from mcrgen.tasks.reconstruction import Matched, ReconstructionTask

    parts = descriptor_parts(config, goal.channels, periodic=config.periodic, curves=curves, device=device)
    phases = Phases(tuple(range(len(goal.fractions))), goal.phase)
    return ReconstructionTask(
        _settings(config, goal, seed),
        {name: Matched(parts[name], goal.targets[name], weight(config, name)) for name in goal.targets},
        start=None if start is None else torch.from_numpy(indicators(start, phases)),
    )


def _settings(config: ReconstructConfig, goal: Goal, seed: int) -> ReconstructionSettings:
    from mcrgen.reconstruction.settings import ReconstructionSettings

    names, o = descriptor_names(config), config.optimization
    levels = len(next(iter(goal.targets.values()), [None]))
    minimised = "variation" in names and config.descriptors.variation == Variation.minimised
    return ReconstructionSettings(
        shape=tuple(config.size),
        channels=goal.channels,
        fractions=goal.channel_fractions,
        periodic=config.periodic,
        together=config.descriptors.slices == Slices.together,
        fraction_weight=weight(config, "phase_fraction") if "phase_fraction" in names else 0.0,
        sum_weight=config.descriptors.sum_weight,
        minimised_variation=weight(config, "variation") if minimised else 0.0,
        optimizer=o.optimizer.value,
        learning_rate=o.learning_rate,
        history=o.history,
        slices_per_normal=o.slices_per_normal,
        slices_per_batch=o.slices_per_batch,
        levels=levels,
        coarse_steps=o.coarse_steps,
        max_steps=steps_of(config, levels),
        tolerance=o.tolerance,
        patience=o.patience,
        seed=seed,
    )


def steps_of(config: ReconstructConfig, levels: int) -> int:
    """Most steps on all levels together."""
    return config.optimization.max_steps + (levels - 1) * config.optimization.coarse_steps


def optimise(
    config: ReconstructConfig,
    task: ReconstructionTask,
    folder: Path,
    extra: list[Callback],
    device: torch.device,
    *,
    title: str,
) -> tuple[str, Course, bool]:
    """Run a task in a folder, from its last checkpoint if there is one.

    Returns:
        Why it ended, how it went, and whether a signal came in its last step.

    Raises:
        StoppedError: stopped by a signal before; the message says how to go on.
    """
    from mcrgen.callbacks.convergence import Convergence
    from mcrgen.callbacks.progress import TrainingProgress
    from mcrgen.callbacks.resumable import Resumable

    convergence, last = Convergence(), folder / "last.ckpt"
    resumable = Resumable(last, every=config.record.checkpoint_every)
    with progress_bar() as progress:
        callbacks = [TrainingProgress(progress, "train/loss", title, average=False), *extra, convergence, resumable]
        steps = task.settings.max_steps
        with open_trainer(
            config, folder, callbacks, max_steps=steps, log_every=1, device=device, precision=Precision.fp32
        ) as trainer:
            trainer.fit(task, ckpt_path=last if last.exists() else None, weights_only=True)
    if resumable.stopped and not task.failed and task.done is None and trainer.global_step < trainer.max_steps:
        raise StoppedError(f"stopped at step {trainer.global_step}; go on with the same command and --resume.")
    trainer.save_checkpoint(last)
    why = task.done or ("the loss was no number" if task.failed else "all steps were done")
    console.print(f"{title}: {trainer.global_step} steps, loss {task.loss:.3g} ({why})")
    return why, convergence.course, resumable.stopped


def labels_of(medium: Tensor, goal: Goal, sigma: float | None, *, periodic: bool) -> NDArray[np.uint8]:
    """Phases of a finished medium, at the phase fractions that it is to have.

    A voxel that is exactly 0 or 1 stays what it is: what is left to decide is the grey ones. Else a medium that has come out
    black and white would lose a phase for a single voxel more than asked for, as all its voxels are equally near a threshold.

    Args:
        medium: ``(C, *spatial)`` in [0, 1].
        goal: what it should be.
        sigma: standard deviation of a Gaussian before the threshold is set (He, Ning, Zhang et al., Front. Phys. 13 (2025)
            1684783, section 4.1); None for none.
        periodic: whether the Gaussian wraps around.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    from mcrgen.generation.calibration import classify, solve_bias

    if sigma is not None:
        mode, widths = ("wrap" if periodic else "nearest"), [0.0] + [sigma] * (medium.ndim - 1)
        medium = torch.from_numpy(gaussian_filter(medium.numpy(), widths, mode=mode))
    scores = medium.reshape(len(medium), -1, *medium.shape[-2:])
    bias = solve_bias(scores.flatten(1).numpy(), goal.fractions if len(scores) > 1 else goal.channel_fractions)
    labels: NDArray[np.uint8] = classify(scores, _within_bounds(bias), goal.phase).numpy().reshape(medium.shape[1:])
    return labels


def _within_bounds(bias: Sequence[float]) -> tuple[float, ...]:
    """The bias that leaves voxels of 0 and 1 their phase: one threshold inside (0, 1), or differences below 1."""
    if len(bias) == 1:
        return (min(max(bias[0], -1.0 + _MARGIN), -_MARGIN),)
    middle, most = (min(bias) + max(bias)) / 2.0, 0.5 - _MARGIN
    return tuple(min(max(b - middle, -most), most) for b in bias)


def errors_of(labels: NDArray[np.uint8], config: ReconstructConfig, goal: Goal, *, curves: bool) -> dict[str, Any]:
    """Relative errors of the finished medium's descriptors, and of its phase fractions."""
    import torch

    from mcrgen.io.phases import Phases, indicators
    from mcrgen.losses.slice_matching import relative_error
    from mcrgen.reconstruction.sections import sections

    phases = Phases(tuple(range(len(goal.fractions))), goal.phase)
    medium = torch.from_numpy(indicators(labels, phases))
    errors, few = dict[str, Any](), config.optimization.slices_per_batch
    for name, descriptor in descriptor_parts(config, goal.channels, periodic=config.periodic, curves=curves).items():
        by_normal = {
            "zyx"[normal]: relative_error(descriptor, torch.split(sections(medium, normal), few), target)
            for normal, target in goal.targets[name][0].items()
        }
        errors[name] = error_summary(by_normal)
    return errors | fraction_errors(labels, goal.fractions)


def reconstruct(
    config: ReconstructConfig,
    goal: Goal,
    seed: int,
    folder: Path,
    callbacks: list[Callback],
    device: torch.device,
    *,
    curves: bool,
    start: NDArray[np.uint8] | None,
    title: str,
) -> Made:
    """Optimise a medium and give it phases; ``curves`` says that S2 is known along the axes only."""
    task = build_task(config, goal.to(device), seed, curves=curves, device=device, start=start)
    why, course, interrupted = optimise(config, task, folder, callbacks, device, title=title)
    labels = labels_of(task.medium.detach().cpu(), goal, config.smoothing, periodic=config.periodic)
    errors = errors_of(labels, config, goal, curves=curves)
    return Made(labels, errors, task.loss, len(course.steps), why, course, task.failed, interrupted)
