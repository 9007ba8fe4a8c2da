"""Pictures to loggers."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Trainer


def log_image(trainer: Trainer, key: str, path: Path) -> None:
    """Give a picture to every logger of the trainer that takes pictures."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key, [str(path)], step=trainer.global_step)
