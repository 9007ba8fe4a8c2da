"""A generator that grows a medium from a field of latent cells, as a field over the unlimited voxel grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from mcrgen.generation.blocks import Triple
from mcrgen.generation.generator import noise_tensor
from mcrgen.generation.noise import Noise
from mcrgen.networks.dcgan import ConvolutionalGenerator

_BYTES = 4
_COPIES = 3


@dataclass(frozen=True)
class LatentGenerator:
    """The generator of a GAN in the place of :class:`~mcrgen.generation.generator.Generator`.

    The latent values are the noise at the coordinates of cells, each ``step`` voxels wide, so that blocks agree where they
    overlap and a period must be whole cells. 2D networks make volumes of one plane.

    Attributes:
        network: in evaluation mode, on the device and in the data type to compute in.
    """

    network: ConvolutionalGenerator

    @property
    def out_channels(self) -> int:
        """Scores per voxel."""
        return self.network.out_channels

    @property
    def halo(self) -> int:
        """Voxels beyond which the medium is independent: those of one cell."""
        return self.network.step

    def memory(self, shape: Triple) -> int:
        """Bytes that the scores of a box take to compute, about: the last hidden layer and the scores."""
        dimensions, step = self.network.dimensions, self.network.step
        voxels: int = prod(step * (length // step + 2) for length in shape[-dimensions:])
        width: int = self.network.features // 2**dimensions + self.out_channels + 1
        return _BYTES * _COPIES * voxels * width

    @torch.inference_mode()
    def scores(self, noise: Noise, origin: Triple, shape: Triple) -> Tensor:
        """Scores ``(C, D, H, W)`` of the box of ``shape`` voxels whose first voxel is ``origin`` (z, y, x).

        The whole of a generator of one latent vector is one sample; it has no field to cut boxes from, and they start at 0.
        """
        network = self.network
        flat = network.dimensions == 2
        step = (1, network.step, network.step) if flat else (network.step,) * 3
        first = [start // width for start, width in zip(origin, step, strict=True)]
        within = [start - cell * width for start, cell, width in zip(origin, first, step, strict=True)]
        covered = tuple(start + length for start, length in zip(within, shape, strict=True))[-network.dimensions :]
        cells = (1, *network.latent_shape(covered)) if flat else network.latent_shape(covered)
        period = [None if p is None else p // width for p, width in zip(noise.period, step, strict=True)]
        field = replace(noise, period=(period[0], period[1], period[2]))
        z, y, x = first
        depth, height, width = cells
        latent = noise_tensor(field, (z, y, x), (depth, height, width), network.latent_channels, next(network.parameters()))
        scores: Tensor = network(latent[:, :, 0] if flat else latent)[0]
        scores = scores[:, None] if flat else scores
        return scores[(slice(None), *(slice(a, a + length) for a, length in zip(within, shape, strict=True)))]


def sample_scores(generator: LatentGenerator, seeds: Iterable[int], shape: tuple[int, ...]) -> Tensor:
    """Scores ``(N, C, *shape)`` of independent samples, one for each seed, 2D or 3D as the generator is; on the CPU."""
    depth, height, width = (1, *shape) if len(shape) == 2 else shape
    found = [generator.scores(Noise(seed), (0, 0, 0), (depth, height, width)).float().cpu() for seed in seeds]
    stacked = torch.stack(found)
    return stacked[:, :, 0] if len(shape) == 2 else stacked
