"""Writes what a generation task predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter


class BlockOutput(BasePredictionWriter):
    """Hands every predicted block to a sink."""

    def __init__(self, sink: AbstractContextManager[Callable[[Any, Any], None]]) -> None:
        """Make a callback.

        Args:
            sink: entered when predicting starts, called as ``sink(block, labels)`` with each prediction, left in the end.
        """
        super().__init__(write_interval="batch")
        self._context = sink
        self._stack = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the sink."""
        self._sink = self._stack.enter_context(self._context)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: tuple[Any, Any],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Hand one block over."""
        self._sink(*prediction)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the sink."""
        self._stack.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the sink, telling it why."""
        self._stack.__exit__(type(exception), exception, exception.__traceback__)
