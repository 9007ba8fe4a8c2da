"""The course of an optimisation: its errors at every step, and what the medium looked like on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

_SNAPSHOTS = 6


class Convergence(Callback):
    """Keeps the logged terms of the loss of each step, and slices of the medium at steps 1, 2, 4, 8, ...

    Works with any module that has ``errors`` (name -> value), ``loss`` and ``latest_slices`` (normal -> ``(1, C, H, W)`` in
    [-1, 1]). A resumed run goes on with what it had.

    Attributes:
        steps: number of each step.
        terms: name -> value at each step; ``loss`` is the weighted sum.
        snapshots: step -> ``(C, H, W)`` in [0, 1].
    """

    def __init__(self) -> None:
        """Start empty."""
        self.steps: list[int] = []
        self.terms: dict[str, list[float]] = {}
        self.snapshots: dict[int, NDArray[np.float32]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step."""
        step = trainer.global_step
        self.steps.append(step)
        errors: dict[str, float] = {**pl_module.errors, "loss": pl_module.loss}  # type: ignore[dict-item]
        for name, value in errors.items():
            self.terms.setdefault(name, []).append(value)
        if step & (step - 1) == 0:
            self.keep(step, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last state too."""
        self.keep(trainer.global_step, pl_module)

    def keep(self, step: int, pl_module: LightningModule) -> None:
        """Keep a slice; of many, those of the later steps."""
        slices: dict[int, Tensor] = pl_module.latest_slices  # type: ignore[assignment]
        first = next(iter(slices.values()))
        self.snapshots[step] = ((first[0].float().cpu().numpy() + 1.0) / 2.0).astype(np.float32)
        for early in sorted(self.snapshots)[1 : len(self.snapshots) - _SNAPSHOTS + 1]:
            del self.snapshots[early]

    def state_dict(self) -> dict[str, Any]:
        """Errors and pictures, as plain data."""
        snapshots = [[step, list(image.shape), image.ravel().tolist()] for step, image in self.snapshots.items()]
        return {"steps": self.steps, "terms": self.terms, "snapshots": snapshots}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.steps, self.terms = list(state_dict["steps"]), {name: list(v) for name, v in state_dict["terms"].items()}
        self.snapshots = {step: np.array(values, np.float32).reshape(shape) for step, shape, values in state_dict["snapshots"]}
