"""One segmented image as training data: batches of its local patterns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mcrgen.data.control import control_patterns
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.two_point import autocovariance_map, symmetrise

NORMALS = 3


class PatternBatches(IterableDataset[Tensor]):
    """Endless batches of patterns.

    Batch ``step`` is a function of ``(seed, step)`` alone: a resumed run goes on with the very patterns it would have seen.
    """

    def __init__(self, patterns: Tensor, *, count: int, symmetric: bool, seed: int, start: int) -> None:
        """Keep ``patterns`` ``(N, C, T, T)``; each batch holds ``count`` of them for each of the three section normals."""
        self.patterns = patterns
        self.count = count
        self.symmetric = symmetric
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        step = self.start
        while True:
            yield torch.stack([self._draw(step, normal) for normal in range(NORMALS)])
            step += 1

    def _draw(self, step: int, normal: int) -> Tensor:
        rng = np.random.default_rng([self.seed, step, normal])
        chosen = self.patterns[torch.from_numpy(rng.integers(len(self.patterns), size=self.count))]
        if self.symmetric:
            chosen = torch.cat([_turn(part, i) for i, part in enumerate(chosen.chunk(8))])
        return chosen.flatten(1)


def _turn(patterns: Tensor, element: int) -> Tensor:
    """Apply one of the eight rotations and reflections of the square."""
    turned = torch.rot90(patterns, element % 4, (-2, -1))
    return turned.flip(-1) if element >= 4 else turned


class Exemplar(LightningDataModule):
    """Patterns of one 2D image, resampled to a target phase fraction where one is asked for.

    A batch is ``(3, count, C * T * T)`` float32 in {-1, 1}: for each section normal (z, y, x) an independent draw.
    """

    def __init__(
        self,
        indicator: NDArray[np.float32],
        *,
        patch_size: int,
        count: int,
        symmetric: bool,
        seed: int,
        phase_fraction: float | None,
    ) -> None:
        """Cut the image into patterns and choose among them.

        Args:
            indicator: ``(C, H, W)`` phase indicator channels in [0, 1].
            patch_size: edge length T of a pattern in pixels.
            count: patterns per batch and normal.
            symmetric: show each pattern in one of its eight rotations and reflections, drawn anew at each batch: right
                for isotropic media and a lower-variance target; off for media with a direction.
            seed: seed of the draws.
            phase_fraction: target mean of the patterns (two phases only), or None for the image's own.

        Raises:
            InputError: the target phase fraction is out of reach.
        """
        super().__init__()
        self.image = indicator
        image = torch.from_numpy(indicator)
        patterns = local_patterns(image[None], patch_size)
        patterns = patterns.reshape(len(patterns), len(image), patch_size, patch_size)
        if phase_fraction is not None:
            fractions = patterns.mean(dim=(1, 2, 3)).numpy()
            patterns = patterns[torch.from_numpy(control_patterns(fractions, phase_fraction))]
        self.patterns = 2.0 * patterns - 1.0
        self.count = count
        self.symmetric = symmetric
        self.seed = seed

    def covariance(self, max_lag: int) -> Tensor:
        """Autocovariance ``(C, 2 max_lag + 1, 2 max_lag + 1)`` of the image.

        It is averaged over rotations and reflections if symmetric, and is the target of generated slices as long as the phase
        fraction is the image's own.
        """
        measured = autocovariance_map(torch.from_numpy(self.image)[None], max_lag)
        return symmetrise(measured) if self.symmetric else measured

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches from the trainer's current step on."""
        start = self.trainer.global_step if self.trainer else 0
        batches = PatternBatches(self.patterns, count=self.count, symmetric=self.symmetric, seed=self.seed, start=start)
        return DataLoader(batches, batch_size=None)
