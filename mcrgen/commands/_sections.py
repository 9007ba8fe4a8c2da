"""Descriptors of sections: three-point correlation, variation, shape of the interface, Gram matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

PATTERN_SIZE = 7
NO_GRAM = "none"

_S3_LIMIT = 8
_LARGEST_S3_LIMIT = 32
_GRAM_EDGE = 256
_ORIENTED_EDGE = 16

Sections = dict[str, "NDArray[np.uint8]"]
PerNormal = dict[str, list["Tensor"]]


def load_features(source: str) -> nn.Module | None:
    """VGG-19 for Gram matrices of finite windows: ``random``, ``imagenet`` or a file; nothing for ``none``.

    Raises:
        InputError: as :func:`mcrgen.networks.vgg_weights.load_vgg`.
    """
    if source == NO_GRAM:
        return None
    from mcrgen.networks.vgg_weights import load_vgg

    return load_vgg(source, padding="zero", name="gram")


def largest_s3_limit(shapes: Iterable[tuple[int, ...]], wanted: int | None) -> int:
    """The limit of the lags of S3: the one that was asked for, or 8 where it fits.

    Raises:
        InputError: a limit that does not fit into every section.
    """
    shortest = min(min(shape) for shape in shapes)
    largest = (shortest + 1) // 2
    if wanted is None:
        return min(_S3_LIMIT, largest)
    if not 1 <= wanted <= min(largest, _LARGEST_S3_LIMIT):
        raise InputError(
            f"s3_limit: expected 1 to {min(largest, _LARGEST_S3_LIMIT)} for a shortest edge of {shortest} voxels, got {wanted}."
        )
    return wanted


def check_gram(shapes: Iterable[tuple[int, ...]], source: str) -> None:
    """Raise unless VGG-19 can look at the sections of all media.

    Raises:
        InputError: media too small.
    """
    from mcrgen.networks.vgg import SMALLEST_SIZE

    shortest = min(min(shape) for shape in shapes)
    if source != NO_GRAM and shortest < SMALLEST_SIZE:
        raise InputError(
            f"gram: expected media of at least {SMALLEST_SIZE} x {SMALLEST_SIZE} voxels, the shortest edge is {shortest}; "
            "leave Gram matrices out."
        )


def section_descriptors(sections: Sections, phase: int, *, s3_limit: int, features: nn.Module | None) -> dict[str, PerNormal]:
    """Descriptor -> section normal -> mean over the sections.

    ``s3``, ``variation``, ``bit_quads``; from 16 x 16 voxels on ``interface_orientation``; with a network ``gram``.
    Gram matrices are those of the first 256 x 256 voxels of each section: feature maps take 2 kB per voxel.
    """
    import torch

    from mcrgen.descriptors.bit_quads import bit_quads
    from mcrgen.descriptors.interface_orientation import interface_orientation
    from mcrgen.descriptors.three_point import three_point_correlation
    from mcrgen.descriptors.variation import normalised_variation

    oriented = min(min(labels.shape[1:]) for labels in sections.values()) >= _ORIENTED_EDGE
    wanted = {"s3": True, "variation": True, "bit_quads": True, "interface_orientation": oriented, "gram": features is not None}
    found: dict[str, PerNormal] = {name: {} for name, measured in wanted.items() if measured}
    for normal, labels in sections.items():
        slices = torch.from_numpy(labels == phase)[:, None].float()
        one_by_one = (three_point_correlation(s[None], s3_limit)[0, 0] for s in slices)
        found["s3"][normal] = [sum(one_by_one, start=torch.zeros(())) / len(slices)]
        found["variation"][normal] = [normalised_variation(slices)[:, 0].mean(dim=0)]
        found["bit_quads"][normal] = [bit_quads(slices)[:, 0].mean(dim=0)]
        if oriented:
            found["interface_orientation"][normal] = [interface_orientation(slices)[:, 0].mean(dim=0)]
        if features is not None:
            found["gram"][normal] = _mean_gram(slices[..., :_GRAM_EDGE, :_GRAM_EDGE], features)
    return found


def pattern_distances(reference: Sections, candidate: Sections, phase: int) -> dict[str, float]:
    """Section normal -> sliced-Wasserstein distance between local patterns of 7 x 7 voxels.

    A candidate's sections are compared with the reference's of the same normal, or with its only ones.
    """
    import torch

    from mcrgen.descriptors.pattern_distance import pattern_distance

    def slices(sections: Sections, normal: str) -> Tensor:
        return torch.from_numpy(sections.get(normal, sections["z"]) == phase)[:, None].float()

    size = min(PATTERN_SIZE, *(min(labels.shape[1:]) for labels in (*reference.values(), *candidate.values())))
    return {n: float(pattern_distance(slices(reference, n), slices(candidate, n), size)) for n in candidate}


def _mean_gram(slices: Tensor, features: nn.Module) -> list[Tensor]:
    import torch

    from mcrgen.descriptors.gram import gram_matrices

    sums: list[Any] = []
    with torch.inference_mode():
        for part in torch.split(slices, 4):
            layers = [g[:, 0].sum(dim=0) / len(slices) for g in gram_matrices(part, features)]
            sums = [a + b for a, b in zip(sums, layers, strict=True)] if sums else layers
    return sums
