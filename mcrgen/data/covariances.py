"""Autocovariances that generated slices are to have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.two_point import autocovariance_map
from mcrgen.io.phases import Phases, indicators

_CHUNK = 1 << 20


def image_covariance(images: Sequence[NDArray[np.uint8]], phases: Phases, max_lag: int) -> Tensor:
    """Autocovariance over all lags of images of one medium, each about the phase fractions of all of them together.

    Args:
        images: label images ``(H, W)``, which may differ in size.
        phases: what the labels mean.
        max_lag: largest lag L in pixels, below the shortest edge.

    Returns:
        ``(C, 2 L + 1, 2 L + 1)`` float64, averaged over the images by their numbers of pixels; the zero lag is the centre.

    Raises:
        InputError: ``max_lag`` is not below the shortest edge.
    """
    pixels = sum(image.size for image in images)
    counts = np.sum([indicators(image, phases).sum(axis=(1, 2), dtype=np.float64) for image in images], axis=0)
    mean = torch.from_numpy(counts / pixels)
    total = torch.zeros((), dtype=torch.float64)
    for image in images:
        channels = torch.from_numpy(indicators(image, phases))[None]
        total = total + image.size / pixels * autocovariance_map(channels, max_lag, mean)
    return total


def window_covariance(windows: NDArray[np.uint8], weights: NDArray[np.float64], phases: Phases) -> Tensor:
    """Autocovariance within windows: the mean product over all pixel pairs at each lag, less the square of the mean fraction.

    Args:
        windows: ``(N, T, T)`` labels.
        weights: ``(N,)`` probabilities of the windows.
        phases: what the labels mean.

    Returns:
        ``(C, 2 T - 1, 2 T - 1)`` float64; the zero lag is the centre.
    """
    size = windows.shape[-1]
    moments = torch.zeros(phases.channels, size**2, size**2, dtype=torch.float64)
    means = torch.zeros(phases.channels, dtype=torch.float64)
    for part in np.array_split(np.arange(len(windows)), 1 + windows.size // _CHUNK):
        pixels = torch.from_numpy(indicators(windows[part], phases)).flatten(2).double()
        weighted = pixels * torch.from_numpy(weights[part])[:, None]
        moments += weighted.mT @ pixels
        means += weighted.sum(dim=1).mean(dim=1)
    lags = 2 * size - 1
    at = torch.arange(size)
    shift = at[None, :] - at[:, None] + size - 1
    lag = (shift[:, None, :, None] * lags + shift[None, :, None, :]).flatten()
    sums = torch.zeros(phases.channels, lags**2, dtype=torch.float64).index_add(1, lag, moments.flatten(1))
    products = (sums / torch.bincount(lag)).reshape(-1, lags, lags)
    return products - means.square()[:, None, None]
