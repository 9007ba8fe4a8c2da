"""Smoothing of a medium's labels: what the thresholds behind the filter are chosen on, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcrgen.commands._sources import EMPTY, Settled, Source, Store
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.generation.blocks import Block, BlockScores, Triple
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.team import Team

TYPICAL_SHAPE = 64, 128, 128
"""(D, H, W) of what the thresholds of a homogeneous medium are chosen on."""

_SAMPLE_EDGE, _SAMPLE_VOXELS, _SAMPLE_SEED = 64, 1 << 22, 0


@dataclass(frozen=True)
class Smoothing:
    """A Gaussian filter of the labels, and thresholds behind it that keep the phase fractions.

    Attributes:
        sigma: standard deviation in voxels.
        source: the labels; two of them at least.
        shape: (D, H, W) of the volume in voxels.
        typical: :data:`TYPICAL_SHAPE` voxels of the same homogeneous medium to choose the thresholds on, which then depend
            neither on the volume's place nor on its size; None for a medium that is not the same everywhere.
        sampled: in such a medium: choose them on a sample of the volume, not on all of it.
    """

    sigma: float
    source: Source
    shape: Triple
    typical: Source | None
    sampled: bool

    def memory(self, shape: Triple) -> int:
        """Bytes that a block takes to make, about."""
        from mcrgen.generation.separable import gaussian_taps

        z, y, x = (length + len(gaussian_taps(self.sigma)) - 1 for length in shape)
        return self.source.memory((z, y, x)) + 16 * len(self.source.values) * z * y * x

    def settle(self, settled: Settled, blocks: Sequence[Block], team: Team) -> list[float]:
        """Choose the thresholds.

        Returns:
            One bias for each label that occurs, or a single one for two of them.

        Raises:
            InputError: no voxel is inside the mask.
        """
        from mcrgen.generation.blocks import grid

        source, sample = self.source, blocks
        if self.typical is not None:
            source, sample = self.typical, list(grid(TYPICAL_SHAPE, _SAMPLE_EDGE))
        elif self.sampled:
            sample = self._drawn()
        labels = _numbered(source.labels(settled), source.values)
        scores = self._scores(labels)

        def counted_labels(block: Block) -> NDArray[np.uint8]:
            return source.counted(block, labels(block))

        def counted_scores(block: Block) -> Tensor:
            return source.counted(block, scores(block))

        return _bias(counted_labels, counted_scores, sample, len(source.values), self._phase, team)

    def labels(self, settled: Settled, bias: Sequence[float], store: Store | None) -> BlockLabels:
        """The smoothed labels."""
        import numpy as np

        from mcrgen.generation.labels import classified

        values = self.source.values
        numbers = classified(self._scores(_numbered(self.source.labels(settled, store), values)), bias, self._phase)
        table = np.array(values, np.uint8)

        def found(block: Block) -> NDArray[np.uint8]:
            labels: NDArray[np.uint8] = table[numbers(block)]
            return labels

        return found

    @property
    def _phase(self) -> int:
        """Number of the phase of interest among the labels."""
        return self.source.values.index(self.source.phase)

    def _scores(self, numbers: BlockLabels) -> BlockScores:
        from mcrgen.generation.smoothing import smoothed

        return smoothed(numbers, phases=len(self.source.values), phase=self._phase, sigma=self.sigma)

    def _drawn(self) -> list[Block]:
        """Blocks drawn at random until each part of the medium has its share of voxels in them, or all that it has."""
        import numpy as np

        from mcrgen.generation.blocks import grid

        blocks = list(grid(self.shape, _SAMPLE_EDGE))
        found, wanted = np.zeros(self.source.parts, np.int64), _SAMPLE_VOXELS // self.source.parts
        drawn = []
        for number in np.random.default_rng(_SAMPLE_SEED).permutation(len(blocks)):
            here = self.source.voxels(blocks[number])
            if (here[found < wanted] > 0).any():
                drawn.append(blocks[number])
                found += here
            if (found >= wanted).all():
                break
        if not drawn:
            raise InputError(EMPTY)
        return drawn


def _numbered(labels: BlockLabels, values: Sequence[int]) -> BlockLabels:
    """The number of each label among those that there are, so that none can come up that is not one of them."""
    import numpy as np

    table = np.zeros(max(values) + 1, np.uint8)
    table[list(values)] = np.arange(len(values))

    def found(block: Block) -> NDArray[np.uint8]:
        numbers: NDArray[np.uint8] = table[labels(block)]
        return numbers

    return found


def _bias(labels: BlockLabels, scores: BlockScores, blocks: Sequence[Block], count: int, phase: int, team: Team) -> list[float]:
    """The bias that keeps the fractions; of more than two labels, those that the blocks do not have keep a bias of 0."""
    import numpy as np

    from mcrgen.generation.exact import exact_bias
    from mcrgen.generation.smoothing import fraction_preserving_bias

    if count == 2:
        return list(fraction_preserving_bias(labels, scores, blocks, phases=2, phase=phase, team=team))
    counts = np.zeros(count, np.int64)
    for block in team.share(blocks):
        counts += np.bincount(labels(block).ravel(), minlength=count)
    counts = team.total(counts)
    there = np.flatnonzero(counts).tolist()
    fractions = (counts[there] / counts.sum()).tolist()

    def contrast(block: Block) -> Tensor:
        """How far the second of two labels is ahead of the first."""
        found = scores(block)
        return found[there[1:]] - found[there[:1]]

    bias = np.zeros(count)
    if len(there) == 2:
        bias[there[1]] = exact_bias(contrast, blocks, fractions, 1, team)[0]
    elif len(there) > 2:
        bias[there] = exact_bias(lambda block: scores(block)[there], blocks, fractions, 0, team)
    return [float(value) for value in bias]
