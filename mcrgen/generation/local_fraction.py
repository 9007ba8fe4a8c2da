"""A phase fraction that varies in space: graded porosity from one two-phase generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.generation.blocks import Block, BlockScores
from mcrgen.generation.noise import ScalarField

_TABLE = 1 << 20


def fraction_offsets(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to add to a two-phase generator's scores for any phase fraction.

    Args:
        sample: ``(N,)`` scores of the generator, as :func:`~mcrgen.generation.calibration.calibration_scores` has them in its
            one channel.

    Returns:
        ``(M,)`` ascending, M at most 2^20: entry k is the offset for the fraction (k + 1/2) / M of the phase of interest, the
        negative quantile of the scores that this share of them exceeds. With N = M these are the scores themselves.
    """
    ordered = np.sort(-sample)
    size = min(len(ordered), _TABLE)
    return _between(ordered, (np.arange(size, dtype=np.float64) + 0.5) * (len(ordered) / size) - 0.5)


@dataclass(frozen=True)
class LocalFraction:
    """Scores of a two-phase generator that give a phase its local fraction where they exceed zero.

    The local threshold is the quantile that :func:`~mcrgen.generation.calibration.calibrate` would choose for the fraction
    there, so the fraction is met where the field varies slowly against the generator's receptive field and the noise is the
    standard one. Everything else about the medium, such as its length scale, stays as trained.

    Attributes:
        scores: gives the scores ``(1, *block.shape)`` of a block.
        offsets: of :func:`fraction_offsets`.
        fraction: of the phase of interest, between 0 and 1 everywhere, in the coordinates of the blocks.
    """

    scores: BlockScores
    offsets: NDArray[np.float32]
    fraction: ScalarField

    def __call__(self, block: Block) -> Tensor:
        """Scores of a block, ``(1, *block.shape)`` float32; the bias to classify them with is 0."""
        scores = self.scores(block).float()
        wanted = self.fraction(block.start, block.shape).astype(np.float64)
        offset = _between(self.offsets, wanted * len(self.offsets) - 0.5)
        return scores + torch.from_numpy(offset).to(scores.device)


def _between(values: NDArray[np.float32], place: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation in a table at fractional positions, clipped to its ends."""
    last = len(values) - 1
    place = place.clip(0, last)
    below = place.astype(np.int64)
    low, high = values[below], values[np.minimum(below + 1, last)]
    interpolated: NDArray[np.float32] = low + (place - below).astype(np.float32) * (high - low)
    return interpolated
