"""Generation as Lightning sees it: every process predicts the labels of its own blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule

from mcrgen.generation.blocks import Block
from mcrgen.generation.labels import BlockLabels

Prepare = Callable[[Any], tuple[Sequence[Block], BlockLabels]]


class GenerationTask(LightningModule):
    """For ``Trainer.predict``: its batches are blocks, its predictions their labels.

    Which blocks a process has is settled, when all of them are up, by ``prepare``; it may be none.
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

    def predict_dataloader(self) -> Iterator[int]:
        """The numbers of this process's blocks."""
        return iter(range(len(self._blocks)))  # without a length, of which Lightning demands more than 0

    def predict_step(self, number: int) -> tuple[Block, NDArray[np.uint8]]:
        """Labels of one block."""
        block = self._blocks[number]
        return block, self._labels(block)
