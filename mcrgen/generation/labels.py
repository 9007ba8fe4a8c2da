"""Labels as a field over the unlimited voxel grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, BlockScores
from mcrgen.generation.calibration import classify

BlockLabels = Callable[[Block], NDArray[np.uint8]]
"""Labels ``(D, H, W)`` of any block, also of one that sticks out of the volume: the field is unlimited."""


def classified(scores: BlockScores, bias: Sequence[float], phase: int) -> BlockLabels:
    """The labels of a field of scores.

    Args:
        scores: gives the scores ``(C, *block.shape)`` of a block.
        bias: one value per channel (see :func:`~mcrgen.generation.calibration.classify`).
        phase: label of the phase of interest.
    """

    def labels(block: Block) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = classify(scores(block), bias, phase).cpu().numpy()
        return found

    return labels
