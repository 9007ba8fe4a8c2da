"""The SWNN generator: unpadded 3D convolutions that turn Gaussian noise into phase scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.networks.folded import FoldedNetwork

NEGATIVE_SLOPE = 0.01
KERNEL_SIZE = 3


class _Block(nn.Module):
    """Unpadded 3x3x3 convolution, batch normalisation (where asked for), leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, normalise: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, KERNEL_SIZE)
        self.norm = nn.BatchNorm3d(out_channels) if normalise else nn.Identity()

    def forward(self, x: Tensor, axes: tuple[int, int, int]) -> Tensor:
        weight = self.conv.weight.permute(0, 1, *(2 + a for a in axes))
        x = F.conv3d(x, weight, self.conv.bias)
        return F.leaky_relu(self.norm(x), NEGATIVE_SLOPE, inplace=True)


class SWNN(nn.Module):
    """Fully convolutional 3D generator of Ma, Teng, Yan et al. (SWNN).

    ``layers`` blocks of an unpadded 3x3x3 convolution, batch normalisation (not in the first block) and leaky ReLU
    (slope 0.01), then a 1x1x1 convolution. Each output voxel depends on a cube of ``2 * layers + 1`` noise voxels and
    on nothing else, so that volumes of any size can be made in blocks. The output is one score per voxel for two
    phases (the phase of interest where it exceeds a threshold) and C scores for C >= 3 phases (the largest wins).

    Size rule: any spatial size above ``2 * halo`` per axis; every axis comes out ``2 * halo`` voxels shorter.
    """

    def __init__(self, *, out_channels: int, channels: int, layers: int, noise_channels: int) -> None:
        """Build the network with PyTorch's default initialisation.

        Args:
            out_channels: scores per voxel: 1 for two phases, C for C >= 3 phases.
            channels: width of every hidden layer.
            layers: number of 3x3x3 blocks; the receptive field is ``2 * layers + 1`` voxels wide.
            noise_channels: Gaussian noise values per input voxel.
        """
        super().__init__()
        widths = [noise_channels] + [channels] * layers
        self.blocks = nn.ModuleList(_Block(widths[i], widths[i + 1], normalise=i > 0) for i in range(layers))
        self.head = nn.Conv3d(channels, out_channels, 1)
        self.noise_channels = noise_channels

    @property
    def halo(self) -> int:
        """Voxels lost on each side of each axis."""
        return sum((block.conv.kernel_size[0] - 1) // 2 for block in self._blocks())

    @property
    def out_channels(self) -> int:
        """Scores per voxel."""
        return self.head.out_channels

    def _blocks(self) -> Iterator[_Block]:
        for block in self.blocks:
            yield cast("_Block", block)

    def forward(self, noise: Tensor, axes: tuple[int, int, int] = (0, 1, 2)) -> Tensor:
        """Map noise to scores.

        Args:
            noise: ``(B, noise_channels, D + 2h, H + 2h, W + 2h)`` with ``h = halo``.
            axes: which axis of the medium (0 = z, 1 = y, 2 = x) each of the three spatial axes of ``noise`` runs
                along. The kernels are turned accordingly, so a slab normal to any axis of the medium can be computed
                in the memory layout the hardware likes best; for i.i.d. noise this equals transposing the input.

        Returns:
            Scores ``(B, out_channels, D, H, W)``, axes in the order of the input's.
        """
        x = noise
        for block in self._blocks():
            x = block(x, axes)
        scores: Tensor = self.head(x)
        return scores

    def folded(self, dtype: torch.dtype) -> FoldedNetwork:
        """Return an inference copy: batch normalisation folded into the convolutions, channels-last, on the same device.

        It has the same halo and equals the network in eval mode up to rounding. The network itself is not changed.

        Args:
            dtype: data type of the 3x3x3 convolutions. The final 1x1x1 convolution is always float32: in bfloat16 many scores
                would tie at the threshold, and a phase fraction could not be set finer than the ties.
        """
        convolutions = [_fold(block.conv, block.norm).to(dtype) for block in self._blocks()]
        folded = FoldedNetwork(convolutions, _fold(self.head, nn.Identity()), NEGATIVE_SLOPE)
        return folded.eval().requires_grad_(False).to(memory_format=torch.channels_last_3d)


@torch.no_grad()
def _fold(conv: nn.Conv3d, norm: nn.Module) -> nn.Conv3d:
    """Copy ``conv`` with the running statistics and affine map of ``norm`` multiplied into it."""
    scale = torch.ones(conv.out_channels, device=conv.weight.device)
    shift = torch.zeros_like(scale)
    if isinstance(norm, nn.BatchNorm3d):
        mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        shift = norm.bias - mean * scale
    kernel = cast("tuple[int, int, int]", conv.kernel_size)
    folded = nn.Conv3d(conv.in_channels, conv.out_channels, kernel, device=conv.weight.device)
    folded.weight.copy_(conv.weight * scale[:, None, None, None, None])
    cast("Tensor", folded.bias).copy_(cast("Tensor", conv.bias) * scale + shift)
    return folded
