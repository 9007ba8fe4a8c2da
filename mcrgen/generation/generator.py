"""A trained network as a field over the unlimited voxel grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from mcrgen.generation.blocks import Triple
from mcrgen.generation.noise import Noise, ScalarField
from mcrgen.networks.folded import FoldedNetwork
from mcrgen.networks.modulated import ModulatedNetwork


class ScoreField(Protocol):
    """What makes the scores of any box of an unlimited medium."""

    @property
    def out_channels(self) -> int:
        """Scores per voxel."""

    @property
    def halo(self) -> int:
        """Boxes that begin at multiples of this and are more than twice as many voxels apart are independent."""

    def memory(self, shape: Triple) -> int:
        """Bytes that the scores of a box take to compute, about."""

    def scores(self, noise: Noise, origin: Triple, shape: Triple) -> Tensor:
        """Scores ``(C, D, H, W)`` of the box of ``shape`` voxels whose first voxel is ``origin`` (z, y, x)."""


@dataclass(frozen=True)
class Generator:
    """An unpadded inference network and what has to be known to feed it.

    Attributes:
        network: maps ``(1, noise_channels, D + 2 halo, H + 2 halo, W + 2 halo)`` to scores ``(1, C, D, H, W)``, on the device
            and in the data type to compute in.
        halo: voxels it loses per side.
        noise_channels: channels of its input.
        condition: for a :class:`~mcrgen.networks.modulated.ModulatedNetwork`: its number at every voxel.
    """

    network: FoldedNetwork | ModulatedNetwork
    halo: int
    noise_channels: int
    condition: ScalarField | None = None

    @property
    def out_channels(self) -> int:
        """Scores per voxel."""
        return self.network.head.out_channels

    def memory(self, shape: Triple) -> int:
        """Bytes that the scores of a box take to compute, about."""
        depth, height, width = (length + 2 * self.halo for length in shape)
        planes = min(depth, self.network.planes(height, width))
        scores = 2 * 4 * self.out_channels * prod(shape)
        return self.network.memory(planes, height, width) + scores

    @torch.inference_mode()
    def scores(self, noise: Noise, origin: Triple, shape: Triple) -> Tensor:
        """Scores ``(C, D, H, W)`` of the box of ``shape`` voxels whose first voxel is ``origin`` (z, y, x).

        Boxes of one noise that overlap agree where they do, up to the rounding of the convolutions. Where the noise has a
        period, so has the field, without a seam: the noise of the halo wraps too.
        """
        boxes = list(self._boxes(origin, shape))
        values = (self._noise(noise, *box) for box in boxes)
        if isinstance(self.network, FoldedNetwork):
            return torch.cat(list(self.network.slabs(values)), dim=2)[0]
        numbers = (torch.from_numpy(self.condition(*box)) for box in boxes) if self.condition else ()
        return torch.cat(list(self.network.slabs(zip(values, numbers, strict=True))), dim=2)[0]

    def _boxes(self, origin: Triple, shape: Triple) -> Iterator[tuple[Triple, Triple]]:
        """Origins and shapes that a box and its halo are cut into: as many planes at a time as the network likes."""
        depth, height, width = (length + 2 * self.halo for length in shape)
        z, y, x = (start - self.halo for start in origin)
        planes = self.network.planes(height, width)
        for start in range(0, depth, planes):
            yield (z + start, y, x), (min(planes, depth - start), height, width)

    def _noise(self, noise: Noise, origin: Triple, shape: Triple) -> Tensor:
        return noise_tensor(noise, origin, shape, self.noise_channels, next(self.network.parameters()))


def noise_tensor(noise: Noise, origin: Triple, shape: Triple, channels: int, like: Tensor) -> Tensor:
    """Noise ``(1, channels, D, H, W)`` of a box, channels-last in memory, with the device and data type of ``like``."""
    values = torch.from_numpy(noise(origin, shape, channels, threads=torch.get_num_threads()))
    return values.to(device=like.device, dtype=like.dtype).permute(3, 0, 1, 2)[None]
