"""Matching descriptors of generated slices to those of exemplars."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from mcrgen.descriptors.gram import gram_matrices
from mcrgen.errors import InputError


class GramMatching(nn.Module):
    """Squared relative error between the mean Gram matrices of slices and those of exemplars, averaged over the layers.

    L = 1/n sum_l |G_l - T_l|^2 / |T_l|^2, Frobenius norms over the matrices of all phases; G_l and T_l are the matrices of
    layer l (:func:`mcrgen.descriptors.gram.gram_matrices`), averaged over the slices and over the exemplars.

    The texture loss of Gatys et al. (CVPR 2016, eq. 3-5), sum_l w_l |G_l - T_l|^2 / (4 N_l^2 M_l^2) with matrices summed over
    the M_l positions, and the descriptor error of Seibert et al. (Acta Mater. 227 (2022) 117667, eq. 10 and 13). Deviations:

    - each layer is measured by its target's norm, so that layers count alike whatever the scale of their features, and the
      value compares with that of other networks;
    - the error is that of the mean over the slices of a call, not the mean of each slice's error, which would also punish the
      natural spread between slices. For one slice they are the same.

    Matrices are means over positions, so exemplars may have another size than the slices. But the features near an edge see
    the padding: zeros (a rim of altered features) or the opposite edge (a seam, unless the medium is periodic), and the share
    of such positions falls with the size. Exemplars cut into windows of the slices' size have the same share, and no bias.

    The network is frozen, stays in evaluation mode, and may be shared. It is part of the state dict (VGG-19: 80 MB):
    a module whose state is saved does better to hold this one outside its registered submodules.
    """

    def __init__(self, network: nn.Module, exemplars: Tensor) -> None:
        """Freeze the network and measure the targets, once.

        Args:
            network: maps ``(B, 1, H, W)`` to a list of feature maps, such as :func:`mcrgen.networks.vgg_weights.load_vgg`.
            exemplars: ``(N, C, H, W)`` indicator images in [0, 1], any N: windows, rotations and reflections of one image.

        Raises:
            InputError: other than images, or ones too small for the network.
        """
        super().__init__()
        if exemplars.ndim != 4 or len(exemplars) == 0:
            raise InputError(
                f"exemplars: expected one or more images (N, C, H, W), got the shape {tuple(exemplars.shape)}; "
                "stack them along a new first axis."
            )
        self.network = network.requires_grad_(False).eval()
        targets = _mean_matrices(exemplars, self.network)
        self.layers = len(targets)
        for layer, target in enumerate(targets):
            self.register_buffer(f"target_{layer}", target)

    @property
    def targets(self) -> list[Tensor]:
        """Matrices ``(C, N_l, N_l)`` of the exemplars, one per layer."""
        return [self.get_buffer(f"target_{layer}") for layer in range(self.layers)]

    def train(self, mode: bool = True) -> Self:
        """Change the mode of everything but the network."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, slices: Tensor) -> Tensor:
        """Scalar error of indicator slices ``(B, C, H, W)`` in [0, 1], with its exact gradient.

        Raises:
            InputError: volumes, another number of phases than the exemplars have, or slices too small for the network.
        """
        targets = self.targets
        with torch.autocast(slices.device.type, enabled=False):  # bfloat16 would round the matrices to three digits
            found = gram_matrices(slices, self.network)
        if slices.shape[1] != len(targets[0]):
            raise InputError(
                f"slices: expected the exemplars' {len(targets[0])} phases, got {slices.shape[1]}; give the same ones."
            )
        errors = [_relative_error(g.mean(dim=0), target) for g, target in zip(found, targets, strict=True)]
        return torch.stack(errors).mean()


def _relative_error(matrices: Tensor, target: Tensor) -> Tensor:
    return (matrices - target).square().sum() / target.square().sum()


@torch.no_grad()
def _mean_matrices(images: Tensor, network: nn.Module) -> list[Tensor]:
    """One image after the other, so that the matrices of one are held beside the sums."""
    sums = gram_matrices(images[:1], network)
    for image in images[1:]:
        for total, matrices in zip(sums, gram_matrices(image[None], network), strict=True):
            total += matrices
    return [total[0] / len(images) for total in sums]
