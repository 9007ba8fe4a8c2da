"""Segmented images as training data: batches of their local patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mcrgen.data.control import Choice, FractionRange, PhaseFractions, SortedPatterns, Target, reachable_range
from mcrgen.data.covariances import image_covariance, window_covariance
from mcrgen.data.sections import Windows
from mcrgen.data.symmetry import ELEMENTS, Symmetry, average, turn
from mcrgen.data.tilting import tilted_weights
from mcrgen.io.phases import Phases, indicators

_SAMPLE = 20_000

T = TypeVar("T")
R = TypeVar("R")


class Batch(NamedTuple):
    """What a network learns from in one step.

    Attributes:
        patterns: ``(S, count, C * T * T)`` float32 in {-1, 1}: for each of S section normals an independent draw.
        fraction: scalar float32, the target fraction of the phase of interest.
    """

    patterns: Tensor
    fraction: Tensor


@dataclass(frozen=True)
class _Source:
    """Windows of one list of images, and the choice among them for a target."""

    windows: Windows
    choose: Callable[[float], Choice]


class Exemplar(LightningDataModule):
    """Patterns of images, resampled to target phase fractions where they are asked for."""

    def __init__(
        self,
        sections: Sequence[Sequence[NDArray[np.uint8]]],
        phases: Phases,
        *,
        patch_size: int,
        count: int,
        symmetry: Symmetry | Sequence[Symmetry],
        seed: int,
        target: Target,
    ) -> None:
        """Number the windows of the images and prepare the choice among them.

        Args:
            sections: for each section normal that is trained its label images ``(H, W)``, which may differ in size. Normals
                that share one list object share all that is made of it.
            phases: what the labels mean.
            patch_size: edge length T of a pattern in pixels.
            count: patterns per batch and normal.
            symmetry: show each pattern turned by an element of this group, each element equally often: right for media that
                have the symmetry, and a lower-variance target. One for all normals or one for each.
            seed: seed of the draws.
            target: phase fractions to learn.

        Raises:
            InputError: an image is smaller than a pattern, or the targets are out of reach.
        """
        super().__init__()
        self.phases = phases
        self.count = count
        self.symmetry = [symmetry] * len(sections) if isinstance(symmetry, Symmetry) else list(symmetry)
        self.seed = seed
        self.target = target
        windows = _once(lambda images: Windows(images, patch_size), sections)
        self._sources = _sources(windows, phases, target, seed)
        self._own = float(np.mean(_once(lambda w: _fraction(w.images, phases.phase), windows)))

    def fraction(self, step: int) -> float:
        """Target fraction of the phase of interest at a step; the mean over the normals of the images' own without control."""
        if isinstance(self.target, FractionRange):
            return self.target.at(step, self.seed)
        return self._own if self.target is None else self.target.values[self.phases.phase]

    def batch(self, step: int) -> Batch:
        """Batch of a step: a function of the seed and the step alone."""
        fraction = self.fraction(step)
        size = self._sources[0].windows.size
        patterns = torch.empty(len(self._sources), self.count, self.phases.channels, size, size)
        for normal, into in enumerate(patterns):
            labels = self._labels(step, normal, fraction)
            into.copy_(torch.from_numpy(indicators(labels.numpy(), self.phases)).transpose(0, 1))
        return Batch(patterns.mul_(2.0).sub_(1.0).flatten(2), torch.tensor(fraction))

    def _labels(self, step: int, normal: int, fraction: float) -> Tensor:
        """Labels ``(count, T, T)`` of one normal's patterns, as they are turned."""
        rng = np.random.default_rng([self.seed, step, normal])
        source, elements = self._sources[normal], ELEMENTS[self.symmetry[normal]]
        drawn = torch.from_numpy(source.windows.gather(source.choose(fraction).draw(rng, self.count)))
        parts = drawn.tensor_split(len(elements))
        return torch.cat([turn(part, element) for part, element in zip(parts, elements, strict=True)])

    def covariance(self, max_lag: int) -> Tensor:
        """Autocovariance ``(S, C, 2 max_lag + 1, 2 max_lag + 1)`` of each normal's images, averaged over its symmetry group.

        It is the target of generated slices as long as the phase fractions are the images' own.

        Raises:
            InputError: ``max_lag`` is not below the shortest edge of the images.
        """
        measured = _once(lambda source: image_covariance(source.windows.images, self.phases, max_lag), self._sources)
        return torch.stack([average(m, s) for m, s in zip(measured, self.symmetry, strict=True)])

    def pattern_covariance(self, fractions: Sequence[float] | None) -> Tensor:
        """Autocovariance within the patterns learnt from, averaged over each normal's symmetry group.

        All windows with their probabilities are taken where they are at most 20 000, otherwise as many draws.

        Args:
            fractions: K targets within the range of targets, or None for the one target there is.

        Returns:
            ``(K, S, C, 2 T - 1, 2 T - 1)`` float32, K = 1 for None.
        """
        targets = [self.fraction(0)] if fractions is None else fractions
        return torch.stack([self._pattern_covariance(target) for target in targets]).float()

    def _pattern_covariance(self, fraction: float) -> Tensor:
        def measure(source: _Source) -> Tensor:
            choice = source.choose(fraction)
            indices, weights = choice.indices, choice.weights
            if len(indices) > _SAMPLE:
                indices = choice.draw(np.random.default_rng(self.seed), _SAMPLE)
                weights = np.full(_SAMPLE, 1.0 / _SAMPLE)
            return window_covariance(source.windows.gather(indices), weights, self.phases)

        measured = _once(measure, self._sources)
        return torch.stack([average(m, s) for m, s in zip(measured, self.symmetry, strict=True)])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches from the trainer's current step on."""
        start = self.trainer.global_step if self.trainer else 0
        return DataLoader(PatternBatches(self, start), batch_size=None)


class PatternBatches(IterableDataset[Batch]):
    """Endless batches from one step on: a resumed run goes on with the very patterns it would have seen."""

    def __init__(self, exemplar: Exemplar, start: int) -> None:
        """Keep the exemplar and the first step."""
        self.exemplar = exemplar
        self.start = start

    def __iter__(self) -> Iterator[Batch]:
        step = self.start
        while True:
            yield self.exemplar.batch(step)
            step += 1


def _once(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Value of the function for each item, worked out once for items that are one object."""
    values: dict[int, R] = {}
    for item in items:
        if id(item) not in values:
            values[id(item)] = function(item)
    return [values[id(item)] for item in items]


def _fraction(images: Sequence[NDArray[np.uint8]], phase: int) -> float:
    """Fraction of a phase in all pixels of the images."""
    return sum(np.count_nonzero(image == phase) for image in images) / sum(image.size for image in images)


def _sources(windows: Sequence[Windows], phases: Phases, target: Target, seed: int) -> list[_Source]:
    """How to choose among each normal's windows for a target.

    Raises:
        InputError: targets out of reach of a normal's windows.
    """
    if isinstance(target, FractionRange):
        fractions = _once(lambda w: w.fractions(phases.count)[:, phases.phase], windows)
        lows, highs = zip(*_once(reachable_range, fractions), strict=True)
        target.require_within((max(lows), min(highs)))
        cuts = _once(lambda f: SortedPatterns(f, seed).choice, fractions)
        pairs = {id(w): _Source(w, choose) for w, choose in zip(windows, cuts, strict=True)}
        return [pairs[id(w)] for w in windows]
    return _once(lambda w: _fixed_source(w, phases, target), windows)


def _fixed_source(windows: Windows, phases: Phases, target: PhaseFractions | None) -> _Source:
    """All windows, with equal probabilities or with those that give one target for each phase."""
    cumulative = None
    if target is not None:
        cumulative = np.cumsum(tilted_weights(windows.fractions(phases.count), target.values))
        cumulative /= cumulative[-1]
    choice = Choice(np.arange(len(windows)), cumulative)
    return _Source(windows, lambda _: choice)
