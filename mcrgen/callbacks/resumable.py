"""Training that survives Ctrl-C, a scheduler's SIGTERM and ``kill -9``."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from mcrgen.callbacks._interval import Interval

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Resumable(Checkpoint):
    """Saves a checkpoint every so many steps, and once more when the run is asked to stop.

    The first SIGINT or SIGTERM lets the running step finish, saves and stops; a second one interrupts at once, leaving the
    checkpoint saved last. A Lightning ``Checkpoint``, so that it runs after all other callbacks and saves their newest state;
    put it last in the list.

    Attributes:
        stopped: whether the run ended because of a signal.
    """

    def __init__(self, path: Path, *, every: int) -> None:
        """Save to ``path`` every ``every`` steps."""
        self.path = path
        self._interval = Interval(every)
        self.stopped = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals (in the main thread; elsewhere Python forbids it)."""
        self._interval.start(trainer)
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
        if self._interval.due(trainer) or self.stopped:
            trainer.save_checkpoint(self.path)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back, however the run ended."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
