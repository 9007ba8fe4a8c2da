"""A volume that is made where and when it is looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.errors import InputError, require_fraction, require_positive, require_seed

Triple = tuple[int, int, int]


class VirtualVolume:
    """Labels of a generated volume, indexed like an array and computed when they are asked for.

    ``VirtualVolume("model.ckpt", seed=3)[0:64, 100:200, 7]`` is the same as cut from the volume that ``mcrgen generate`` writes
    with that seed. Blocks are kept in a cache, so that neighbouring looks do not compute anew. Works with
    ``dask.array.from_array(volume, chunks=128)``.

    Attributes:
        shape: ``(D, H, W)`` in voxels; the field itself has no end, and a larger volume of the same seed begins with this one.
        dtype: uint8.
        ndim: 3.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(
        self,
        checkpoint: str | Path,
        seed: int = 0,
        *,
        size: int | Triple = 1024,
        phase_fraction: float | None = None,
        precision: str = "auto",
        device: str = "auto",
        block_size: int = 64,
        cached_blocks: int = 64,
    ) -> None:
        """Load a generator; nothing is generated yet.

        Args:
            checkpoint: the model.ckpt of a training run.
            seed: seed of the noise, 0 or more.
            size: edge length, or (D, H, W), in voxels.
            phase_fraction: fraction of the phase of interest: of a checkpoint trained for a range, any within it; of others
                near the trained one, by the threshold. The trained one if None.
            precision: auto, fp32, bf16 or fp16.
            device: auto, cpu, cuda or cuda:N.
            block_size: edge length of the blocks that are computed and kept, in voxels.
            cached_blocks: how many blocks are kept, the least lately used going first.

        Raises:
            InputError: a setting out of its range, or a checkpoint that is none.
        """
        require_seed(seed)
        shape = (size,) * 3 if isinstance(size, int) else tuple(size)
        if len(shape) != 3 or min(shape) <= 0:
            raise InputError(f"size: expected one or three edge lengths greater than 0, got {size}.")
        require_positive("block_size", block_size)
        require_positive("cached_blocks", cached_blocks)
        if phase_fraction is not None:
            require_fraction("phase_fraction", phase_fraction)
        if precision not in list(Precision):
            raise InputError(f"precision: expected one of {', '.join(Precision)}, got '{precision}'.")
        self.shape: Triple = (shape[0], shape[1], shape[2])
        self.seed = seed
        self.block_size = block_size
        self._cached_blocks = cached_blocks
        self._loaded = load_generator(Path(checkpoint), device, Precision(precision)).at(phase_fraction)
        self._bias = self._loaded.calibration(phase_fraction).bias
        self._cache: OrderedDict[Triple, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"VirtualVolume(shape={self.shape}, seed={self.seed})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Labels at integers, slices (also with steps) and ``...``."""
        spans = [self._span(part, length) for part, length in zip(self._full(index), self.shape, strict=True)]
        if any(len(span) == 0 for span in spans):
            box = np.empty([len(span) for span in spans], np.uint8)
        else:
            first, last = [min(span) for span in spans], [max(span) for span in spans]
            whole = self._box(first, [b + 1 for b in last])
            box = whole[np.ix_(*(np.array(span) - low for span, low in zip(spans, first, strict=True)))]
        flat = tuple(0 if not isinstance(part, slice) else slice(None) for part in self._full(index))
        labels: NDArray[np.uint8] = box[flat]
        return labels

    def _full(self, index: Any) -> list[Any]:
        """One entry per axis."""
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            place = parts.index(Ellipsis)
            parts[place : place + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        if len(parts) > self.ndim or not all(isinstance(p, slice | int | np.integer) for p in parts):
            raise IndexError(f"expected up to {self.ndim} integers or slices, got {index!r}")
        return parts

    @staticmethod
    def _span(part: Any, length: int) -> range:
        if isinstance(part, slice):
            return range(length)[part]
        place = range(length)[int(part)]
        return range(place, place + 1)

    def _box(self, start: list[int], stop: list[int]) -> NDArray[np.uint8]:
        """Labels of a box, put together from blocks."""
        box = np.empty([b - a for a, b in zip(start, stop, strict=True)], np.uint8)
        ranges = [range(a // self.block_size, ceil(b / self.block_size)) for a, b in zip(start, stop, strict=True)]
        for place in product(*ranges):
            corner = [p * self.block_size for p in place]
            inside = [(max(a, c), min(b, c + self.block_size)) for a, b, c in zip(start, stop, corner, strict=True)]
            target = tuple(slice(low - a, high - a) for (low, high), a in zip(inside, start, strict=True))
            source = tuple(slice(low - c, high - c) for (low, high), c in zip(inside, corner, strict=True))
            box[target] = self._block((place[0], place[1], place[2]))[source]
        return box

    def _block(self, place: Triple) -> NDArray[np.uint8]:
        """A block of the cache, computed if it is not there; one at a time, whichever thread asks."""
        from mcrgen.generation.calibration import classify
        from mcrgen.generation.noise import Noise

        with self._lock:
            if place not in self._cache:
                origin = (place[0] * self.block_size, place[1] * self.block_size, place[2] * self.block_size)
                scores = self._loaded.generator.scores(Noise(self.seed), origin, (self.block_size,) * 3)
                self._cache[place] = classify(scores, self._bias, self._loaded.phase).cpu().numpy()
                while len(self._cache) > self._cached_blocks:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(place)
            return self._cache[place]
