"""What turns a trained network's scores into phases at the right fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcrgen.generation.blocks import Triple
from mcrgen.generation.generator import ScoreField, noise_tensor
from mcrgen.generation.noise import Noise

CALIBRATION_SEED = -1
"""Calibration volumes use a seed no user is offered, so no generated volume was calibrated on."""

_SWEEPS = 50
_SAMPLE = 1 << 21
_FRACTION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Calibration:
    """How scores become labels.

    Attributes:
        bias: added to the scores, one per channel, before the largest wins (one channel: before the sign decides).
        fractions: phase fractions that the bias was chosen for, one per phase.
        achieved: what they are on the sample.
        precision: arithmetic it was chosen in, ``fp32``, ``bf16`` or ``fp16``.
        voxels: size of the sample it was chosen on.
    """

    bias: tuple[float, ...]
    fractions: tuple[float, ...]
    achieved: tuple[float, ...]
    precision: str
    voxels: int


@torch.no_grad()
def reestimate_batchnorm(
    network: nn.Module, halo: int, noise_channels: int, blocks: int, block_size: int, condition: float | None = None
) -> None:
    """Replace the running statistics of every batch normalisation by those of full volumes, in place.

    The averages kept in training belong to thin slabs and to weights that have moved on since; they are the largest error of
    the published SWNN models. All blocks go through the network as one batch in training mode, in float32: each layer then
    sees the activations that the new statistics of the layers before it produce.

    Args:
        network: any module with ``BatchNorm3d`` layers that maps ``(B, C, D, H, W)`` noise to scores.
        halo: voxels the network loses per side.
        noise_channels: channels of its input.
        blocks: number of independent cubes.
        block_size: edge length of their output in voxels.
        condition: the number that a conditional network is asked for.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    if not norms:
        return
    like = next(network.parameters())
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    was_training = network.training
    network.train()
    noise, edge = Noise(CALIBRATION_SEED), block_size + 2 * halo
    cubes = [noise_tensor(noise, (i * edge - halo, -halo, -halo), (edge,) * 3, noise_channels, like) for i in range(blocks)]
    batch = torch.cat(cubes).contiguous(memory_format=torch.channels_last_3d)
    network(batch) if condition is None else network(batch, condition=condition)
    network.train(was_training)
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum


def calibrate(
    generator: ScoreField, fractions: Sequence[float], *, phase: int, precision: str, blocks: int, block_size: int
) -> Calibration:
    """Choose the bias at which the mean phase fractions of calibration volumes equal the target.

    The volumes are computed with the very network, data type and device that generation uses: the scores of two precisions
    differ enough to move a small phase fraction by a percent.

    Args:
        generator: inference network.
        fractions: target of each phase; they sum to one.
        phase: index of the phase of interest.
        precision: name of the generator's arithmetic, for the record.
        blocks: number of cubes; see :func:`calibration_scores`.
        block_size: their edge length in voxels.
    """
    scores = calibration_scores(generator, blocks=blocks, block_size=block_size)
    return calibration_of(scores, fractions, phase=phase, precision=precision)


def calibration_of(scores: NDArray[np.float32], fractions: Sequence[float], *, phase: int, precision: str) -> Calibration:
    """Choose the bias at which scores ``(C, N)`` give the target fractions; see :func:`calibrate`."""
    targets = fractions if len(scores) > 1 else (fractions[phase],)
    bias = solve_bias(scores, targets)
    labels = classify(torch.from_numpy(scores)[:, None, None, :], bias, phase).numpy()
    achieved = np.bincount(labels.ravel(), minlength=len(fractions)) / labels.size
    return Calibration(bias, tuple(fractions), tuple(achieved.tolist()), precision, scores.shape[1])


def calibration_scores(generator: ScoreField, *, blocks: int, block_size: int) -> NDArray[np.float32]:
    """Scores ``(C, N)`` of the calibration volumes: cubes of that edge length in voxels, every other with the opposite noise.

    Antithetic variates (Hammersley, Morton, Proc. Camb. Phil. Soc. 52 (1956) 449): where a cube of noise makes more of a phase
    than the mean, its opposite mostly makes less. The pairs are far enough apart not to share a noise voxel.
    """
    noise, edge = Noise(CALIBRATION_SEED), block_size + 2 * generator.halo
    signs = (noise, replace(noise, mask=_minus_one))
    cubes = [(signs[i % 2], (i // 2 * edge, 0, 0)) for i in range(blocks)]
    parts = [generator.scores(signed, origin, (block_size,) * 3).float().flatten(1).cpu().numpy() for signed, origin in cubes]
    return np.concatenate(parts, axis=1)


def _minus_one(origin: Triple, shape: Triple) -> NDArray[np.float32]:
    return np.broadcast_to(np.float32(-1.0), shape)


def rescale_fractions(fractions: Sequence[float], phase: int, wanted: float) -> tuple[float, ...]:
    """Give one phase the wanted fraction and share the rest among the others in their old proportions."""
    rest = 1.0 - fractions[phase]
    return tuple(wanted if i == phase else f * (1.0 - wanted) / rest for i, f in enumerate(fractions))


def solve_bias(scores: NDArray[np.float32], fractions: Sequence[float]) -> tuple[float, ...]:
    """Bias at which the share of each phase among the scores equals its fraction.

    Two phases: minus the quantile of the single score. C >= 3: the maximiser of the concave dual of the semi-discrete
    transport problem, by coordinate ascent; each step is an exact one-dimensional quantile. An even sample of at
    most two million voxels is used, until every fraction is met within 1e-4.

    Args:
        scores: ``(C, N)``.
        fractions: target of each channel's phase; for one channel, of the phase of interest alone.

    Returns:
        One bias per channel.
    """
    if len(scores) == 1:
        return (-_upper_quantile(scores[0], fractions[0]),)
    sample = np.ascontiguousarray(scores[:, :: -(-scores.shape[1] // _SAMPLE)])
    bias = np.zeros(len(scores), dtype=np.float32)
    for _ in range(_SWEEPS):
        for c in range(1, len(scores)):
            others = np.delete(sample + bias[:, None], c, axis=0).max(axis=0)
            bias[c] = -_upper_quantile(sample[c] - others, fractions[c])
        achieved = np.bincount((sample + bias[:, None]).argmax(axis=0), minlength=len(scores)) / sample.shape[1]
        if np.abs(achieved - fractions).max() <= _FRACTION_TOLERANCE:
            break
    return tuple(float(b) for b in bias)


def _upper_quantile(values: NDArray[np.float32], share: float) -> float:
    """Value that the given share of ``values`` exceeds, halfway between the neighbouring order statistics."""
    rank = min(max(round((1.0 - share) * len(values)), 1), len(values) - 1)
    part = np.partition(values, (rank - 1, rank))
    return 0.5 * (float(part[rank - 1]) + float(part[rank]))


def classify(scores: Tensor, bias: Sequence[float], phase: int) -> Tensor:
    """Labels of a block.

    Args:
        scores: ``(C, D, H, W)``.
        bias: one value per channel.
        phase: label of the phase of interest (used for one channel only).

    Returns:
        ``(D, H, W)`` uint8; for one channel the phase of interest where score + bias > 0, else the other of {0, 1}.
    """
    if len(bias) == 1:
        return ((scores[0] > -bias[0]) ^ (phase == 0)).to(torch.uint8)
    offset = torch.tensor(bias, dtype=torch.float32, device=scores.device)
    return (scores.float() + offset[:, None, None, None]).argmax(dim=0).to(torch.uint8)
