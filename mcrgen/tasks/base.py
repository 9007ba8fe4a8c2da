"""What every training task shares."""

from __future__ import annotations

from typing import Any, ClassVar

from pytorch_lightning import LightningModule
from torch import Tensor

CHECKPOINT_KEY = "mcrgen"


class Task(LightningModule):
    """A LightningModule with three hooks, run once when it is built: models, losses, metrics.

    Attributes:
        kind: name of the model family, stored in its checkpoints.
        failed: whether a loss was not a number and the task has ended the training for it.
        record: plain data (numbers, strings, lists, dicts) stored beside the weights: configuration, reference
            descriptors, calibration, software versions. Filled by whoever runs the task.
    """

    kind: ClassVar[str]

    def __init__(self, **hyperparameters: Any) -> None:
        """Store the hyperparameters in ``hparams`` and in checkpoints, then build the parts from them."""
        super().__init__()
        self.save_hyperparameters(hyperparameters)
        self.failed = False
        self.record: dict[str, Any] = {}
        self.configure_models()
        self.configure_losses()
        self.configure_metrics()

    def configure_models(self) -> None:
        """Build the networks."""
        raise NotImplementedError

    def configure_losses(self) -> None:
        """Build the losses; none by default."""

    def configure_metrics(self) -> None:
        """Build the metrics; none by default."""

    def sample(self, count: int, size: int, seed: int) -> Tensor:
        """Draw independent samples as the finished model would make them; nothing of the training's state is touched.

        Callbacks judge and show a model in training by this hook: without gradients, in the precision of training, leaving
        weights, buffers, modes and every random state as they were.

        Args:
            count: number of samples.
            size: edge length of each in voxels.
            seed: any integer; equal seeds give equal samples of equal weights.

        Returns:
            Scores ``(count, C, *spatial)`` float32: with one channel the phase of interest is where the score exceeds 0, with
            C >= 3 the largest score decides the phase.
        """
        raise NotImplementedError

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add :attr:`record` to the checkpoint."""
        checkpoint[CHECKPOINT_KEY] = {"kind": self.kind, **self.record}
