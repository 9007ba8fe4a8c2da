"""Matching a descriptor of every slice to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mcrgen.losses.slice_descriptors import Parts

_LEAST_STRUCTURE = 1e-3


@dataclass(frozen=True)
class SliceTarget:
    """What a descriptor of slices should be.

    Attributes:
        parts: ``(C, ...)`` each, the descriptor without its first axis.
        units: what the squared error of each part is measured in.
    """

    parts: tuple[Tensor, ...]
    units: tuple[Tensor, ...]

    @classmethod
    def measure(cls, descriptor: Parts, images: Sequence[Tensor], seed: int) -> Self:
        """The mean of the descriptor over exemplars, each with the weight of its pixels.

        The unit of a part is its squared distance from the same images with their pixels in random order. An error of 1 is thus
        that of an image of the right histogram without any structure, whatever the descriptor: weights of several descriptors
        compare.

        Args:
            descriptor: of slices.
            images: ``(B, C, H, W)`` each.
            seed: of the random order.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = _mean(descriptor, images)
        mixed = _mean(descriptor, [_shuffled(image, generator) for image in images])
        return cls.between(parts, mixed)

    @classmethod
    def between(cls, parts: Sequence[Tensor], structureless: Sequence[Tensor]) -> Self:
        """A target with the units that a medium without structure gives."""
        units = [
            torch.clamp((a - b).square().sum(), min=_LEAST_STRUCTURE**2 * float(a.square().sum()) or 1.0)
            for a, b in zip(parts, structureless, strict=True)
        ]
        return cls(tuple(parts), tuple(units))

    def interpolated(self, other: SliceTarget, share: float) -> SliceTarget:
        """A target ``share`` of the way from this one to another of equal shapes."""

        def mixed(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(torch.lerp(x, y, share) for x, y in zip(a, b, strict=True))

        return SliceTarget(mixed(self.parts, other.parts), mixed(self.units, other.units))

    def to(self, device: torch.device) -> SliceTarget:
        """The same on another device."""
        return SliceTarget(tuple(p.to(device) for p in self.parts), tuple(u.to(device) for u in self.units))


@torch.no_grad()
def _mean(descriptor: Parts, images: Sequence[Tensor]) -> list[Tensor]:
    """Images of several sizes may have several numbers of levels; those that all have count."""
    found = [[part.mean(dim=0) for part in descriptor(image)] for image in images]
    weights = [image.shape[0] * image.shape[2] * image.shape[3] for image in images]
    together = zip(*found, strict=False)
    return [torch.stack([p * w for p, w in zip(parts, weights, strict=True)]).sum(0) / sum(weights) for parts in together]


def _shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels of each image in one random order for all phases."""
    order = torch.randperm(images.shape[2] * images.shape[3], generator=generator)
    return images.flatten(2)[..., order].reshape(images.shape)


def slice_errors(descriptor: Parts, slices: Tensor, target: SliceTarget) -> Tensor:
    """Squared error of each slice's descriptor in the units of the target, averaged over the parts.

    Seibert et al. (Acta Mater. 227 (2022) 117667, eq. 7) sum such errors over all slices along all axes. Deviation: the unit,
    see :meth:`SliceTarget.measure`.

    Args:
        descriptor: of slices.
        slices: ``(B, C, H, W)``; where they have fewer parts than the target (levels of a multigrid), its first ones count.
        target: what the descriptor should be.

    Returns:
        ``(B,)``, differentiable in the slices.
    """
    found = zip(descriptor(slices), target.parts, target.units, strict=False)
    errors = [(part - wanted).square().flatten(1).sum(dim=1) / unit for part, wanted, unit in found]
    return torch.stack(errors).mean(dim=0)


@torch.no_grad()
def relative_error(descriptor: Parts, slices: Tensor, target: SliceTarget) -> float:
    """Relative distance of the mean descriptor of slices from the target, averaged over the parts: |D - D*| / |D*|."""
    found = zip(descriptor(slices), target.parts, strict=False)
    errors = [(part.mean(dim=0) - wanted).norm() / wanted.norm() for part, wanted in found]
    return float(torch.stack(errors).mean())
