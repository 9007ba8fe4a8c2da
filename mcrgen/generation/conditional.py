"""What turns a conditional network into the generator of any number in its range: tables over some numbers, interpolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator
from torch import Tensor

from mcrgen.generation.calibration import calibrate, reestimate_batchnorm
from mcrgen.generation.generator import Generator
from mcrgen.generation.noise import ScalarField
from mcrgen.networks.swnn import SWNN

_LEVELS_PER_KNOT = 32


@dataclass(frozen=True)
class ConditionTable:
    """Statistics and threshold of a conditional two-phase network as functions of the phase fraction.

    Both are measured at some fractions with the same noise. In between, the statistics, smooth functions, are interpolated by
    a cubic spline, the variances by their logarithm; the thresholds, which may move far where few scores are near them, by a
    monotone cubic (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980).

    Attributes:
        fractions: ``(K,)`` phase fractions, ascending.
        statistics: ``(K, layers - 1, 2, channels)`` means and variances of the normalised layers.
        thresholds: ``(K,)`` scores above which the phase of interest is.
    """

    fractions: tuple[float, ...]
    statistics: Tensor
    thresholds: tuple[float, ...]

    def statistics_at(self, fractions: Sequence[float]) -> Tensor:
        """Statistics ``(N, layers - 1, 2, channels)`` at any fractions of the range."""
        means, variances = self.statistics.double().unbind(dim=2)
        known = torch.stack([means, variances.clamp_min(torch.finfo(torch.float32).tiny).log()], dim=2).numpy()
        found = torch.from_numpy(CubicSpline(self.fractions, known)(np.asarray(fractions)))
        return torch.stack([found[:, :, 0], found[:, :, 1].exp()], dim=2).float()

    def threshold_at(self, fractions: Sequence[float]) -> Tensor:
        """Thresholds ``(N,)`` at any fractions of the range."""
        return torch.from_numpy(PchipInterpolator(self.fractions, self.thresholds)(np.asarray(fractions))).float()

    def plain(self) -> dict[str, object]:
        """As numbers, lists and tensors, for a checkpoint."""
        return {
            "fractions": list(self.fractions),
            "statistics": self.statistics,
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, object]) -> ConditionTable:
        """The table that :meth:`plain` gave."""
        return cls(tuple(plain["fractions"]), plain["statistics"], tuple(plain["thresholds"]))  # type: ignore[arg-type]


def measure_table(
    network: SWNN,
    fractions: Sequence[float],
    *,
    phase: int,
    dtype: torch.dtype,
    precision: str,
    batchnorm: tuple[int, int],
    threshold: tuple[int, int],
    advance: Callable[[], None] = lambda: None,
) -> ConditionTable:
    """Measure statistics and threshold of a conditional network at some phase fractions.

    Args:
        network: the trained network, on its device; it is left with the statistics of one of the fractions.
        fractions: phase fractions, ascending.
        phase: label of the phase of interest.
        dtype: data type that volumes are generated in.
        precision: its name.
        batchnorm: number and edge length in voxels of the cubes for the statistics.
        threshold: number and edge length in voxels of the cubes for the threshold.
        advance: called when a fraction is done.
    """
    statistics = []
    for fraction in fractions:
        reestimate_batchnorm(network, network.halo, network.noise_channels, *batchnorm, condition=fraction)
        statistics.append(network.statistics.cpu())
    table = ConditionTable(tuple(fractions), torch.stack(statistics), (0.0,) * len(fractions))
    cubes = {"blocks": threshold[0], "block_size": threshold[1]}
    return with_thresholds(table, network, phase=phase, dtype=dtype, precision=precision, advance=advance, **cubes)


def with_thresholds(
    table: ConditionTable,
    network: SWNN,
    *,
    phase: int,
    dtype: torch.dtype,
    precision: str,
    blocks: int,
    block_size: int,
    advance: Callable[[], None] = lambda: None,
) -> ConditionTable:
    """The table with thresholds measured in an arithmetic, on so many cubes of that edge length; see :func:`measure_table`."""
    thresholds = []
    for fraction in table.fractions:
        generator = generator_at(network, table, fraction, dtype)
        targets = [1.0 - fraction, fraction] if phase else [fraction, 1.0 - fraction]
        found = calibrate(generator, targets, phase=phase, precision=precision, blocks=blocks, block_size=block_size)
        thresholds.append(-found.bias[0])
        advance()
    return replace(table, thresholds=tuple(thresholds))


def generator_at(network: SWNN, table: ConditionTable, fraction: float, dtype: torch.dtype) -> Generator:
    """The generator of one phase fraction; the network is left with its statistics."""
    network.statistics = table.statistics_at([fraction])[0]
    return Generator(network.folded(dtype, fraction), network.halo, network.noise_channels)


def generator_over(network: SWNN, table: ConditionTable, field: ScalarField, dtype: torch.dtype) -> Generator:
    """The generator of a medium whose phase fraction follows a field; its threshold is a score of 0.

    Args:
        network: the trained network.
        table: its statistics and thresholds.
        field: phase fraction of every voxel, also of those beyond the volume's faces, in the coordinates of the noise.
        dtype: data type to compute in.
    """
    levels = np.linspace(table.fractions[0], table.fractions[-1], _LEVELS_PER_KNOT * (len(table.fractions) - 1) + 1)
    modulated = network.modulated(
        dtype,
        torch.from_numpy(levels).float(),
        table.statistics_at(levels.tolist()),
        table.threshold_at(levels.tolist())[:, None],
    )
    return Generator(modulated, network.halo, network.noise_channels, field)
