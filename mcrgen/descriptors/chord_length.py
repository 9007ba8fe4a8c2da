"""Chord-length distribution along the axes."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.bits import as_voxels
from mcrgen.descriptors.module import Descriptor, axis_length
from mcrgen.descriptors.run_lengths import run_lengths
from mcrgen.errors import InputError


def chord_length_distribution(indicator: Tensor, axis: int) -> Tensor:
    """Probability p(l) that a chord of the phase along one axis is l voxels long.

    Torquato and Lu, Phys. Rev. E 47 (1993) 2950. Finite window: counted are the complete chords, which have another phase at
    both ends. Chords cut by the border are left out, so that long ones are under-represented in a window that is not much
    longer than they are. Not differentiable.

    Args:
        indicator: ``(B, C, *spatial)``, 0 or 1.
        axis: spatial axis, 0 being the first after the channels.

    Returns:
        ``(B, C, N - 1)`` float64 for an axis of N voxels: p(0) = 0, p(1), ..., p(N - 2); the sum is 1, or 0 where there is no
        complete chord.

    Raises:
        InputError: no such axis, or grey values.
    """
    if not bool(((indicator == 0) | (indicator == 1)).all()):
        raise InputError("indicator: expected 0 and 1, got grey values; threshold the medium first.")
    length = axis_length(indicator, axis)
    voxels = as_voxels(indicator.detach().cpu().movedim(2 + axis, -1))
    chords = run_lengths(voxels.reshape(len(voxels), -1, length)).chords[:, : max(1, length - 1)]
    counts = torch.from_numpy(chords).to(torch.float64).reshape(*indicator.shape[:2], -1)
    return (counts / counts.sum(dim=-1, keepdim=True).clamp(min=1.0)).to(indicator.device)


class ChordLengthDistribution(Descriptor):
    """:func:`chord_length_distribution` with its settings."""

    function = staticmethod(chord_length_distribution)
