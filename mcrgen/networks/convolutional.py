"""What the convolutional generator and critic share: layers for 2 and 3 dimensions, sizes, widths, initialisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.errors import InputError

_DCGAN_DEVIATION = 0.02
_SMALLEST = 16
_LARGEST = {2: 512, 3: 128}


@dataclass(frozen=True)
class Layers:
    """The layers of one number of dimensions."""

    convolution: type[nn.Conv2d | nn.Conv3d]
    transposed: type[nn.ConvTranspose2d | nn.ConvTranspose3d]
    normalisation: type[nn.BatchNorm2d | nn.BatchNorm3d]
    transpose: Callable[..., Tensor]


LAYERS = {
    2: Layers(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, F.conv_transpose2d),
    3: Layers(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, F.conv_transpose3d),
}


def allowed_sizes(dimensions: int) -> tuple[int, ...]:
    """Edges in voxels that a generator and a critic can have: powers of two.

    Raises:
        InputError: ``dimensions`` is neither 2 nor 3.
    """
    if dimensions not in LAYERS:
        raise InputError(f"dimensions: expected 2 or 3, got {dimensions}; take one of them.")
    sizes = [_SMALLEST]
    while sizes[-1] < _LARGEST[dimensions]:
        sizes.append(2 * sizes[-1])
    return tuple(sizes)


def hidden_widths(dimensions: int, *, size: int, features: int, max_features: int) -> list[int]:
    """Channels of the hidden layers of ``size/2, size/4, ..., 4`` voxels: doubling from ``features``, at most ``max_features``.

    Raises:
        InputError: ``size`` is not in :func:`allowed_sizes`; a width is less than 1, or ``max_features`` below ``features``.
    """
    sizes = allowed_sizes(dimensions)
    if size not in sizes:
        known = ", ".join(map(str, sizes))
        raise InputError(f"size: expected one of {known} voxels in {dimensions} dimensions, got {size}; take one of them.")
    require_channels(features=features)
    if max_features < features:
        raise InputError(f"max_features: expected at least features ({features}), got {max_features}; raise it.")
    return [min(features * 2**i, max_features) for i in range((size // 4).bit_length() - 1)]


def require_channels(**channels: int) -> None:
    """Raise unless every number of channels, given by its name, is at least 1.

    Raises:
        InputError: one is less than 1.
    """
    for name, value in channels.items():
        if value < 1:
            raise InputError(f"{name}: expected 1 or more channels, got {value}; raise it.")


def initialise(module: nn.Module) -> None:
    """Draw the weights of a network as its authors did, in place, from PyTorch's global random state.

    Where the network has batch normalisation (Radford, Metz and Chintala, ICLR 2016): weights of the convolutions are normal
    with mean 0 and standard deviation 0.02, those of the normalisation with mean 1 and the same deviation. Where it has none,
    nothing puts such small weights right, and all gradients would vanish in a narrow critic. There, as in the code of
    Gulrajani et al. (NeurIPS 2017): weights are uniform with the variance ``4 / (fan_in + fan_out)``, and
    ``2 / (fan_in + fan_out)`` in the last layer. Biases are 0 everywhere.

    The caller seeds (and forks) the global state. Spectral normalisation is put on after this, not before.
    """
    layers = list(module.modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.modules.conv._ConvNd)]
    normalisations = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer in convolutions:
        if normalisations:
            nn.init.normal_(layer.weight, 0.0, _DCGAN_DEVIATION)
        else:
            bound = (3.0 * _variance(layer, last=layer is convolutions[-1])) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
    for norm in normalisations:
        nn.init.normal_(norm.weight, 1.0, _DCGAN_DEVIATION)
    for biased in (*convolutions, *normalisations):
        if isinstance(biased.bias, nn.Parameter):
            nn.init.zeros_(biased.bias)


def _variance(layer: nn.modules.conv._ConvNd, *, last: bool) -> float:
    """Variance of the weights of a convolution without batch normalisation; the last one is a linear map to one score."""
    if last:
        return 2.0 / (layer.weight[0].numel() + layer.out_channels)
    return 4.0 / (layer.weight[0].numel() + layer.out_channels * prod(layer.kernel_size) / prod(layer.stride))
