"""Convolutional discriminator and critic: scores of samples, real or generated."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from mcrgen.errors import InputError
from mcrgen.networks.convolutional import LAYERS, hidden_widths, initialise, require_channels

_NEGATIVE_SLOPE = 0.2


class ConvolutionalCritic(nn.Module):
    """Discriminator of DCGAN, critic of WGAN-GP: convolutions that halve the resolution down to 4 voxels, then one score.

    Convolutions of 4 voxels at stride 2, padded by 1, each followed by leaky ReLU (slope 0.2), and one of the last 4 voxels per
    axis. The first layer is ``features`` wide; widths double up to ``max_features``.

    With batch normalisation (all but the first layer and the last) it is the discriminator of Radford, Metz and Chintala
    (ICLR 2016); then the scores of a batch depend on one another in training. Without, it is a critic whose gradients can be
    penalised one by one (Gulrajani et al., NeurIPS 2017, section 4: no batch normalisation). Deviation from both codes: kernels
    of 4 voxels rather than 5, as in the reimplementations in PyTorch, so that the stride divides them.

    With spectral normalisation (Miyato, Kataoka, Koyama and Yoshida, ICLR 2018) each convolution's weights, as a matrix of
    ``out_channels`` rows, are divided by an estimate of their largest singular value: one power iteration at each pass in
    training mode, none in eval mode.

    Size rule: exactly ``size`` voxels per axis, one of :func:`~mcrgen.networks.convolutional.allowed_sizes`. The score sees all
    of them; there is no halo.

    Attributes:
        in_channels: channels of a sample.
        size: voxels per axis.
        dimensions: 2 or 3.
    """

    def __init__(
        self,
        *,
        dimensions: int,
        in_channels: int,
        size: int,
        features: int,
        max_features: int,
        batch_norm: bool,
        spectral_norm: bool,
    ) -> None:
        """Build the network and draw its weights from PyTorch's global random state.

        See :func:`~mcrgen.networks.convolutional.initialise`.

        Args:
            dimensions: 2 for images, 3 for volumes.
            in_channels: channels of a sample.
            size: voxels per axis of a sample.
            features: width of the first layer.
            max_features: greatest width.
            batch_norm: whether layers are normalised over the batch.
            spectral_norm: whether weights are divided by their largest singular value.

        Raises:
            InputError: ``dimensions``, ``size`` or a number of channels is not among those allowed.
        """
        widths = hidden_widths(dimensions, size=size, features=features, max_features=max_features)
        require_channels(in_channels=in_channels)
        super().__init__()
        self.dimensions = dimensions
        self.in_channels = in_channels
        self.size = size
        convolution, normalisation = LAYERS[dimensions].convolution, LAYERS[dimensions].normalisation
        self.layers = nn.Sequential()
        for index, (before, after) in enumerate(pairwise([in_channels, *widths])):
            normalised = batch_norm and index > 0
            self.layers.append(convolution(before, after, 4, stride=2, padding=1, bias=not normalised))
            if normalised:
                self.layers.append(normalisation(after))
            self.layers.append(nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True))
        self.layers.append(convolution(widths[-1], 1, 4))
        initialise(self)
        if spectral_norm:
            for layer in [layer for layer in self.layers if isinstance(layer, convolution)]:
                with_spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map samples ``(B, in_channels, *spatial)`` of ``size`` voxels per axis to scores ``(B,)``.

        Raises:
            InputError: the samples have another number of channels, or another size.
        """
        expected = (self.in_channels, *[self.size] * self.dimensions)
        if x.shape[1:] != torch.Size(expected):
            raise InputError(f"x: expected samples of shape {expected}, got {tuple(x.shape[1:])}; cut or build to fit.")
        scores: Tensor = self.layers(x)
        return scores.flatten()

    def input_gradient(self, x: Tensor) -> Tensor:
        """Gradients of the scores with respect to their samples, differentiable with respect to the weights alone.

        Leaky ReLU has constant slopes almost everywhere, so that the gradient is a chain of transposed convolutions with the
        slopes between them. Automatic differentiation of a gradient comes to the same numbers with kernels as large as the
        samples, and passes zeros through the layers once more.

        Args:
            x: ``(B, in_channels, *spatial)``.

        Returns:
            ``(B, in_channels, *spatial)``.

        Raises:
            ValueError: the critic has batch normalisation, and no gradient of each sample alone.
        """
        layers = [layer for layer in self.layers if isinstance(layer, LAYERS[self.dimensions].convolution)]
        if any(isinstance(layer, LAYERS[self.dimensions].normalisation) for layer in self.layers):
            raise ValueError("a critic with batch normalisation")
        weights = [layer.weight for layer in layers]  # once: spectral normalisation iterates at every access
        slopes = []
        with torch.no_grad():
            for layer, weight in zip(layers[:-1], weights, strict=False):
                x = layer._conv_forward(x, weight, layer.bias)
                slopes.append(torch.where(x > 0, torch.ones_like(x), torch.full_like(x, _NEGATIVE_SLOPE)))
                x = x * slopes[-1]
        gradient = weights[-1].expand(len(x), *weights[-1].shape[1:])
        for weight, slope in zip(weights[-2::-1], slopes[::-1], strict=True):
            gradient = LAYERS[self.dimensions].transpose(gradient * slope, weight, stride=2, padding=1)
        return gradient
