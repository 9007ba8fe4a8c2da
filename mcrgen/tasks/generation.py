"""Generation as Lightning sees it: every process predicts the labels of its own blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader

from mcrgen.generation.blocks import Block
from mcrgen.generation.labels import BlockLabels

Prepare = Callable[[Any], tuple[Sequence[Block], BlockLabels]]


class GenerationTask(LightningModule):
    """For ``Trainer.predict``: its batches are blocks, its predictions their labels.

    The trainer must not distribute the batches by itself (``use_distributed_sampler=False``): which blocks a process has is
    settled, when all of them are up, by ``prepare``.
    """

    def __init__(self, prepare: Prepare) -> None:
        """Make a task.

        Args:
            prepare: called once in every process with Lightning's strategy; gives this process's blocks and what makes the
                labels of a block.
        """
        super().__init__()
        self._prepare = prepare
        self._blocks: Sequence[Block] = ()

    def setup(self, stage: str) -> None:
        """Agree with the other processes on who makes what."""
        self._blocks, self._labels = self._prepare(self.trainer.strategy)

    def predict_dataloader(self) -> DataLoader[int]:
        """The numbers of this process's blocks."""
        return DataLoader(range(len(self._blocks)), batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, number: int) -> tuple[Block, NDArray[np.uint8]]:
        """Labels of one block."""
        block = self._blocks[number]
        return block, self._labels(block)
