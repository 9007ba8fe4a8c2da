"""A trained network as a field over the unlimited voxel grid."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from mcrgen.generation.blocks import Triple
from mcrgen.generation.noise import Noise

_LAYERS_HELD = 2.2


@dataclass(frozen=True)
class Generator:
    """An unpadded inference network and what has to be known to feed it.

    Attributes:
        network: maps ``(1, noise_channels, D + 2 halo, H + 2 halo, W + 2 halo)`` to scores ``(1, C, D, H, W)``, on the device
            and in the data type to compute in.
        halo: voxels it loses per side.
        noise_channels: channels of its input.
    """

    network: nn.Module
    halo: int
    noise_channels: int

    def memory(self, shape: Triple) -> int:
        """Bytes that the scores of a box take to compute, about: the input and the output of the widest layer, and a tenth."""
        width = max(m.out_channels for m in self.network.modules() if isinstance(m, nn.Conv3d))
        voxels = prod(length + 2 * self.halo for length in shape)
        return int(_LAYERS_HELD * voxels * width * next(self.network.parameters()).element_size())

    @torch.inference_mode()
    def scores(self, noise: Noise, origin: Triple, shape: Triple) -> Tensor:
        """Scores ``(C, D, H, W)`` of the box of ``shape`` voxels whose first voxel is ``origin`` (z, y, x).

        Boxes of one noise that overlap agree where they do, up to the rounding of the convolutions. Where the noise has a
        period, so has the field, without a seam: the noise of the halo wraps too.
        """
        like = next(self.network.parameters())
        scores: Tensor = self.network(noise_tensor(noise, origin, shape, self.halo, self.noise_channels, like))
        return scores[0]


def noise_tensor(noise: Noise, origin: Triple, shape: Triple, halo: int, channels: int, like: Tensor) -> Tensor:
    """Noise ``(1, channels, D + 2 halo, H + 2 halo, W + 2 halo)`` around a box of output voxels.

    Channels-last in memory, with the device and data type of ``like``.
    """
    z, y, x = (start - halo for start in origin)
    d, h, w = (length + 2 * halo for length in shape)
    values = torch.from_numpy(noise((z, y, x), (d, h, w), channels))
    return values.to(device=like.device, dtype=like.dtype).permute(3, 0, 1, 2)[None]
