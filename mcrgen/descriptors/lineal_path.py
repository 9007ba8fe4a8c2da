"""Lineal path: how far one can walk along an axis without leaving a phase."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.bits import as_voxels, is_binary
from mcrgen.descriptors.module import Descriptor, axis_length
from mcrgen.descriptors.run_lengths import run_lengths
from mcrgen.errors import InputError


def lineal_path(indicator: Tensor, max_lag: int, axis: int, *, periodic: bool = False) -> Tensor:
    """Lineal-path function L(r): probability that the whole segment from x to x + r e lies in the phase.

    Lu and Torquato, Phys. Rev. A 45 (1992) 922; a segment of length r touches r + 1 voxels, so that L(0) is the phase fraction
    and L(r) <= S2(r). A 0/1 field in a finite window is measured by the lengths of its runs, anything else by cumulative
    products, differentiably.

    Args:
        indicator: ``(B, C, *spatial)``.
        max_lag: largest segment length r in voxels, below the length of the axis.
        axis: spatial axis, 0 being the first after the channels.
        periodic: wrap around instead of counting only the segments inside the window, which is the default because measured
            media do not repeat; its segment counts N - r are exact.

    Returns:
        ``(B, C, max_lag + 1)`` float64.

    Raises:
        InputError: no such axis, ``max_lag`` is not below its length.
    """
    length = axis_length(indicator, axis)
    if not 0 <= max_lag < length:
        raise InputError(f"max_lag: expected 0 to {length - 1} for an axis of {length} voxels, got {max_lag}.")
    lines = indicator.movedim(2 + axis, -1)
    if not periodic and is_binary(indicator):
        voxels = as_voxels(lines)
        path = run_lengths(voxels.reshape(len(voxels), -1, length)).lineal_path(max_lag)
        return torch.from_numpy(path).reshape(*indicator.shape[:2], max_lag + 1)
    inside, means = lines, [lines.flatten(2).mean(dim=2, dtype=torch.float64)]
    for r in range(1, max_lag + 1):
        inside = inside * lines.roll(-r, -1) if periodic else inside[..., :-1] * lines[..., r:]
        means.append(inside.flatten(2).mean(dim=2, dtype=torch.float64))
    return torch.stack(means, dim=-1)


class LinealPath(Descriptor):
    """:func:`lineal_path` with its settings."""

    function = staticmethod(lineal_path)
