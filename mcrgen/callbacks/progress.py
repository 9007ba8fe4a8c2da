"""Training progress in a rich progress bar."""

from __future__ import annotations

from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import Progress, TaskID


class TrainingProgress(Callback):
    """Advances one bar by a step at a time and shows a logged value."""

    def __init__(
        self, progress: Progress, metric: str, title: str = "training", label: str = "loss", *, average: bool = True
    ) -> None:
        """Show ``metric`` (as logged) by a name in ``progress``, which the caller starts and stops, under a title.

        Losses of random batches scatter and are shown as a running mean; without ``average`` the latest value is shown.
        """
        self.title = title
        self.label = label
        self.progress = progress
        self.metric = metric
        self._bar = TaskID(0)
        self._average = average
        self._shown: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the bar, at the step the run starts from."""
        self._bar = self.progress.add_task(self.title, total=trainer.max_steps, status="", unit="step")
        self.progress.update(self._bar, completed=trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        value = trainer.callback_metrics.get(self.metric)
        if value is not None and (self._shown is None or not self._average):
            self._shown = float(value)
        elif value is not None and trainer.global_step % 5 == 0:
            self._shown = 0.8 * cast("float", self._shown) + 0.2 * float(value)
        status = "" if self._shown is None else f"{self.label} {self._shown:.4f}"
        self.progress.update(self._bar, completed=trainer.global_step, status=status)
