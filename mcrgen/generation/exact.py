"""The threshold at which a whole volume has the wanted phase fractions: a first pass over its scores."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.generation.blocks import Block, BlockScores
from mcrgen.generation.calibration import solve_bias
from mcrgen.generation.team import ALONE, Team

_KEY_BITS = 22
_SAMPLE = 1 << 22


class KeptScores:
    """Scores of blocks, computed once and kept: for volumes that fit into memory."""

    def __init__(self, scores: BlockScores) -> None:
        """Keep what ``scores`` gives."""
        self._scores = scores
        self._kept: dict[Block, Tensor] = {}

    def __call__(self, block: Block) -> Tensor:
        """The scores of a block."""
        if block not in self._kept:
            self._kept[block] = self._scores(block)
        return self._kept[block]


def exact_bias(
    scores: BlockScores, blocks: Sequence[Block], fractions: Sequence[float], phase: int, team: Team = ALONE
) -> tuple[float, ...]:
    """The one bias for all blocks at which the phases of the whole volume have the wanted fractions.

    Two phases: from a histogram of all scores over four million classes of their binary representation, a relative resolution
    of 1e-4 of the score; the fraction is met far within 1e-4. C >= 3: :func:`~mcrgen.generation.calibration.solve_bias` on an
    even sample of four million voxels of the volume, which leaves the sample's error.

    Args:
        scores: gives the scores ``(C, *block.shape)`` of a block.
        blocks: all blocks of the volume.
        fractions: target of each phase; they sum to one.
        phase: index of the phase of interest.
        team: the processes that share the blocks.

    Returns:
        One bias per channel, the same in every process and for every number of them.
    """
    if len(fractions) > 2:
        return solve_bias(_sample(scores, blocks, team), fractions)
    histogram = np.zeros(1 << _KEY_BITS, np.int64)
    for block in team.share(blocks):
        histogram += np.bincount(_keys(_flat(scores(block))[0]), minlength=len(histogram))
    return (-_upper_quantile(team.total(histogram), fractions[phase]),)


def _flat(scores: Tensor) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = scores.float().flatten(1).cpu().numpy()
    return flat


def _sample(scores: BlockScores, blocks: Sequence[Block], team: Team) -> NDArray[np.float32]:
    """Every k-th score of each block, block after block."""
    step = -(-sum(prod(block.shape) for block in blocks) // _SAMPLE)
    found: dict[Block, NDArray[np.float32]] = {}
    for part in team.gather({block: _flat(scores(block))[:, ::step] for block in team.share(blocks)}):
        found |= part
    return np.concatenate([found[block] for block in blocks], axis=1)


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Class of each value: the first bits of an integer that is ordered as the values are."""
    bits = values.view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return ordered >> np.uint32(32 - _KEY_BITS)


def _edge(key: int) -> float:
    """Smallest value of a class."""
    ordered = np.array([key << (32 - _KEY_BITS)], np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32((1 << 31) - 1), ~ordered).astype(np.uint32)
    return float(bits.view(np.float32)[0])


def _upper_quantile(histogram: NDArray[np.int64], share: float) -> float:
    """Value that the given share exceeds, interpolated within its class."""
    above = np.cumsum(histogram[::-1])[::-1]  # values in this class and those over it
    wanted = share * above[0]
    key = int(np.flatnonzero(above >= wanted).max())
    low, high = _edge(key), _edge(key + 1)
    inside = float(above[key] - wanted) / max(1, int(histogram[key]))
    return low + inside * (high - low)
