"""The fit of a training run, and the step whose weights become the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import console
from mcrgen.commands._hardware import Precision
from mcrgen.commands._lightning import open_trainer
from mcrgen.commands._run_folder import AnyTraining, stopped
from mcrgen.commands._train_config import LAST

if TYPE_CHECKING:
    import torch
    from pytorch_lightning import Callback, LightningDataModule

    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.tasks.base import Task


def fit(
    config: AnyTraining,
    folder: Path,
    task: Task,
    data: LightningDataModule,
    callbacks: Sequence[Callback | None],
    *,
    resume_from: Path | None,
    device: torch.device,
    precision: Precision,
) -> None:
    """Train a task in a run folder to its last step, or until it fails; its state is kept there every now and then.

    Args:
        config: the options.
        folder: the run folder.
        task: what is trained.
        data: what it learns from.
        callbacks: what else is done while training; None for one that is turned off.
        resume_from: the checkpoint to go on from, or None.
        device: where to train.
        precision: arithmetic of the training.

    Raises:
        StoppedError: stopped by a signal; the message says how to go on.
    """
    from mcrgen.callbacks.resumable import Resumable

    settings = config.trainer
    resumable = Resumable(folder / "last.ckpt", every=settings.checkpoint_every)
    all_callbacks = [*(callback for callback in callbacks if callback is not None), resumable]
    steps, log_every = settings.max_steps, settings.log_every
    with open_trainer(
        config, folder, all_callbacks, max_steps=steps, log_every=log_every, device=device, precision=precision
    ) as trainer:
        trainer.fit(task, data, ckpt_path=resume_from, weights_only=True)
    if resumable.stopped and not task.failed and trainer.global_step < steps:
        raise stopped(folder, f"stopped at step {trainer.global_step} of {steps}")


def best_checkpoint(config: AnyTraining, folder: Path) -> BestCheckpoint | None:
    """Keeps the step with the least of a monitored error; None if the last step is to be the model."""
    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.callbacks.metrics import PREFIX

    if config.monitor.every == 0 or config.monitor.select == LAST:
        return None
    return BestCheckpoint(folder / "best.ckpt", PREFIX + config.monitor.select)


def select(task: Task, best: BestCheckpoint | None, metric: str, steps: int) -> dict[str, Any]:
    """Put the weights of the selected step, or of the last one if none is, into the task and say which one it is."""
    from mcrgen.io.checkpoints import read_checkpoint

    if best is None or best.best_model_score is None:
        return {"step": steps, "metric": LAST, "value": None}
    checkpoint = read_checkpoint(Path(best.path), "resume")
    task.load_state_dict(checkpoint["state_dict"])
    step, value = checkpoint["global_step"], float(best.best_model_score)
    console.print(f"selected: step {step} of {steps}, {metric} {value:.3g}")
    return {"step": step, "metric": metric, "value": value}
