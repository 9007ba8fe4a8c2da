"""Gaussian smoothing of labels that keeps the phase fractions: an output step against isolated voxels and rough interfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.errors import require_positive
from mcrgen.generation.blocks import Block, BlockScores, Triple, grid
from mcrgen.generation.exact import exact_bias
from mcrgen.generation.labels import BlockLabels
from mcrgen.generation.separable import enlarged, filtered, gaussian_taps
from mcrgen.generation.team import ALONE, Team

_CLASSES = 1 << 22


def smoothed(labels: BlockLabels, *, phases: int, phase: int, sigma: float) -> BlockScores:
    """Phase indicators behind a Gaussian filter, to be thresholded again.

    Method of He, Ning, Zhang et al., Front. Phys. 13 (2025) 1684783, section 4.1, there for the grey result of a
    reconstruction. The Gaussian is cut off at four standard deviations and normalised. Labels are asked for that much around
    the block, so that faces of the volume are smoothed like its inside.

    Args:
        labels: gives the labels of any block.
        phases: number of phases.
        phase: label of the phase of interest.
        sigma: standard deviation of the Gaussian in voxels.

    Returns:
        Scores ``(C, *block.shape)`` float32 in [0, 1] up to rounding: for two phases the smoothed indicator of the phase of
        interest alone, which is what :func:`~mcrgen.generation.calibration.classify` expects, else one channel per phase.

    Raises:
        InputError: ``sigma`` is not a number greater than 0.
    """
    require_positive("sigma", sigma)
    taps = gaussian_taps(sigma)
    channels = (phase,) if phases == 2 else range(phases)

    def scores(block: Block) -> Tensor:
        around = torch.from_numpy(labels(enlarged(block, len(taps) // 2)))
        return torch.stack([filtered((around == channel).float(), taps) for channel in channels])

    return scores


def fraction_preserving_bias(
    labels: BlockLabels,
    smoothed_scores: BlockScores,
    blocks: Sequence[Block],
    *,
    phases: int,
    phase: int,
    team: Team = ALONE,
) -> tuple[float, ...]:
    """The bias at which the smoothed labels have the phase fractions of the labels, on the given blocks.

    Smoothed indicators take few distinct values, each in many voxels, which share their fate: the fractions are met as nearly
    as they let them. Two phases: the threshold lies halfway between the two neighbouring values that it parts, from a
    histogram of four million classes. C >= 3: :func:`~mcrgen.generation.exact.exact_bias`, on a sample of four million voxels.

    Args:
        labels: gives the labels of any block.
        smoothed_scores: what :func:`smoothed` makes of them.
        blocks: all blocks of the volume, or a sample of them (:func:`sample_blocks`).
        phases: number of phases.
        phase: label of the phase of interest.
        team: the processes that share the blocks.

    Returns:
        One bias per channel, for :func:`~mcrgen.generation.calibration.classify`.
    """
    counts = np.zeros(phases, np.int64)
    for block in team.share(blocks):
        counts += np.bincount(labels(block).ravel(), minlength=phases)
    counts = team.total(counts)
    if phases > 2:
        return exact_bias(smoothed_scores, blocks, (counts / counts.sum()).tolist(), phase, team)
    histogram = np.zeros(_CLASSES + 1, np.int64)
    for block in team.share(blocks):
        classes = (smoothed_scores(block)[0] * _CLASSES).round_().clamp_(0, _CLASSES).int()
        histogram += np.bincount(classes.numpy().ravel(), minlength=len(histogram))
    return (-_parting_value(team.total(histogram), int(counts[phase])),)


def _parting_value(histogram: NDArray[np.int64], wanted: int) -> float:
    """Value in the middle of the gap over which the number of values is nearest to the wanted one."""
    above = np.append(np.cumsum(histogram[::-1])[::-1], 0)  # values in this class and those over it
    nearest = above[np.abs(above - wanted).argmin()]
    gap = np.flatnonzero(above == nearest)
    return (0.5 * float(gap[0] + gap[-1]) - 0.5) / _CLASSES


def sample_blocks(shape: Triple, edge: int, count: int, seed: int) -> list[Block]:
    """Distinct blocks of a volume drawn at random, to choose a threshold on a part of a large volume.

    Args:
        shape: (D, H, W) of the volume in voxels.
        edge: largest edge length of a block in voxels.
        count: number of blocks; all of the volume where it has no more.
        seed: equal seeds draw equal blocks.

    Returns:
        Blocks of :func:`~mcrgen.generation.blocks.grid`, in its order; they do not overlap.
    """
    blocks = list(grid(shape, edge))
    drawn = np.random.default_rng(seed).permutation(len(blocks))[:count]
    return [blocks[i] for i in np.sort(drawn)]
