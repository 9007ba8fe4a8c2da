"""Gram matrices of the feature maps of a convolutional network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mcrgen.descriptors.module import Descriptor
from mcrgen.errors import InputError

_CHUNK = 1 << 18  # pixels whose feature maps are held at a time, about 2 kB each for VGG-19


def gram_matrices(indicator: Tensor, features: nn.Module) -> list[Tensor]:
    """Gram matrices G = F F^T / (h w) of each phase: which features occur together, wherever they occur.

    F holds the N feature maps of one layer as rows of h w values. Averaging over positions makes G stationary texture
    statistics (Gatys et al., CVPR 2016; Li et al., Sci. Rep. 8 (2018) 13461; Seibert et al., Acta Mater. 227 (2022) 117667,
    eq. 13). Periodic or finite is decided by the padding of ``features``.

    Slices are worked through in chunks, and the gradient recomputes the feature maps of a chunk instead of keeping those of
    all, so that memory is that of one chunk plus the matrices (VGG-19 in float32: 2.4 MB per slice and phase).

    Args:
        indicator: ``(B, C, H, W)`` in [0, 1]; each channel is seen alone. Differentiable in it.
        features: maps ``(B, 1, H, W)`` to a list of feature maps ``(B, N, h, w)``, such as
            :class:`mcrgen.networks.vgg.VGG19Features`; on the device of ``indicator``.

    Returns:
        One ``(B, C, N, N)`` per feature map (VGG-19: N = 64, 128, 256, 512, 512), in the data type of the feature maps, squared
        units of the features. Phase fractions enter through the features and cannot be read off.

    Raises:
        InputError: a volume instead of slices; slices smaller than ``features`` can take (VGG-19: 16 x 16 pixels).
    """
    if indicator.ndim != 4:
        raise InputError(
            f"indicator: expected slices (B, C, H, W), got the shape {tuple(indicator.shape)}; "
            "pass the slices of a volume as a batch."
        )
    images = indicator.flatten(0, 1).unsqueeze(1)
    chunks = torch.split(images, max(1, _CHUNK // images[0].numel()))
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    parts = [_recomputed(chunk, features) if recompute else _gram(chunk, features) for chunk in chunks]
    return [torch.cat(layer).view(*indicator.shape[:2], *layer[0].shape[1:]) for layer in zip(*parts, strict=True)]


class GramMatrices(Descriptor):
    """:func:`gram_matrices` with its network, which is a submodule and moves along to another device."""

    function = staticmethod(gram_matrices)

    def __init__(self, features: nn.Module) -> None:
        """Store the network."""
        super().__init__(features=features)
        self.features = features

    def extra_repr(self) -> str:
        """Nothing beyond the submodule."""
        return ""


def _gram(images: Tensor, features: nn.Module) -> list[Tensor]:
    rows = [maps.flatten(2) for maps in features(images)]
    return [r @ r.mT / r.shape[2] for r in rows]


def _recomputed(images: Tensor, features: nn.Module) -> Any:
    return checkpoint(_gram, images, features, use_reentrant=False, preserve_rng_state=False)
