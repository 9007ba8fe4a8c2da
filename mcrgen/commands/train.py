"""``mcrgen train``: labelled images become a trained generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar, quiet_libraries
from mcrgen.commands._exemplars import Exemplars, read_exemplars, with_absolute_paths
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision
from mcrgen.commands._learning import build_data, build_task, example, monitor, own_fractions, record
from mcrgen.commands._lightning import make_trainer, open_loggers
from mcrgen.commands._train_checks import check_exemplars, check_numbers, find_resume_point
from mcrgen.commands._train_config import LAST, TrainConfig, WandbMode
from mcrgen.errors import InputError, StoppedError

if TYPE_CHECKING:
    import torch

    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.data.exemplar import Exemplar
    from mcrgen.tasks.swnn import SWNNTask

PRODUCTS = (
    "model.ckpt", "best.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "previews", "monitor", "log",
    "wandb",
)  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes:
        folder: the run folder.
        checkpoint: the calibrated model, for ``mcrgen generate``.
        phase_fractions: fractions the labels were calibrated for, one per phase; of a conditional generator, its default.
    """

    folder: Path
    checkpoint: Path
    phase_fractions: tuple[float, ...]


def run(config: TrainConfig) -> TrainResult:
    """Train, calibrate and save.

    Raises:
        InputError: bad input, before any work.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    check_numbers(config)
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    exemplars = read_exemplars(config.data)
    check_exemplars(config, exemplars)
    folder = (config.output or Path("runs") / exemplars.name).resolve()
    loss = replace(config.loss, vgg_weights=config.loss.vgg_weights and config.loss.vgg_weights.resolve())
    config = replace(config, output=folder, data=with_absolute_paths(config.data), loss=loss)
    resume_from = find_resume_point(config, folder, exemplars)
    with quiet_libraries():
        data = build_data(config, exemplars)
        task = build_task(config, exemplars, data)
        _prepare_folder(config, folder, exemplars, keep=resume_from is not None)
        task.record = record(config, exemplars)
        try:
            task.record["selected"] = _fit(config, folder, resume_from, data, task, exemplars, device, precision)
            return _finish(config, folder, task, exemplars, device)
        except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning turns a second Ctrl-C into SystemExit
            raise _stopped(folder, "stopped") from interrupt


def _prepare_folder(config: TrainConfig, folder: Path, exemplars: Exemplars, *, keep: bool) -> None:
    """Clear what an earlier run wrote (never anything else) and write configuration and provenance."""
    import shutil

    from mcrgen.io.provenance import provenance, write_json

    if not keep:
        for product in (folder / name for name in PRODUCTS):
            if product.is_dir():
                shutil.rmtree(product)
            else:
                product.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        configuration.save(replace(config, overwrite=False, resume=False), folder / "config.yaml")
    except OSError as error:
        raise InputError(f"output: cannot write to '{folder}' ({error.strerror}); choose another folder.") from error
    plain = configuration.to_plain(config)
    write_json(folder / "provenance.json", provenance("train", plain, exemplars.inputs))


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
    from mcrgen.callbacks.resumable import Resumable
    from mcrgen.callbacks.sample_images import SampleImages
    from mcrgen.commands._wandb import close

    monitoring, best = monitor(config, folder, exemplars), _best(config, folder)
    resumable = Resumable(folder / "last.ckpt", every=config.trainer.checkpoint_every)
    with progress_bar() as progress:
        previews = SampleImages(folder / "previews", example(exemplars), every=config.trainer.preview_every)
        callbacks = [TrainingProgress(progress, "train/loss"), previews, monitoring, best, resumable]
        trainer = make_trainer(
            open_loggers(config.logging, folder, configuration.to_plain(config)),
            [c for c in callbacks if c is not None],
            max_steps=config.trainer.max_steps,
            log_every=config.trainer.log_every,
            device=device,
            precision=precision,
        )
        try:
            trainer.fit(task, data, ckpt_path=resume_from, weights_only=True)
        finally:
            if config.logging.wandb != WandbMode.disabled:
                close()
    if resumable.stopped and trainer.global_step < config.trainer.max_steps:
        raise _stopped(folder, f"stopped at step {trainer.global_step} of {config.trainer.max_steps}")
    _check_finite(config, task)
    return _select(config, task, best)


def _best(config: TrainConfig, folder: Path) -> BestCheckpoint | None:
    """Keeps the step to take as the model; None if that is the last."""
    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.callbacks.metrics import PREFIX

    if config.monitor.every == 0 or config.monitor.select == LAST or not own_fractions(config.data):
        return None
    return BestCheckpoint(folder / "best.ckpt", PREFIX + config.monitor.select)


def _check_finite(config: TrainConfig, task: SWNNTask) -> None:
    import torch

    if not all(torch.isfinite(p).all() for p in task.network.parameters()):
        raise InputError(
            f"optimizer.learning_rate: training diverged to NaN at {config.optimizer.learning_rate}; try a smaller one."
        )


def _select(config: TrainConfig, task: SWNNTask, best: BestCheckpoint | None) -> dict[str, Any]:
    """Put the weights of the selected step into the task and say which one it is."""
    from mcrgen.io.checkpoints import read_checkpoint

    steps = config.trainer.max_steps
    if best is None or best.best_model_score is None:
        return {"step": steps, "metric": LAST, "value": None}
    checkpoint = read_checkpoint(Path(best.path), "resume")
    task.load_state_dict(checkpoint["state_dict"])
    step, metric, value = checkpoint["global_step"], config.monitor.select, float(best.best_model_score)
    console.print(f"selected: step {step} of {steps}, {metric} {value:.3g}")
    return {"step": step, "metric": metric, "value": value}


def _stopped(folder: Path, what: str) -> StoppedError:
    """How to go on with a run that was interrupted."""
    return StoppedError(f"{what}; go on with `mcrgen train --config {folder / 'config.yaml'} --resume`.")


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
