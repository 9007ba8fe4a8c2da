"""Pictures of samples beside crops while a generator learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mcrgen.callbacks._images import log_image
from mcrgen.callbacks._interval import Interval
from mcrgen.plotting.grids import plot_grids

_SEED = -2  # training is seeded with 0 and more, the monitor with -1
_COUNT = 25
_IMAGES = 4


class SampleGrid(Callback):
    """Writes a grid of samples beside one of windows, as a PNG and to every logger that takes pictures.

    Works with any module that has the hook ``sample(count, size, seed)`` of :class:`mcrgen.tasks.base.Task`; of volumes their
    sections through the middle are shown, normal to z, y and x in turn.
    """

    def __init__(self, folder: Path, windows: NDArray[np.uint8], phases: int, phase: int, *, every: int) -> None:
        """Write to ``folder`` every ``every`` steps.

        Args:
            folder: where the PNGs go.
            windows: labels ``(N, *spatial)`` of the micrograph, as large as the samples.
            phases: number of phases.
            phase: label of the phase of interest.
            every: interval in steps.
        """
        self.folder = folder
        self.size = windows.shape[-1]
        self.phases, self.phase = phases, phase
        self.windows = flat(windows[:_COUNT]) / (phases - 1)
        self._interval = Interval(every)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._interval.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw when it is time."""
        if not self._interval.due(trainer) or not trainer.is_global_zero:
            return
        scores: Tensor = pl_module.sample(_COUNT, self.size, _SEED)  # type: ignore[operator]
        samples = flat(greys(scores, self.phases, self.phase))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{trainer.global_step:06d}.png"
        of_volumes = ", sections normal to z, y, x in turn" if scores.ndim > _IMAGES else ""
        plot_grids(path, {"micrograph": self.windows, f"generated{of_volumes}": samples}, title=f"step {trainer.global_step}")
        log_image(trainer, "samples", path)


def greys(scores: Tensor, phases: int, phase: int) -> NDArray[np.float64]:
    """Pictures in [0, 1] of scores ``(N, C, *spatial)``: soft for two phases, the label for more; as labels are shown."""
    if phases > 2:
        return scores.argmax(dim=1).cpu().numpy() / (phases - 1)
    share = scores[:, 0].float().tanh().cpu().numpy().astype(np.float64) / 2 + 0.5
    return share if phase == 1 else 1 - share


def flat(media: NDArray[Any]) -> NDArray[Any]:
    """Images as they are; of volumes the middle sections normal to z, y and x in turn, ``(N, H, W)``."""
    if media.ndim == 3:
        return media
    middle = media.shape[-1] // 2
    return np.stack([np.take(volume, middle, axis=i % 3) for i, volume in enumerate(media)])
