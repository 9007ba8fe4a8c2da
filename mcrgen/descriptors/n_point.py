"""The probability that all voxels of a configuration lie in one phase: what S2 and the polytope functions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.bits import BitBlock, Shift, as_voxels, count_all, is_binary
from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError

Configuration = Sequence[tuple[int, ...]]


def n_point_probability(indicator: Tensor, configurations: Sequence[Configuration], *, periodic: bool = False) -> Tensor:
    """n-point correlation S_n = <I(x + v_1) ... I(x + v_n)> for given vertices (Torquato, Random Heterogeneous Materials, 2.1).

    A 0/1 field on the CPU is counted bit by bit, exactly; anything else is multiplied, differentiably.

    Args:
        indicator: ``(B, C, *spatial)``.
        configurations: each a list of vertices, voxel shifts along the spatial axes; only differences between them matter.
        periodic: wrap around instead of counting only the positions from which a configuration lies inside the window. The
            finite window is the default because measured media do not repeat; its counts of positions are exact.

    Returns:
        ``(B, C, number of configurations)`` float64.

    Raises:
        InputError: no configuration, one larger than the medium, or vertices of another dimension.
    """
    shape = tuple(indicator.shape[2:])
    if len(configurations) == 0:
        raise InputError("configurations: expected at least one, got none.")
    shifts = [_from_zero(configuration, shape, periodic=periodic) for configuration in configurations]
    if not periodic and is_binary(indicator):
        counts = count_configurations(as_voxels(indicator), [_in_volume(s) for s in shifts])
        numbers = torch.from_numpy(counts / [positions(s, shape) for s in shifts])
        return numbers.reshape(*indicator.shape[:2], len(shifts))
    field = indicator if indicator.dtype == torch.bool else as_real(indicator)
    means = [_mean_product(field, s, periodic=periodic) for s in shifts]
    return torch.stack(means, dim=-1)


class NPointProbability(Descriptor):
    """:func:`n_point_probability` with its settings."""

    function = staticmethod(n_point_probability)


def count_configurations(voxels: NDArray[np.bool_], configurations: Sequence[Sequence[Shift]]) -> NDArray[np.int64]:
    """Counts ``(N, number of configurations)`` in volumes ``(N, D, H, W)``; see :func:`mcrgen.descriptors.bits.count_all`."""
    reach = max((dx for configuration in configurations for _, _, dx in configuration), default=0)
    return count_all(BitBlock(voxels, reach), configurations, voxels.shape[1])


def positions(configuration: Configuration, shape: tuple[int, ...]) -> int:
    """From how many positions a configuration with smallest shifts 0 lies inside a window."""
    return prod(length - max(axis) for length, axis in zip(shape, zip(*configuration, strict=True), strict=True))


def _from_zero(configuration: Configuration, shape: tuple[int, ...], *, periodic: bool) -> list[tuple[int, ...]]:
    """Move a configuration so that its smallest shift along each axis is 0."""
    if any(len(vertex) != len(shape) for vertex in configuration):
        raise InputError(f"configurations: expected {len(shape)} shifts a vertex for a medium of {shape}, got {configuration}.")
    lowest = [min(axis) for axis in zip(*configuration, strict=True)]
    moved = [tuple(v - low for v, low in zip(vertex, lowest, strict=True)) for vertex in configuration]
    span = tuple(max(axis) for axis in zip(*moved, strict=True))
    if not periodic and any(s >= length for s, length in zip(span, shape, strict=True)):
        raise InputError(f"configurations: expected one that fits into a medium of {shape}, got a span of {span} voxels.")
    return moved


def _in_volume(configuration: Configuration) -> list[Shift]:
    padded = [(0,) * (3 - len(vertex)) + tuple(vertex) for vertex in configuration]
    return [(dz, dy, dx) for dz, dy, dx in padded]


def _mean_product(indicator: Tensor, configuration: Configuration, *, periodic: bool) -> Tensor:
    spatial = tuple(range(2, indicator.ndim))
    span = [max(axis) for axis in zip(*configuration, strict=True)]

    def factor(vertex: Sequence[int]) -> Tensor:
        if periodic:
            return indicator.roll([-v for v in vertex], spatial)
        view = indicator
        for axis, (v, s) in enumerate(zip(vertex, span, strict=True), start=2):
            view = view.narrow(axis, v, indicator.shape[axis] - s)
        return view

    return reduce(torch.mul, map(factor, configuration)).mean(dim=spatial, dtype=torch.float64)
