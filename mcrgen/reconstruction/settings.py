"""Settings of a gradient-based reconstruction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReconstructionSettings:
    """What a medium is, what its loss is made of beside the descriptors, and how it is moved.

    Attributes:
        shape: voxels along each axis, (D, H, W) or (H, W).
        channels: 1 for two phases, C for C >= 3.
        fractions: phase fraction of each channel.
        periodic: whether the medium wraps around.
        together: match the mean descriptor of the slices normal to an axis, not that of each slice.
        fraction_weight: weight of the squared error of the phase fractions, in units of 0.3 times the fraction (or of its
            complement, if that is less): being off by a third counts like having no structure.
        sum_weight: weight of the mean squared distance of the channels' sum from one.
        minimised_variation: weight of the normalised total variation itself (Bostanabad, Comput.-Aided Des. 128 (2020)
            102905), beside what is matched.
        optimizer: ``lbfgs`` or ``adam``.
        learning_rate: of Adam.
        history: curvature pairs that L-BFGS keeps.
        slices_per_normal: so many slices per normal are looked at in a step, drawn anew; None: all.
        slices_per_batch: slices at a time.
        levels: number of levels.
        coarse_steps: most steps on each level but the finest.
        max_steps: optimiser steps on all levels.
        tolerance: loss at which it stops.
        patience: steps without a fall of the loss by 0.1 % after which it stops.
        seed: of the start and of the slices.
    """

    shape: tuple[int, ...]
    channels: int
    fractions: tuple[float, ...]
    periodic: bool
    together: bool
    fraction_weight: float
    sum_weight: float
    minimised_variation: float
    optimizer: str
    learning_rate: float
    history: int
    slices_per_normal: int | None
    slices_per_batch: int
    levels: int
    coarse_steps: int
    max_steps: int
    tolerance: float
    patience: int
    seed: int

    def plain(self) -> dict[str, Any]:
        """Numbers, strings and lists, as checkpoints keep them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
