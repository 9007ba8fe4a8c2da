"""The exemplar's descriptors, measured once, for samples to be compared with while a generator learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.callbacks.metrics import SCALED
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.polytopes import POLYTOPES, largest_edge, polytope_function
from mcrgen.descriptors.scaled_autocovariance import scaled_autocovariance
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.descriptors.windows import grid_windows

_ORDER = {"s2": 2} | {name: polytope.order for name, polytope in POLYTOPES.items()}
_BAND = (0.025, 0.975)
_VOLUME = 3


@dataclass(frozen=True)
class Reference:
    """Curves of one phase of the exemplar over lags 0, 1, 2, ... voxels, and how much windows of it scatter.

    Attributes:
        fraction: phase fraction that samples should have.
        edge: edge length of the square windows in voxels.
        max_lag: largest lag in voxels.
        curves: name -> mean over the axes (polytopes: section normals) of the exemplar; the names are those of
            :data:`mcrgen.callbacks.metrics.CURVES`.
        low: name -> 2.5 % percentile over the windows.
        high: name -> 97.5 % percentile.
        windows_s2: ``(windows, lags)`` S2 of each window.
    """

    fraction: float
    edge: int
    max_lag: int
    curves: dict[str, Tensor]
    low: dict[str, Tensor]
    high: dict[str, Tensor]
    windows_s2: Tensor

    @classmethod
    def measure(cls, media: Sequence[NDArray[np.bool_]], *, size: int, max_lag: int) -> Reference:
        """Measure exemplars of one medium and their windows.

        The windows have the edge length of the samples, or half the exemplar's shortest edge if that is less: four of them then
        stand side by side, and their scatter can be told. Lags end below that edge, a hexagon's where it no longer fits.

        Args:
            media: ``(H, W)`` or ``(D, H, W)`` each, where the phase of interest is; the windows of a volume are cut from
                sections, and each medium counts by its voxels.
            size: edge length of the samples in voxels.
            max_lag: largest lag wanted, in voxels.
        """
        edge = max(1, min(size, min(min(phase.shape) for phase in media) // 2))
        lag = min(max_lag, edge - 1)
        cut = np.concatenate([_windows(phase, edge) for phase in media])
        whole = scaled(_together([probabilities(torch.from_numpy(phase[None]), edge, lag) for phase in media], media))
        fraction = sum(np.count_nonzero(phase) for phase in media) / sum(phase.size for phase in media)
        return cls._over(scaled(probabilities(torch.from_numpy(cut), edge, lag)), whole, fraction, edge, lag)

    @classmethod
    def of_windows(cls, windows: NDArray[np.bool_], *, max_lag: int) -> Reference:
        """Measure windows as large as the samples: their mean curves, and their scatter.

        Args:
            windows: ``(N, *spatial)``, all edges of one length, where the phase of interest is.
            max_lag: largest lag wanted, in voxels; lags end below the edge.
        """
        edge = windows.shape[-1]
        lag = min(max_lag, edge - 1)
        each = probabilities(torch.from_numpy(windows), edge, lag)
        return cls._over(scaled(each), scaled(pooled(each)), float(windows.mean()), edge, lag)

    @classmethod
    def _over(cls, windows: dict[str, Tensor], whole: dict[str, Tensor], fraction: float, edge: int, lag: int) -> Reference:
        low, high = ({name: torch.nanquantile(c, q, dim=0) for name, c in windows.items()} for q in _BAND)
        return cls(fraction, edge, lag, whole, low, high, windows["s2"])


def probabilities(phase: Tensor, edge: int, max_lag: int) -> dict[str, Tensor]:
    """S2, lineal path and polytope functions of each medium, finite windows, averaged over axes or section normals.

    Args:
        phase: ``(B, *spatial)`` bool, where the phase of interest is.
        edge: polytopes are measured up to the largest that fits into a square window of this edge length.
        max_lag: largest lag in voxels.

    Returns:
        Name -> ``(B, lags)`` float64; lag 0 is the phase fraction.
    """
    indicator = phase[:, None]
    axes = range(phase.ndim - 1)
    along = {
        "s2": torch.stack([two_point_correlation(indicator, max_lag, axis)[:, 0] for axis in axes]).mean(dim=0),
        "lineal_path": torch.stack([lineal_path(indicator, max_lag, axis)[:, 0] for axis in axes]).mean(dim=0),
    }
    kinds = {kind: min(max_lag, largest_edge(kind, (edge, edge))) for kind in SCALED.values() if kind in POLYTOPES}
    return along | {kind: polytope_function(indicator, kind, lag)[:, 0].mean(dim=1) for kind, lag in kinds.items()}


def pooled(curves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean over media of one size."""
    return {name: curve.mean(dim=0) for name, curve in curves.items()}


def _together(curves: Sequence[Mapping[str, Tensor]], media: Sequence[NDArray[np.bool_]]) -> dict[str, Tensor]:
    """Mean curves of media of any sizes, each with the weight of its voxels."""
    weights = torch.tensor([phase.size for phase in media]).double()
    return {name: torch.tensordot(weights / weights.sum(), torch.cat([c[name] for c in curves]), 1) for name in curves[0]}


def scaled(curves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The curves of ``CURVES`` made of :func:`probabilities`: F_n with each medium's own phase fraction.

    NaN where a medium is of one phase, so that there is nothing to scale.
    """
    along = {name: curves[name] for name in ("s2", "lineal_path")}
    return along | {name: _scale(curves[source], _ORDER[source]) for name, source in SCALED.items()}


def _scale(curve: Tensor, order: int) -> Tensor:
    fraction = curve[..., 0]
    mixed = (fraction > 0) & (fraction < 1)
    result = torch.full_like(curve, torch.nan)
    result[mixed] = scaled_autocovariance(curve[mixed], fraction[mixed], order)
    return result


def _windows(phase: NDArray[np.bool_], edge: int) -> NDArray[np.bool_]:
    """Square windows ``(N, edge, edge)`` of an image, or of sections of a volume, a quarter of its edge apart."""
    sections = [phase]
    if phase.ndim == _VOLUME:
        sections = [np.take(phase, phase.shape[n] * k // 4, axis=n) for n in range(_VOLUME) for k in (1, 2, 3)]
    return np.stack([section[window] for section in sections for window in grid_windows(section.shape, edge)])
