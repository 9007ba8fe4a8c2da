"""``mcrgen train``: labelled images become a trained generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import console, progress_bar, quiet_libraries
from mcrgen.commands._exemplars import Exemplars, read_exemplars, with_absolute_paths
from mcrgen.commands._fitting import best_checkpoint, fit, select
from mcrgen.commands._gan_config import GanConfig
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision
from mcrgen.commands._learning import build_data, build_task, example, monitor, own_fractions, record
from mcrgen.commands._run_folder import TrainResult, files_record, find_resume_point, prepare_folder, stopped
from mcrgen.commands._train_checks import check_exemplars, check_numbers
from mcrgen.commands._train_config import TrainConfig
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import torch

    from mcrgen.data.exemplar import Exemplar
    from mcrgen.tasks.swnn import SWNNTask


def run(config: TrainConfig | GanConfig) -> TrainResult:
    """Train, calibrate and save.

    Raises:
        InputError: bad input, before any work.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    if isinstance(config, TrainConfig):
        return _train_swnn(config)
    from mcrgen.commands._adversarial import train_gan

    return train_gan(config)


def _train_swnn(config: TrainConfig) -> TrainResult:
    check_numbers(config)
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    exemplars = read_exemplars(config.data)
    check_exemplars(config, exemplars)
    folder = (config.output or Path("runs") / exemplars.name).resolve()
    loss = replace(config.loss, vgg_weights=config.loss.vgg_weights and config.loss.vgg_weights.resolve())
    config = replace(config, output=folder, data=with_absolute_paths(config.data), loss=loss)
    shapes = [labels.shape for labels in exemplars.media]
    resume_from = find_resume_point(config, folder, lambda: files_record(exemplars.files, shapes))
    with quiet_libraries():
        data = build_data(config, exemplars)
        task = build_task(config, exemplars, data)
        prepare_folder(config, folder, exemplars.inputs, keep=resume_from is not None)
        task.record = record(config, exemplars)
        try:
            task.record["selected"] = _fit(config, folder, resume_from, data, task, exemplars, device, precision)
            return _finish(config, folder, task, exemplars, device)
        except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning turns a second Ctrl-C into SystemExit
            raise stopped(folder, "stopped") from interrupt


def _fit(
    config: TrainConfig,
    folder: Path,
    resume_from: Path | None,
    data: Exemplar,
    task: SWNNTask,
    exemplars: Exemplars,
    device: torch.device,
    precision: Precision,
) -> dict[str, Any]:
    """Train, and leave the weights of the selected step in the task; which one it was is returned."""
    from mcrgen.callbacks.progress import TrainingProgress
    from mcrgen.callbacks.sample_images import SampleImages

    best = best_checkpoint(config, folder) if own_fractions(config.data) else None
    with progress_bar() as progress:
        callbacks = [
            TrainingProgress(progress, "train/loss"),
            SampleImages(folder / "previews", example(exemplars), every=config.trainer.preview_every),
            monitor(config, folder, exemplars),
            best,
        ]
        fit(config, folder, task, data, callbacks, resume_from=resume_from, device=device, precision=precision)
    _check_finite(config, task)
    return select(task, best, config.monitor.select, config.trainer.max_steps)


def _check_finite(config: TrainConfig, task: SWNNTask) -> None:
    import torch

    if not all(torch.isfinite(p).all() for p in task.network.parameters()):
        raise InputError(
            f"optimizer.learning_rate: training diverged to NaN at {config.optimizer.learning_rate}; try a smaller one."
        )


def _finish(config: TrainConfig, folder: Path, task: SWNNTask, exemplars: Exemplars, device: torch.device) -> TrainResult:
    """Calibrate the trained network, save it, and show it."""
    from mcrgen.commands._finishing import calibrate_task, preview

    checkpoint, precision = folder / "model.ckpt", resolve_precision(Precision.auto, device)
    task.network.to(device)
    fractions = calibrate_task(config, task, exemplars, precision)
    task.trainer.save_checkpoint(checkpoint, weights_only=True)
    preview(folder / "preview.png", config, task, exemplars, precision)
    console.print(f"trained: {checkpoint}")
    return TrainResult(folder, checkpoint, fractions)
