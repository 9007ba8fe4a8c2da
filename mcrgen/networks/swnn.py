"""The SWNN generator: unpadded 3D convolutions that turn Gaussian noise into phase scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mcrgen.networks.conditioning import Conditioning
from mcrgen.networks.folded import FoldedNetwork, InferenceNetwork
from mcrgen.networks.modulated import ModulatedNetwork

NEGATIVE_SLOPE = 0.01
KERNEL_SIZE = 3

Inference = TypeVar("Inference", bound=InferenceNetwork)


class _Block(nn.Module):
    """Unpadded 3x3x3 convolution, batch normalisation (where asked for), modulation (where given), leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, normalise: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, KERNEL_SIZE)
        self.norm = nn.BatchNorm3d(out_channels) if normalise else nn.Identity()

    def forward(self, x: Tensor, axes: tuple[int, int, int], modulation: Tensor | None) -> Tensor:
        weight, bias = self.conv.weight.permute(0, 1, *(2 + a for a in axes)), cast("Tensor", self.conv.bias)
        if modulation is None:
            x = self.norm(F.conv3d(x, weight, bias))
        elif isinstance(self.norm, nn.BatchNorm3d):  # through its own affine map, without another pass over the volume
            factor, summand = modulation
            affine = {"weight": self.norm.weight * factor, "bias": self.norm.bias * factor + summand}
            x = functional_call(self.norm, affine, (F.conv3d(x, weight, bias),))
        else:
            factor, summand = modulation
            x = F.conv3d(x, weight * factor[:, None, None, None, None], bias * factor + summand)
        return F.leaky_relu(x, NEGATIVE_SLOPE, inplace=True)


class SWNN(nn.Module):
    """Fully convolutional 3D generator of Ma, Teng, Yan et al. (SWNN).

    ``layers`` blocks of an unpadded 3x3x3 convolution, batch normalisation (not in the first block) and leaky ReLU
    (slope 0.01), then a 1x1x1 convolution. Each output voxel depends on a cube of ``2 * layers + 1`` noise voxels and
    on nothing else, so that volumes of any size can be made in blocks. The output is one score per voxel for two
    phases (the phase of interest where it exceeds a threshold) and C scores for C >= 3 phases (the largest wins).

    A conditional network makes one medium for each number in a range, such as a phase fraction: every layer's channels are
    scaled and shifted between normalisation and leaky ReLU as :class:`Conditioning` says (not in the paper, which trains a
    network for each phase fraction). The statistics of its batch normalisation belong to one number at a time.

    Size rule: any spatial size above ``2 * halo`` per axis; every axis comes out ``2 * halo`` voxels shorter.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        channels: int,
        layers: int,
        noise_channels: int,
        condition_range: tuple[float, float] | None = None,
    ) -> None:
        """Build the network with PyTorch's default initialisation.

        Args:
            out_channels: scores per voxel: 1 for two phases, C for C >= 3 phases.
            channels: width of every hidden layer.
            layers: number of 3x3x3 blocks; the receptive field is ``2 * layers + 1`` voxels wide.
            noise_channels: Gaussian noise values per input voxel.
            condition_range: lowest and highest number of a conditional network; None for an unconditional one.
        """
        super().__init__()
        widths = [noise_channels] + [channels] * layers
        self.blocks = nn.ModuleList(_Block(widths[i], widths[i + 1], normalise=i > 0) for i in range(layers))
        self.head = nn.Conv3d(channels, out_channels, 1)
        self.noise_channels = noise_channels
        self.conditioning = None
        if condition_range is not None:
            self.conditioning = Conditioning(*condition_range, layers=layers, channels=channels)

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

    def forward(
        self, noise: Tensor, axes: tuple[int, int, int] = (0, 1, 2), *, condition: float | Tensor | None = None
    ) -> Tensor:
        """Map noise to scores.

        Args:
            noise: ``(B, noise_channels, D + 2h, H + 2h, W + 2h)`` with ``h = halo``.
            axes: which axis of the medium (0 = z, 1 = y, 2 = x) each of the three spatial axes of ``noise`` runs
                along. The kernels are turned accordingly, so a slab normal to any axis of the medium can be computed
                in the memory layout the hardware likes best; for i.i.d. noise this equals transposing the input.
            condition: the number of a conditional network, the same for the whole batch.

        Returns:
            Scores ``(B, out_channels, D, H, W)``, axes in the order of the input's.
        """
        x = noise
        for block, modulation in zip(self._blocks(), self._modulation(condition), strict=True):
            x = block(x, axes, modulation)
        scores: Tensor = self.head(x)
        return scores

    def _modulation(self, condition: float | Tensor | None) -> Iterable[Tensor | None]:
        """Factors and summands ``(2, channels)`` of each layer; None for none."""
        if self.conditioning is None:
            return [None] * len(self.blocks)
        return cast("Tensor", self.conditioning(torch.as_tensor(condition, device=self.head.weight.device)))

    @property
    def statistics(self) -> Tensor:
        """Running means and variances of the normalised layers, ``(layers - 1, 2, channels)``; can be set."""
        values = [cast("Tensor", value) for norm in self._norms() for value in (norm.running_mean, norm.running_var)]
        return torch.cat([self.head.weight.new_empty(0), *values]).reshape(-1, 2, self.head.in_channels)

    @statistics.setter
    def statistics(self, values: Tensor) -> None:
        for norm, (mean, variance) in zip(self._norms(), values, strict=True):
            cast("Tensor", norm.running_mean).copy_(mean)
            cast("Tensor", norm.running_var).copy_(variance)

    def _norms(self) -> list[nn.BatchNorm3d]:
        return [block.norm for block in self._blocks() if isinstance(block.norm, nn.BatchNorm3d)]

    @torch.no_grad()
    def folded(self, dtype: torch.dtype, condition: float | None = None) -> FoldedNetwork:
        """Return an inference copy: batch normalisation folded into the convolutions, channels-last, on the same device.

        It has the same halo and equals the network in eval mode up to rounding. The network itself is not changed.

        Args:
            dtype: data type of the 3x3x3 convolutions. The final 1x1x1 convolution is always float32: in bfloat16 many scores
                would tie at the threshold, and a phase fraction could not be set finer than the ties.
            condition: the number of a conditional network; its modulation is folded in too.
        """
        convolutions = [_folded(block.conv, *affine).to(dtype) for block, affine in self._affine(condition)]
        return _for_inference(FoldedNetwork(convolutions, deepcopy(self.head), NEGATIVE_SLOPE))

    @torch.no_grad()
    def modulated(self, dtype: torch.dtype, conditions: Tensor, statistics: Tensor, thresholds: Tensor) -> ModulatedNetwork:
        """Return an inference copy of a conditional network whose number varies from voxel to voxel, on the same device.

        Args:
            dtype: data type of the 3x3x3 convolutions.
            conditions: ``(N,)`` numbers at equal distances, ascending.
            statistics: ``(N, layers - 1, 2, channels)`` :attr:`statistics` at each.
            thresholds: ``(N, out_channels)``, taken off the scores at each.
        """
        kept, tables = self.statistics, []
        for condition, values in zip(conditions.tolist(), statistics, strict=True):
            self.statistics = values
            tables.append(torch.stack([torch.stack(affine) for _, affine in self._affine(condition)]))
        self.statistics = kept
        factors, summands = torch.stack(tables).unbind(dim=2)  # (N, layers, channels)
        shifts = (summands / factors)[len(conditions) // 2]  # the convolutions' at the middle number, so that little is left
        convolutions = [
            _folded(block.conv, torch.ones_like(shift), shift).to(dtype)
            for block, shift in zip(self._blocks(), shifts, strict=True)
        ]
        summands = summands - factors * shifts
        network = ModulatedNetwork(
            convolutions,
            deepcopy(self.head),
            NEGATIVE_SLOPE,
            conditions=conditions.to(factors.device),
            factors=factors,
            summands=summands,
            thresholds=thresholds.to(factors.device),
        )
        return _for_inference(network)

    def _affine(self, condition: float | None) -> Iterator[tuple[_Block, tuple[Tensor, Tensor]]]:
        """Each block with the factor and the summand per channel that follow its convolution in eval mode."""
        for block, modulation in zip(self._blocks(), self._modulation(condition), strict=True):
            factor, summand = _normalisation(block.norm, cast("Tensor", block.conv.bias))
            if modulation is not None:
                factor, summand = factor * modulation[0], summand * modulation[0] + modulation[1]
            yield block, (factor, summand)


def _normalisation(norm: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and summand per channel of a batch normalisation in eval mode; of none, 1 and 0."""
    if not isinstance(norm, nn.BatchNorm3d):
        return torch.ones_like(like), torch.zeros_like(like)
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    factor = norm.weight / torch.sqrt(variance + norm.eps)
    return factor, norm.bias - mean * factor


def _folded(conv: nn.Conv3d, factor: Tensor, summand: Tensor) -> nn.Conv3d:
    """Copy of a convolution with what follows it multiplied into it."""
    folded = deepcopy(conv)
    folded.weight.copy_(conv.weight * factor[:, None, None, None, None])
    cast("Tensor", folded.bias).copy_(cast("Tensor", conv.bias) * factor + summand)
    return folded


def _for_inference(network: Inference) -> Inference:
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last_3d)
