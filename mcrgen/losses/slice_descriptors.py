"""The descriptors that a reconstruction matches slice by slice, each as a list of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.descriptors.gram import gram_matrices
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.multigrid import multigrid_levels
from mcrgen.descriptors.pattern_characteristic import pattern_characteristic
from mcrgen.descriptors.three_point import three_point_correlation
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.descriptors.variation import normalised_variation

Parts = Callable[[Tensor], list[Tensor]]
"""Slices ``(B, C, H, W)`` -> parts ``(B, ...)``: one for each level of a multigrid, one for each layer of a network."""

_AXES = (0, 1)


@dataclass(frozen=True)
class Correlations:
    """Which lags correlations cover, and on how many levels.

    Attributes:
        limit: lags below this are covered, in pixels of each level.
        levels: number of levels, each half as fine as the one before (:func:`mcrgen.descriptors.multigrid.multigrid_levels`);
            fewer where the slices are too small for them. They let a small limit see far.
        periodic: wrap around.
    """

    limit: int
    levels: int
    periodic: bool

    def three_point(self, slices: Tensor) -> list[Tensor]:
        """S3 of all pairs of lags, :func:`~mcrgen.descriptors.three_point.three_point_correlation`."""
        return [three_point_correlation(level, self.limit, periodic=self.periodic) for level in self._levels(slices)]

    def two_point(self, slices: Tensor) -> list[Tensor]:
        """S2 over all lags of a square, :func:`~mcrgen.descriptors.two_point_map.two_point_map`."""
        return [two_point_map(level, self.limit - 1, periodic=self.periodic) for level in self._levels(slices)]

    def two_point_curves(self, slices: Tensor) -> list[Tensor]:
        """S2 along rows and columns, ``(B, C, 2, limit)``."""
        curves = [two_point_correlation(slices, self.limit - 1, axis, periodic=self.periodic) for axis in _AXES]
        return [torch.stack(curves, dim=2)]

    def lineal_path(self, slices: Tensor) -> list[Tensor]:
        """Lineal path along rows and columns, ``(B, C, 2, limit)``; the product of grey values stands for "all inside"."""
        curves = [lineal_path(slices, self.limit - 1, axis, periodic=self.periodic) for axis in _AXES]
        return [torch.stack(curves, dim=2)]

    def variation(self, slices: Tensor) -> list[Tensor]:
        """Normalised total variation, ``(B, C)``."""
        return [normalised_variation(slices, periodic=self.periodic)]

    def _levels(self, slices: Tensor) -> list[Tensor]:
        return multigrid_levels(slices, self.limit)[: self.levels]


def gram(network: nn.Module) -> Parts:
    """Gram matrices of the features of a network, layer by layer."""

    def parts(slices: Tensor) -> list[Tensor]:
        return gram_matrices(slices, network)

    return parts


def patterns(frequencies: Tensor, *, periodic: bool) -> Parts:
    """Characteristic function of the local patterns at given frequencies, ``(B, 2, K)``."""

    def parts(slices: Tensor) -> list[Tensor]:
        return [pattern_characteristic(slices, frequencies, periodic=periodic)]

    return parts


def coarsened(images: Tensor, level: int) -> Tensor:
    """Images ``(B, C, H, W)`` with pixels 2^``level`` times as large, each the mean of those it covers."""
    return F.avg_pool2d(images, 2**level) if level else images
