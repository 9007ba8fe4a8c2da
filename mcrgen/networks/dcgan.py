"""Convolutional generator of 2D and 3D media: DCGAN's of one latent vector, SliceGAN's of a field of latent vectors."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.errors import InputError
from mcrgen.networks.convolutional import LAYERS, allowed_sizes, hidden_widths, initialise, require_channels

__all__ = ["ConvolutionalGenerator", "Latent", "Upsampling", "allowed_sizes"]


class Upsampling(StrEnum):
    """How a layer doubles the resolution.

    - ``transposed``: a transposed convolution of 4 voxels at stride 2, as published.
    - ``resize``: every voxel repeated, then a convolution; no checkerboard artefacts (Odena, Dumoulin and Olah, Distill 2016).
    """

    transposed = "transposed"
    resize = "resize"


class Latent(StrEnum):
    """What an image or a volume is made from.

    - ``vector``: one latent vector (Radford et al. 2016).
    - ``field``: a field of latent vectors, four per axis in training (Kench and Cooper 2021); media of any size.
    """

    vector = "vector"
    field = "field"


class ConvolutionalGenerator(nn.Module):
    """Generator of scores from latent vectors, by layers that double the resolution.

    Every layer but the last is followed by batch normalisation and ReLU. The last hidden layer is ``features`` wide; widths
    double towards the latent vectors up to ``max_features``. Weights are drawn by
    :func:`mcrgen.networks.convolutional.initialise` from PyTorch's global random state.

    ``Latent.vector`` is the DCGAN of Radford, Metz and Chintala (ICLR 2016; arXiv:1511.06434): a transposed convolution of
    4 voxels at stride 1, then ``log2(size / 4)`` doublings, by kernels of 4 voxels rather than the 5 of its code, so that the
    stride divides them. Size rule: ``m`` latent vectors on an axis give
    ``(m + 3) * step`` voxels with ``step = size / 4``; one gives ``size``. Larger fields give larger images, of which the
    network has learnt nothing: there, every voxel mixes up to four neighbouring latent vectors per axis (and, through the
    layers after it, their neighbours), in training it saw one and the zeros that pad the borders.

    ``Latent.field`` follows Kench and Cooper (Nature Machine Intelligence 3, 2021, 299-305; SliceGAN): kernel ``k``, stride
    ``s`` and padding ``p`` of each layer keep ``s < k``, ``k mod s = 0`` and ``p >= k - s``, so that information is spread
    evenly up to the border. ``log2(size) - 2`` layers turn ``n`` voxels into ``2n - 2`` and the last into ``2n - 4``.
    Size rule: ``m`` latent vectors on an axis, three or more, give ``(m - 2) * step`` voxels with ``step = size / 2``; four
    give ``size``. Nothing is padded with zeros: the output has no border, its statistics repeat every ``step`` voxels (within
    them, a voxel's place among the strides counts), and each run of ``step`` voxels depends on three latent vectors per axis,
    its own and one on either side, the halo. In eval mode, cells ``[a, b)`` of a field give the voxels
    ``[step * a, step * (b - 2))`` of what the whole field gives, so that media of any size can be made in blocks.

    With ``Upsampling.resize``, the repetition of voxels and the convolution after it (3 voxels; 5 in the last layer of
    ``Latent.field``) are one transposed convolution whose kernel is the convolution's, summed over pairs of neighbours. It
    equals the two steps and takes a fraction of their time and memory.

    Attributes:
        dimensions: 2 or 3.
        size: voxels per axis in training.
        out_channels: scores per voxel.
        latent: what an image is made from.
        latent_channels: length of a latent vector.
        features: width of the last hidden layer.
        step: voxels that one more latent vector on an axis adds.
    """

    def __init__(
        self,
        *,
        dimensions: int,
        out_channels: int,
        size: int,
        latent: Latent,
        latent_channels: int,
        features: int,
        max_features: int,
        upsampling: Upsampling,
    ) -> None:
        """Build the network and draw its weights.

        Args:
            dimensions: 2 for images, 3 for volumes.
            out_channels: scores per voxel.
            size: voxels per axis in training, one of :func:`allowed_sizes`.
            latent: what an image is made from.
            latent_channels: length of a latent vector.
            features: width of the last hidden layer, at half the final resolution.
            max_features: greatest width.
            upsampling: how a layer doubles the resolution.

        Raises:
            InputError: ``dimensions``, ``size`` or a number of channels is not among those allowed.
        """
        widths = hidden_widths(dimensions, size=size, features=features, max_features=max_features)[::-1]
        require_channels(out_channels=out_channels, latent_channels=latent_channels)
        super().__init__()
        self.dimensions = dimensions
        self.size = size
        self.out_channels = out_channels
        self.latent = latent
        self.latent_channels = latent_channels
        self.features = features
        self.step = size // 4 if latent == Latent.vector else size // 2
        self._gain = 3 if latent == Latent.vector else -2
        self.layers = nn.Sequential(*self._hidden([latent_channels, *widths], upsampling))
        self.layers.append(self._doubling(widths[-1], out_channels, upsampling, last=True))
        initialise(self)

    def _hidden(self, channels: list[int], upsampling: Upsampling) -> Iterator[nn.Module]:
        layers = LAYERS[self.dimensions]
        for index, (before, after) in enumerate(pairwise(channels)):
            if index == 0 and self.latent == Latent.vector:
                yield layers.transposed(before, after, 4, bias=False)
            else:
                yield self._doubling(before, after, upsampling, last=False)
            yield layers.normalisation(after)
            yield nn.ReLU(inplace=True)

    def _doubling(self, before: int, after: int, upsampling: Upsampling, *, last: bool) -> nn.Module:
        crop = 0 if self.latent == Latent.vector else 1 + last
        if upsampling == Upsampling.resize:
            return _ResizeConvolution(self.dimensions, before, after, crop=crop, bias=last)
        return LAYERS[self.dimensions].transposed(before, after, 4, stride=2, padding=1 + crop, bias=last)

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Smallest field of latent vectors whose output covers ``shape`` voxels.

        Raises:
            InputError: ``shape`` has another number of axes, or an axis of no voxels.
        """
        self._require_axes("shape", shape, 1)
        return tuple(max(-(-edge // self.step) - self._gain, 1) for edge in shape)

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """Voxels per axis that a field of ``latent`` vectors per axis gives.

        Raises:
            InputError: ``latent`` has another number of axes, or too few vectors on an axis.
        """
        self._require_axes("latent", latent, 1 if self.latent == Latent.vector else 3)
        return tuple((cells + self._gain) * self.step for cells in latent)

    def _require_axes(self, name: str, shape: tuple[int, ...], least: int) -> None:
        if len(shape) != self.dimensions or min(shape) < least:
            raise InputError(f"{name}: expected {self.dimensions} axes of {least} or more, got {tuple(shape)}; change it.")

    def forward(self, z: Tensor) -> Tensor:
        """Map latent vectors to scores.

        Args:
            z: ``(B, latent_channels, *m)``, standard normal.

        Returns:
            Scores ``(B, out_channels, *output_shape(m))``; no activation follows the last layer.
        """
        scores: Tensor = self.layers(z)
        return scores


class _ResizeConvolution(nn.Module):
    """Nearest-neighbour upsampling by 2 and a convolution as one transposed convolution.

    ``n`` voxels become ``2n - 2 * crop``: 3 voxels padded by 1 for a crop of 0, 3 unpadded for 1, 5 unpadded for 2.
    """

    def __init__(self, dimensions: int, before: int, after: int, *, crop: int, bias: bool) -> None:
        super().__init__()
        kernel_size = 5 if crop == 2 else 3
        self.convolution = LAYERS[dimensions].convolution(before, after, kernel_size, bias=bias)
        self._dimensions = dimensions
        self._padding = kernel_size // 2 + crop

    def forward(self, x: Tensor) -> Tensor:
        kernel, axes = self.convolution.weight, range(2, 2 + self._dimensions)
        for axis in axes:  # a repeated voxel meets two neighbouring weights, and their sum is what counts
            after = [0, 0] * (self._dimensions + 1 - axis) + [0, 1]
            before = [*after[:-2], 1, 0]
            kernel = F.pad(kernel, before) + F.pad(kernel, after)
        kernel = kernel.flip(tuple(axes)).transpose(0, 1)
        return LAYERS[self._dimensions].transpose(x, kernel, self.convolution.bias, stride=2, padding=self._padding)
