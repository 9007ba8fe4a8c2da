"""How close media are to a reference, by the same descriptors measured on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.measure import Measurement
from mcrgen.descriptors.scaled_autocovariance import scaled_autocovariance
from mcrgen.descriptors.two_point import symmetrise
from mcrgen.descriptors.windows import Band

S2_LAG = 63
MAP_LAG = 16

Floats = NDArray[np.float64]


def common_lags(*shapes: tuple[int, ...]) -> tuple[int, int]:
    """Largest S2 and map lags (at most 63 and 16) that fit every axis of every medium."""
    shortest = min(min(shape) for shape in shapes) - 1
    return min(S2_LAG, shortest), min(MAP_LAG, shortest)


def relative_l2(value: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """||value - reference|| / ||reference||, the Euclidean or Frobenius norm."""
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def scaled(measurement: Measurement, name: str) -> Floats:
    """The mean of a curve in the form that starts at one and forgets the phase fraction.

    n-point probabilities become F_n (Amiri et al., Sci. Rep. 13 (2023) 1732, eq. 2; see
    :func:`mcrgen.descriptors.scaled_autocovariance.scaled_autocovariance`), the lineal path is divided by the phase fraction, a
    chord-length density stays as it is.
    """
    curve, fraction = measurement.curves[name], measurement.fraction
    if curve.order is not None:
        f_n: Floats = scaled_autocovariance(torch.from_numpy(curve.mean), fraction, curve.order).numpy()
        return f_n
    return curve.mean / fraction if name == "lineal_path" else curve.mean


def compare(reference: Measurement, candidate: Measurement, bands: Mapping[str, Band]) -> dict[str, Any]:
    """Errors of a candidate against a reference, as plain data with stable keys.

    Args:
        reference: the medium to be like.
        candidate: the medium to judge, with the same curves.
        bands: 95 % bands of the reference's curves.

    Returns:
        ``phase_fraction`` and ``specific_surface`` (reference, candidate, relative_error); ``curves`` by name, each with
        ``relative_l2`` (of the means over axes or normals), ``relative_l2_per_part``, ``mse`` (mean square difference),
        ``mse_scaled`` (that of the :func:`scaled` curves), ``max_error`` (largest difference), ``inside_band`` (share of lags),
        ``candidate`` and ``candidate_per_part``, over the lags that both have; ``autocovariance_2d`` with ``relative_l2`` and
        ``relative_l2_per_normal``: the candidate's map in each section normal against the reference's averaged over its
        normals, rotations and reflections, and the root mean square over the normals.
    """
    return {
        "phase_fraction": _scalar(reference.fraction, candidate.fraction),
        "specific_surface": _scalar(reference.specific_surface, candidate.specific_surface),
        "curves": {name: _curve(reference, candidate, name, bands[name]) for name in reference.curves},
        "autocovariance_2d": _maps(reference, candidate),
    }


def _scalar(reference: float, candidate: float) -> dict[str, float]:
    error = abs(candidate - reference) / reference
    return {"reference": reference, "candidate": candidate, "relative_error": error}


def _curve(reference: Measurement, candidate: Measurement, name: str, band: Band) -> dict[str, Any]:
    target, value = reference.curves[name].mean, candidate.curves[name].mean
    align = _padded if name == "chord_length" else _cut
    parts = candidate.curves[name].parts
    return {
        "relative_l2": relative_l2(*align(value, target)),
        "relative_l2_per_part": {part: relative_l2(*align(c, target)) for part, c in parts.items()},
        "mse": float(np.mean(np.square(np.subtract(*align(value, target))))),
        "mse_scaled": float(np.mean(np.square(np.subtract(*align(scaled(candidate, name), scaled(reference, name)))))),
        "max_error": float(np.abs(np.subtract(*align(value, target))).max()),
        "inside_band": band.share_inside(value),
        "candidate": value.tolist(),
        "candidate_per_part": {part: c.tolist() for part, c in parts.items()},
    }


def _cut(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The lags that both have: a hexagon fits into a small medium up to a smaller edge."""
    shortest = min(len(a), len(b))
    return a[:shortest], b[:shortest]


def _padded(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """A chord-length density is zero beyond its end."""
    longest = max(len(a), len(b))
    return np.pad(a, (0, longest - len(a))), np.pad(b, (0, longest - len(b)))


def _maps(reference: Measurement, candidate: Measurement) -> dict[str, Any]:
    target = symmetrise(torch.from_numpy(np.mean(list(reference.maps.values()), axis=0))).numpy()
    per_normal = {name: relative_l2(m, target) for name, m in candidate.maps.items()}
    return {
        "max_lag": len(target) // 2,
        "relative_l2": float(np.sqrt(np.mean(np.square(list(per_normal.values()))))),
        "relative_l2_per_normal": per_normal,
    }


def section_errors(reference: Mapping[str, Sequence[Tensor]], candidate: Mapping[str, Sequence[Tensor]]) -> dict[str, Any]:
    """Relative errors of a descriptor of sections, averaged over the candidate's section normals.

    A volume is compared with a volume normal by normal, anything else with the mean over the reference's normals.

    Args:
        reference: section normal -> descriptor, averaged over sections; a list of tensors such as the Gram matrices of layers.
        candidate: the same of the candidate.

    Returns:
        ``relative``: E = ||D - D_ref|| / ||D_ref|| over all entries (E_S3, E_G and E_V of He et al., Front. Phys. 13 (2025)
        1684783); ``squared``: its square (the error of Seibert et al., Acta Mater. 227 (2022) 117667, eq. 10, here read as a
        ratio of squared norms); ``per_normal``: E of each normal.
    """
    mean = [torch.stack(list(tensors)).mean(dim=0) for tensors in zip(*reference.values(), strict=True)]
    paired = reference.keys() == candidate.keys()
    per_normal = {n: relative_l2(_flat(c), _flat(reference[n] if paired else mean)) for n, c in candidate.items()}
    return {
        "relative": float(np.mean(list(per_normal.values()))),
        "squared": float(np.mean(np.square(list(per_normal.values())))),
        "per_normal": per_normal,
    }


def _flat(tensors: Sequence[Tensor]) -> Floats:
    """All entries in one vector."""
    vector: Floats = torch.cat([t.flatten() for t in tensors]).double().numpy()
    return vector
