"""Training that survives Ctrl-C, a scheduler's SIGTERM and ``kill -9``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def save_atomically(trainer: Trainer, path: Path, *, weights_only: bool) -> None:
    """Save a checkpoint so that ``path`` holds the old or the new one whole, whatever happens in between.

    Lightning's own saving goes through the system's temporary folder, which may lie on another file system; from there a file
    is copied over the old one, and a full disk or a kill leaves neither.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        trainer.save_checkpoint(partial, weights_only=weights_only)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Resumable(Callback):
    """Saves a checkpoint every so many steps, and once more when the run is asked to stop.

    The first SIGINT or SIGTERM lets the running step finish, saves and stops; a second one interrupts at once, leaving the
    checkpoint saved last.

    Attributes:
        stopped: whether the run ended because of a signal.
    """

    def __init__(self, path: Path, *, every: int) -> None:
        """Save to ``path`` every ``every`` steps."""
        self.path = path
        self.every = every
        self.stopped = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals (in the main thread; elsewhere Python forbids it)."""
        try:
            self._previous = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        except ValueError:
            self._previous = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        self._restore()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time or a signal has come."""
        if self.stopped:
            trainer.should_stop = True
        if self.stopped or trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            save_atomically(trainer, self.path, weights_only=False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back, however the run ended."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
