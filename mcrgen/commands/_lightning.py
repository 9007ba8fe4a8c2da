"""Trainer and loggers of the commands that optimise something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._hardware import Precision
from mcrgen.commands._train_config import LoggingConfig, WandbMode

if TYPE_CHECKING:
    import torch
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger

    from mcrgen.commands._gan_config import GanConfig
    from mcrgen.commands._reconstruct_config import ReconstructConfig
    from mcrgen.commands._train_config import TrainConfig


@contextmanager
def open_trainer(
    config: TrainConfig | GanConfig | ReconstructConfig,
    folder: Path,
    callbacks: Sequence[Callback],
    *,
    max_steps: int,
    log_every: int,
    device: torch.device,
    precision: Precision,
) -> Iterator[Trainer]:
    """A trainer for one device that logs into a folder, whose checkpoints appear complete or not at all."""
    from pytorch_lightning import Trainer

    from mcrgen.callbacks.checkpoint_io import AtomicCheckpointIO

    plugin = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed", Precision.fp16: "16-mixed"}[precision]
    with open_loggers(config.logging, folder, configuration.to_plain(config)) as loggers:
        yield Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=plugin,  # type: ignore[arg-type]
            max_steps=max_steps,
            max_epochs=-1,
            logger=loggers,
            callbacks=list(callbacks),
            plugins=AtomicCheckpointIO(),
            log_every_n_steps=log_every,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


@contextmanager
def open_loggers(logging: LoggingConfig, folder: Path, config: Mapping[str, Any]) -> Iterator[list[Logger]]:
    """CSV always; Weights & Biases unless disabled, where a run is finished in the end: the next is one of its own."""
    from pytorch_lightning.loggers import CSVLogger

    csv = CSVLogger(folder, name="log")
    if logging.wandb == WandbMode.disabled:
        yield [csv]
        return
    from mcrgen.commands._wandb import close, open_logger

    try:
        yield [csv, open_logger(logging.wandb, logging.project, folder, dict(config))]
    finally:
        close()
