"""Pictures of what a generator makes while it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mcrgen.callbacks._images import log_image
from mcrgen.callbacks._interval import Interval
from mcrgen.plotting.slices import grey, plot_slices


class SampleImages(Callback):
    """Writes the reference beside the slices of the latest training step, as a PNG and to every image-capable logger.

    Works with any module that keeps ``latest_slices``: by section normal (0 for z, 1 for y, 2 for x) a tensor
    ``(1, C, H, W)`` in [-1, 1].
    """

    def __init__(self, folder: Path, reference: NDArray[np.float32], *, every: int) -> None:
        """Write to ``folder`` every ``every`` steps.

        Args:
            folder: where the PNGs go.
            reference: ``(C, H, W)`` indicator channels of the exemplar.
            every: interval in steps.
        """
        self.folder = folder
        self.reference = reference
        self._interval = Interval(every)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._interval.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw when it is time."""
        if not self._interval.due(trainer):
            return
        latest: dict[int, Tensor] = pl_module.latest_slices  # type: ignore[assignment]
        slices = {"zyx"[normal]: slice_[0].float().cpu().numpy() for normal, slice_ in latest.items()}
        panels = {"exemplar": grey(self.reference)}
        panels |= {f"normal to {axis}": grey((slice_ + 1) / 2) for axis, slice_ in slices.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{trainer.global_step:06d}.png"
        plot_slices(path, panels, title=f"step {trainer.global_step}")
        log_image(trainer, "slices", path)
