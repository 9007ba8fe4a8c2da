"""Clusters of a phase, and the two-point cluster function C2 along the axes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.module import Descriptor, axis_length
from mcrgen.errors import InputError


def cluster_labels(indicator: Tensor, *, connectivity: int | None = None, periodic: bool = False) -> Tensor:
    """Numbers of the clusters (connected components) of a phase.

    Args:
        indicator: ``(B, C, *spatial)``; values above 0.5 belong to the phase.
        connectivity: of the phase, as in scikit-image: the largest number of axes along which two touching voxels may differ,
            from 1 (they share a face) to the number of spatial axes (they share a corner), which is the default.
        periodic: clusters continue across opposite faces.

    Returns:
        ``(B, C, *spatial)`` int64 on the device of the indicator: 0 outside the phase, clusters from 1 on in each channel.

    Raises:
        InputError: there is no such connectivity.
    """
    dims = indicator.ndim - 2
    reach = dims if connectivity is None else connectivity
    if not 1 <= reach <= dims:
        raise InputError(f"connectivity: expected 1 (faces) to {dims} (corners) for {dims}D media, got {connectivity}.")
    masks = (indicator.detach() > 0.5).cpu().numpy()
    find = _periodic_components if periodic else _components
    labels = np.empty(masks.shape, np.int64)
    for image in np.ndindex(masks.shape[:2]):
        labels[image] = find(masks[image], reach)
    return torch.from_numpy(labels).to(indicator.device)


def two_point_cluster(
    indicator: Tensor, max_lag: int, axis: int, *, connectivity: int | None = None, periodic: bool = False
) -> Tensor:
    """Two-point cluster function C2(r): the probability that x and x + r e lie in one cluster of the phase.

    Torquato, Beasley and Chiew, J. Chem. Phys. 88 (1988) 6540; Jiao, Stillinger and Torquato, PNAS 106 (2009) 17634. The rest
    of S2 = C2 + D2, D2(r), counts pairs in different clusters. Pairs are counted exactly. Clusters are those of the window: two
    parts joined only outside a finite window count as two. Not differentiable.

    Args:
        indicator: ``(B, C, *spatial)``; values above 0.5 belong to the phase.
        max_lag: largest lag in voxels, below the length of the axis.
        axis: spatial axis, 0 being the first after the channels (z of a volume, y of a slice).
        connectivity: of the phase, see :func:`cluster_labels`; by default voxels that share a corner are connected.
        periodic: wrap around, the clusters as well as the pairs. The finite window is the default because measured media do
            not repeat; its pair counts N - r are exact.

    Returns:
        ``(B, C, max_lag + 1)`` float64; lag 0 is the phase fraction.

    Raises:
        InputError: no such axis, ``max_lag`` is not below its length, or there is no such connectivity.
    """
    length = axis_length(indicator, axis)
    if not 0 <= max_lag < length:
        raise InputError(f"max_lag: expected 0 to {length - 1} for an axis of {length} voxels, got {max_lag}.")
    labels = cluster_labels(indicator, connectivity=connectivity, periodic=periodic).movedim(2 + axis, 2)
    curve = []
    for lag in range(max_lag + 1):
        here = labels if periodic else labels[:, :, : length - lag]
        there = labels.roll(-lag, 2) if periodic else labels[:, :, lag:]
        together = (here == there) & (here > 0)
        curve.append(torch.count_nonzero(together.flatten(2), dim=2).double() / together[0, 0].numel())
    return torch.stack(curve, dim=-1)


class TwoPointCluster(Descriptor):
    """:func:`two_point_cluster` with its settings."""

    function = staticmethod(two_point_cluster)


def _components(mask: NDArray[np.bool_], connectivity: int) -> NDArray[np.int64]:
    """Label the components inside the window."""
    from scipy.ndimage import generate_binary_structure, label

    labels: NDArray[np.int64] = label(mask, generate_binary_structure(mask.ndim, connectivity))[0].astype(np.int64)
    return labels


def _periodic_components(mask: NDArray[np.bool_], connectivity: int) -> NDArray[np.int64]:
    """Label the components of the medium that repeats the window."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # One repeated layer per axis holds every contact across the faces, diagonal ones too; a voxel and its copy are the same.
    rim = [(0, 1)] * mask.ndim
    extended = _components(np.pad(mask, rim, mode="wrap"), connectivity)
    window = extended[tuple(slice(0, n) for n in mask.shape)]
    original = np.pad(window, rim, mode="wrap")
    apart = extended != original
    pairs = np.unique(np.stack([extended[apart], original[apart]]), axis=1)
    count = int(extended.max()) + 1
    links = coo_array((np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(count, count))
    component = connected_components(links, directed=False)[1].astype(np.int64)
    numbers = np.unique(component[window[mask]], return_inverse=True)[1]
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = numbers + 1
    return labels
