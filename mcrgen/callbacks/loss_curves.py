"""The figure of the losses, kept up while two networks train against each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from mcrgen.callbacks._images import log_image
from mcrgen.callbacks._interval import Interval
from mcrgen.plotting.losses import plot_losses


class LossCurves(Callback):
    """Collects logged losses step by step and draws them every so many steps; a resumed run goes on with its curves."""

    def __init__(self, path: Path, metrics: Mapping[str, str], *, every: int) -> None:
        """Draw to ``path`` every ``every`` steps.

        Args:
            path: PNG to write.
            metrics: name as logged -> title of its panel.
            every: interval in steps.
        """
        self.path = path
        self.metrics = dict(metrics)
        self._interval = Interval(every)
        self._steps: list[int] = []
        self._losses: dict[str, list[float]] = {name: [] for name in metrics}

    def state_dict(self) -> dict[str, Any]:
        """The curves so far."""
        return {"steps": self._steps, "losses": self._losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curves of the run that is resumed."""
        self._steps, self._losses = list(state_dict["steps"]), {k: list(v) for k, v in state_dict["losses"].items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._interval.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect, and draw when it is time."""
        found = trainer.callback_metrics
        if all(name in found for name in self.metrics) and trainer.global_step not in self._steps[-1:]:
            self._steps.append(trainer.global_step)
            for name, values in self._losses.items():
                values.append(float(found[name]))
        if self._interval.due(trainer) and self._steps and trainer.is_global_zero:
            panels = {title: self._losses[name] for name, title in self.metrics.items()}
            plot_losses(self.path, self._steps, panels, title=f"losses until step {trainer.global_step}")
            log_image(trainer, "losses", self.path)
