"""The course of an optimisation: its errors at every step, and what the medium looked like on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mcrgen.plotting.convergence import Course
from mcrgen.plotting.slices import grey


class Convergence(Callback):
    """Keeps the terms of the loss at each step, and slices of the medium at steps 1, 2, 4, 8, ... and the last one.

    Works with any module that has ``errors`` (name -> value), ``loss`` and ``latest_slices`` (normal -> ``(1, C, H, W)`` in
    [-1, 1]). A resumed run goes on with what it had.

    Attributes:
        course: what was kept.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.course = Course()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step."""
        self.course.note(trainer.global_step, {**pl_module.errors, "loss": pl_module.loss})  # type: ignore[dict-item]
        if self.course.due:
            self._keep(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last state too."""
        if self.course.steps:
            self._keep(pl_module)

    def _keep(self, pl_module: LightningModule) -> None:
        slices: dict[int, Tensor] = pl_module.latest_slices  # type: ignore[assignment]
        first = next(iter(slices.values()))
        self.course.keep(grey((first[0].float().cpu().numpy() + 1.0) / 2.0).astype(np.float32))

    def state_dict(self) -> dict[str, Any]:
        """Errors and pictures, as plain data."""
        pictures = [[step, list(image.shape), image.ravel().tolist()] for step, image in self.course.pictures.items()]
        return {"steps": self.course.steps, "terms": self.course.terms, "pictures": pictures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        pictures = {step: np.array(values, np.float32).reshape(shape) for step, shape, values in state_dict["pictures"]}
        self.course = Course(list(state_dict["steps"]), {n: list(v) for n, v in state_dict["terms"].items()}, pictures)
