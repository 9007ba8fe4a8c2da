"""Matching a descriptor of every slice to a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mcrgen.losses.slice_descriptors import Parts

_LEAST_STRUCTURE = 0.02


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
        """A target with the units that a medium without structure gives, 2 % of the target at the least."""
        units = [
            torch.clamp((a - b).square().sum(), min=_LEAST_STRUCTURE**2 * float(a.square().sum()) or 1.0)
            for a, b in zip(parts, structureless, strict=True)
        ]
        return cls(tuple(parts), tuple(units))

    def interpolated(self, other: SliceTarget, share: float) -> SliceTarget:
        """A target ``share`` of the way from this one to another; of two numbers of parts (levels), the first ones count."""

        def mixed(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(torch.lerp(x, y, share) for x, y in zip(a, b, strict=False))

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


@dataclass(frozen=True)
class SliceTerm:
    """A term of the loss of slices.

    Attributes:
        descriptor: of slices.
        target: what it should be.
        weight: of its error in the loss.
    """

    descriptor: Parts
    target: SliceTarget
    weight: float


def errors_and_gradient(
    terms: Mapping[str, SliceTerm], slices: Tensor, batch: int, *, together: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Error of each term, and the gradient of their weighted sum, with the memory of ``batch`` slices at a time.

    Args:
        terms: by name.
        slices: ``(N, C, H, W)``, those normal to one axis.
        batch: slices at a time. Together, more slices than that have their descriptors computed twice.
        together: take the error of the mean descriptor of all slices instead of the mean of their errors. Each slice may then
            differ from the target as slices of a medium do, as long as their mean does not.

    Returns:
        Errors, scalars in the units of the targets; the gradient ``(N, C, H, W)``.
    """
    if not together:
        return _of_each(terms, slices, batch)
    count, batches = len(slices), torch.split(slices.detach(), batch)
    leaves = [part.contiguous().requires_grad_() for part in batches]
    alone = {name: term.descriptor(leaves[0]) for name, term in terms.items()} if len(leaves) == 1 else None
    with torch.no_grad():
        means = {
            name: [part.mean(dim=0) for part in alone[name]] if alone else _mean(term.descriptor, batches)
            for name, term in terms.items()
        }
    pulls = {name: _pull(means[name], term) for name, term in terms.items()}
    for leaf in leaves:
        parts = alone or {name: term.descriptor(leaf) for name, term in terms.items()}
        pulled = [(pull * part).sum() for name in terms for pull, part in zip(pulls[name][1], parts[name], strict=False)]
        (torch.stack([value.double() for value in pulled]).sum() / count).backward()  # type: ignore[no-untyped-call]
    return {name: pull[0] for name, pull in pulls.items()}, torch.cat([_gradient(leaf) for leaf in leaves])


def _pull(means: Sequence[Tensor], term: SliceTerm) -> tuple[Tensor, list[Tensor]]:
    """Error of a mean descriptor, and the derivative of its weighted value by the parts of the mean."""
    target = term.target
    found = list(zip(means, target.parts, target.units, strict=False))
    error = torch.stack([((mean - wanted).square().sum() / unit).float() for mean, wanted, unit in found]).mean()
    return error, [2.0 * term.weight / len(found) * (mean - wanted) / unit for mean, wanted, unit in found]


def _of_each(terms: Mapping[str, SliceTerm], slices: Tensor, batch: int) -> tuple[dict[str, Tensor], Tensor]:
    """The mean of the slices' own errors, and its gradient."""
    totals, gradients = {name: torch.zeros((), device=slices.device) for name in terms}, []
    for part in torch.split(slices.detach(), batch):
        leaf = part.contiguous().requires_grad_()
        errors = {name: slice_errors(term.descriptor, leaf, term.target).float().sum() for name, term in terms.items()}
        weighted = torch.stack([terms[name].weight * error for name, error in errors.items()]).sum()
        (weighted / len(slices)).backward()  # type: ignore[no-untyped-call]
        gradients.append(_gradient(leaf))
        for name, error in errors.items():
            totals[name] += error.detach() / len(slices)
    return totals, torch.cat(gradients)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


@torch.no_grad()
def relative_error(descriptor: Parts, slices: Sequence[Tensor], target: SliceTarget) -> float:
    """Relative distance of the mean descriptor of slices from the target, averaged over the parts: |D - D*| / |D*|.

    Where a target is zero, as the variation of sections without an interface, it is the distance itself.

    Args:
        descriptor: of slices.
        slices: ``(B, C, H, W)`` each, in batches that fit into memory.
        target: what the mean should be.
    """
    found = zip(_mean(descriptor, slices), target.parts, strict=False)
    errors = [float((part - wanted).norm()) / (float(wanted.norm()) or 1.0) for part, wanted in found]
    return sum(errors) / len(errors)
