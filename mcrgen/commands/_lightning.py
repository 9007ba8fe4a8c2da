"""Trainer and loggers of the commands that optimise something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._hardware import Precision
from mcrgen.commands._train_config import LoggingConfig, WandbMode

if TYPE_CHECKING:
    import torch
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger


def make_trainer(
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    *,
    max_steps: int,
    log_every: int,
    device: torch.device,
    precision: Precision,
) -> Trainer:
    """A trainer for one device, whose checkpoints appear complete or not at all."""
    from pytorch_lightning import Trainer

    from mcrgen.callbacks.checkpoint_io import AtomicCheckpointIO

    plugin = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed", Precision.fp16: "16-mixed"}[precision]
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=plugin,  # type: ignore[arg-type]
        max_steps=max_steps,
        max_epochs=-1,
        logger=list(loggers),
        callbacks=list(callbacks),
        plugins=AtomicCheckpointIO(),
        log_every_n_steps=log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def open_loggers(logging: LoggingConfig, folder: Path, config: Mapping[str, Any]) -> list[Logger]:
    """CSV always; Weights & Biases unless disabled."""
    from pytorch_lightning.loggers import CSVLogger

    from mcrgen.commands._wandb import open_logger

    loggers: list[Logger] = [CSVLogger(folder, name="log")]
    if logging.wandb != WandbMode.disabled:
        loggers.append(open_logger(logging.wandb, logging.project, folder, dict(config)))
    return loggers
