"""Sliding windows of large segmented micrographs as training data: batches of small label images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mcrgen.data.resampling import resize_labels
from mcrgen.data.sliding_windows import SlidingWindows, WindowPlan
from mcrgen.data.symmetry import Symmetry
from mcrgen.data.turns import random_elements, turn_each
from mcrgen.data.window_draws import WindowDraw
from mcrgen.errors import InputError
from mcrgen.io.label_files import LabelFile
from mcrgen.io.phases import Phases, indicators, phase_fractions

_CHUNK_VOXELS = 1 << 23
_SAMPLE_VOXELS = 1 << 26
_MOST_SAMPLED = 1024
_CHECKED = 256
_AHEAD = 2


class Crops(LightningDataModule):
    """Crops of micrographs, resized and labelled again, as GANs of microstructures are trained with.

    The data of Amiri, Vasconcelos, Jiao, Chen and Pluemper (Sci. Rep. 13, 2023, 1732): overlapping sliding windows of one large
    segmented micrograph. They are read as they are drawn, so that there may be any number of them. Crops from the end of each
    file may be held out from training, which the paper does not do.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[LabelFile]],
        phases: Phases,
        *,
        dimensions: int,
        normals: Sequence[int],
        window: int,
        stride: int,
        size: int,
        symmetry: Sequence[Symmetry],
        batch: int,
        updates: int,
        held_out: float,
        balanced: bool,
        seed: int,
    ) -> None:
        """Number the windows of the files and look at some of them.

        Args:
            sources: for each section normal that is trained its open files; they stay open as long as batches are asked for.
            phases: what the labels of all files mean.
            dimensions: of the crops, 2 or 3. Volumes give 2D crops of all their sections normal to one axis.
            normals: for each source the axis (0 z, 1 y, 2 x) of volumes that 2D crops are normal to; without a meaning for
                images and for 3D crops. Crops have the remaining axes in their order.
            window: edge length of a window in voxels.
            stride: distance of neighbouring windows in voxels. The last window of a row ends where the training part does.
            size: edge length in voxels that windows are resized to, see :func:`~mcrgen.data.resampling.resize_labels`.
            symmetry: group of each source: each crop is turned by a random element of it; the eight of the square and the 48 of
                the cube, the four of the rectangle and the eight reflections of a block, or the identity.
            batch: crops for one update of a critic, in all processes together.
            updates: updates of a critic in one step.
            held_out: share of each file, at the end of its longest axis, that no crop of a batch touches.
            balanced: draw a phase first, each as probable as the others, then a window with a probability proportional to the
                share of that phase in it; otherwise all windows are equally probable. It shows a rare phase more often, so that
                what is learnt has other phase fractions than the micrograph; calibration puts them right.
            seed: seed of the draws.

        Raises:
            InputError: 3D crops of an image; windows that do not fit, none to hold out, fewer than a batch, or of one phase.
        """
        super().__init__()
        _check_numbers(window=window, stride=stride, size=size, batch_size=batch)
        if not 0.0 <= held_out < 1.0:
            raise InputError(f"data.held_out: expected a share from 0 to below 1, got {held_out:g}.")
        self.phases, self.size = phases, size
        self.dimensions, self.symmetry = dimensions, tuple(symmetry)
        self.crops_per_update, self.updates = batch, updates
        self.seed = seed
        self._files = [tuple(files) for files in sources]
        _check_dimensions(self._files, dimensions)
        self._plans = [WindowPlan(window, stride, held_out, n if dimensions == 2 else None) for n in normals]
        self._windows = [plan.training(files) for plan, files in zip(self._plans, self._files, strict=True)]
        for plan, files, windows in zip(self._plans, self._files, self._windows, strict=True):
            plan.monitoring(files, 1)
            if len(windows) < batch:
                raise InputError(
                    f"data.stride: expected one that leaves at least trainer.batch_size={batch} windows, got {stride} with "
                    f"{len(windows)} windows of '{files[0].path}'; choose a smaller stride."
                )
            self._check_phases(windows, files)
        self._draws = [WindowDraw(windows, phases.count if balanced else None) for windows in self._windows]

    @property
    def count(self) -> list[int]:
        """Number of training windows of each source."""
        return [len(windows) for windows in self._windows]

    @cached_property
    def phase_fractions(self) -> list[float]:
        """Fraction of each phase in the crops of the batches, the mean of the sources.

        Of a sample of at most 1024 crops of each source, evenly spread over the windows (balanced: over their probabilities),
        after they are resized.
        """
        count = int(np.clip(_SAMPLE_VOXELS // self._plans[0].window ** self.dimensions, 16, _MOST_SAMPLED))
        found = [
            phase_fractions(self._crops(windows, draw.spread(count)), self.phases.count)
            for windows, draw in zip(self._windows, self._draws, strict=True)
        ]
        means: list[float] = np.mean(found, axis=0).tolist()
        return means

    def batch(self, step: int) -> Tensor:
        """Crops of a step: a function of the seed and the step alone.

        In distributed training a process gets its own share of the crops of each update, consecutive ones; all shares one after
        the other are what a single process would get.

        Returns:
            ``(sources, updates, B, C, *spatial)`` float32 in {-1, 1}: the indicator of the phase of interest for two phases,
            one-hot for three and more; B is the batch divided by the number of processes.

        Raises:
            InputError: the batch is not divisible by the number of processes; a file is damaged.
        """
        share = self._share()
        labels = np.stack([self._labels(step, source, share) for source in range(len(self._windows))])
        channels = np.moveaxis(indicators(labels, self.phases), 0, 3)
        return torch.from_numpy(np.ascontiguousarray(channels)).mul_(2.0).sub_(1.0)

    def held_out_windows(self, count: int, normal: int | None = None) -> NDArray[np.uint8]:
        """Crops that no batch shows, evenly spread over the held-out parts of all files; over everything if none is held out.

        They do not overlap unless fewer than ``count`` would fit.

        Args:
            count: how many at most.
            normal: the source; None for all of them, whose crops take turns.

        Returns:
            ``(N, *spatial)`` labels 0..n-1 of the size of the crops, as they lie in the files.
        """
        sources = range(len(self._files)) if normal is None else [normal]
        shares = [count // len(sources) + (i < count % len(sources)) for i in range(len(sources))]
        found = [self._held_out(source, share) for source, share in zip(sources, shares, strict=True)]
        ranks = np.concatenate([(np.arange(len(crops)) + 0.5) / max(1, len(crops)) for crops in found])
        return np.concatenate(found)[np.argsort(ranks, kind="stable")]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches from the trainer's current step on, prepared while the step before is computed."""
        start = self.trainer.global_step if self.trainer else 0
        return DataLoader(CropBatches(self, start), batch_size=None)

    def _share(self) -> slice:
        """Which crops of an update are this process's."""
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        if self.crops_per_update % world:
            raise InputError(
                f"trainer.batch_size: expected a multiple of the number of processes, {world}, got {self.crops_per_update}."
            )
        each = self.crops_per_update // world
        return slice(rank * each, (rank + 1) * each)

    def _labels(self, step: int, source: int, share: slice) -> NDArray[np.uint8]:
        """Turned labels ``(updates, B, *spatial)`` of this process's share of the one draw of all processes."""
        rng = np.random.default_rng([self.seed, step, source])
        windows, drawn = self._windows[source], self.updates * self.crops_per_update
        shape = self.updates, self.crops_per_update
        indices = self._draws[source].random(drawn, rng).reshape(shape)[:, share]
        elements = random_elements(self.symmetry[source], self.dimensions, drawn, rng).reshape(shape)[:, share]
        crops = turn_each(self._crops(windows, indices.ravel()), elements.ravel())
        return crops.reshape(*indices.shape, *crops.shape[1:])

    def _crops(self, windows: SlidingWindows, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Resized windows, a few at a time where they are large."""
        step = max(1, _CHUNK_VOXELS // self._plans[0].window ** self.dimensions)
        parts = [indices[i : i + step] for i in range(0, len(indices), step)]
        return np.concatenate([resize_labels(windows.gather(part), self.size, self.phases.count) for part in parts])

    def _held_out(self, source: int, count: int) -> NDArray[np.uint8]:
        windows = self._plans[source].monitoring(self._files[source], count)
        kept = min(count, len(windows))
        if kept == 0:
            return np.empty((0, *[self.size] * self.dimensions), np.uint8)
        return self._crops(windows, np.linspace(0, len(windows) - 1, kept).round().astype(np.int64))

    def _check_phases(self, windows: SlidingWindows, files: Sequence[LabelFile]) -> None:
        """Raise if a sample of crops, evenly spread, shows one phase and no other."""
        seen: set[int] = set()
        indices = WindowDraw(windows, None).spread(_CHECKED)
        for part in np.array_split(indices, max(1, len(indices) // 16)):
            seen |= set(np.unique(self._crops(windows, part)).tolist())
            if len(seen) > 1:
                return
        raise InputError(
            f"data.window: expected crops of more than one phase, {len(indices)} of '{files[0].path}' show only the value "
            f"{self.phases.values[seen.pop()]}: single-phase crops only; choose larger windows or another micrograph."
        )


class CropBatches(IterableDataset[Tensor]):
    """Endless batches from one step on: a resumed run goes on with the very crops it would have seen."""

    def __init__(self, crops: Crops, start: int) -> None:
        """Keep the crops and the first step."""
        self.crops = crops
        self.start = start

    def __iter__(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(1, "crops") as pool:
            coming = deque(pool.submit(self.crops.batch, self.start + i) for i in range(_AHEAD))
            step = self.start + _AHEAD
            try:
                while True:
                    ready = coming.popleft().result()
                    coming.append(pool.submit(self.crops.batch, step))
                    step += 1
                    yield ready
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _check_numbers(**numbers: int) -> None:
    for key, value in numbers.items():
        name = f"trainer.{key}" if key == "batch_size" else f"network.{key}" if key == "size" else f"data.{key}"
        least = 2 if key == "window" else 1
        if value < least:
            raise InputError(f"{name}: expected {least} or more, got {value}.")


def _check_dimensions(sources: Sequence[Sequence[LabelFile]], dimensions: int) -> None:
    for files in sources:
        for file in files:
            if len(file.shape) < dimensions:
                raise InputError(f"network.dimensions: expected 2, '{file.path}' is an image, got {dimensions}.")
