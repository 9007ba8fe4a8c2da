"""How close one medium is to another, by the same descriptors measured on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.specific_surface import specific_surface
from mcrgen.descriptors.two_point import autocovariance_map, symmetrise, two_point_correlation

S2_LAG = 63
MAP_LAG = 16
AXES = {2: "yx", 3: "zyx"}


@dataclass(frozen=True)
class Measurement:
    """Descriptors of the phase of interest in one medium.

    Attributes:
        fraction: phase fraction.
        s2: axis name -> two-point correlation over lags 0..max, float64.
        maps: section normal -> autocovariance map, centre = zero lag; a 2D medium has the one normal ``z``.
        surface: specific surface in 1/voxel.
    """

    fraction: float
    s2: dict[str, NDArray[np.float64]]
    maps: dict[str, NDArray[np.float64]]
    surface: float

    @property
    def s2_mean(self) -> NDArray[np.float64]:
        """Two-point correlation averaged over the axes."""
        mean: NDArray[np.float64] = np.mean(list(self.s2.values()), axis=0)
        return mean


def common_lags(*shapes: tuple[int, ...]) -> tuple[int, int]:
    """Largest S2 and map lags (at most 63 and 16) that fit every axis of every medium."""
    shortest = min(min(shape) for shape in shapes) - 1
    return min(S2_LAG, shortest), min(MAP_LAG, shortest)


def measure(phase: NDArray[np.bool_], s2_lag: int, map_lag: int) -> Measurement:
    """Measure one medium.

    Args:
        phase: ``(H, W)`` or ``(D, H, W)``, where the phase of interest is.
        s2_lag: largest lag of S2 in voxels.
        map_lag: largest lag of the autocovariance maps in voxels.
    """
    medium = torch.from_numpy(phase)[None, None].to(torch.float32)
    axes = AXES[phase.ndim]
    fraction = medium.mean(dtype=torch.float64)
    return Measurement(
        fraction=float(fraction),
        s2={name: two_point_correlation(medium, s2_lag, i)[0, 0].numpy() for i, name in enumerate(axes)},
        maps={name: autocovariance_map(s, map_lag, fraction[None])[0].numpy() for name, s in _sections(medium)},
        surface=float(specific_surface(medium)),
    )


def _sections(medium: Tensor) -> list[tuple[str, Tensor]]:
    """Section normal -> all sections ``(N, 1, H, W)``."""
    if medium.ndim == 4:
        return [("z", medium)]
    return [(name, medium[0].movedim(1 + i, 0)) for i, name in enumerate("zyx")]


def relative_l2(value: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """||value - reference|| / ||reference||."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def compare(reference: Measurement, candidate: Measurement) -> dict[str, Any]:
    """Errors of a candidate against a reference, as plain data with stable keys.

    ``s2.relative_l2`` compares the means over each medium's axes. ``autocovariance_2d`` compares the candidate's map in each
    section normal with the reference's averaged over its normals, rotations and reflections; its ``relative_l2`` is the root
    mean square over the normals.
    """
    target = symmetrise(torch.from_numpy(np.mean(list(reference.maps.values()), axis=0))).numpy()
    per_normal = {name: relative_l2(m, target) for name, m in candidate.maps.items()}
    return {
        "phase_fraction": _scalar(reference.fraction, candidate.fraction),
        "s2": {
            "max_lag": len(reference.s2_mean) - 1,
            "relative_l2": relative_l2(candidate.s2_mean, reference.s2_mean),
            "relative_l2_per_axis": {name: relative_l2(c, reference.s2_mean) for name, c in candidate.s2.items()},
            "reference": reference.s2_mean.tolist(),
            "reference_per_axis": {name: c.tolist() for name, c in reference.s2.items()},
            "candidate": candidate.s2_mean.tolist(),
            "candidate_per_axis": {name: c.tolist() for name, c in candidate.s2.items()},
        },
        "autocovariance_2d": {
            "max_lag": len(target) // 2,
            "relative_l2": float(np.sqrt(np.mean(np.square(list(per_normal.values()))))),
            "relative_l2_per_normal": per_normal,
        },
        "specific_surface": _scalar(reference.surface, candidate.surface),
    }


def _scalar(reference: float, candidate: float) -> dict[str, float]:
    error = abs(candidate - reference) / reference
    return {"reference": reference, "candidate": candidate, "relative_error": error}
