"""Sliced-Wasserstein distance between two sets of vectors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def random_directions(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """``(count, dimension)`` directions, uniform on the unit sphere, on the generator's device."""
    raw = torch.randn(count, dimension, generator=generator, device=generator.device)
    return torch.nn.functional.normalize(raw)


def sort_rows(values: Tensor) -> Tensor:
    """Sort a matrix ascending along its last axis, differentiably.

    On the CPU NumPy's vectorised sorts do it: faster than torch's where no gradient is needed, and on some processors where
    one is.
    """
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    rows = values.detach().numpy()
    if not values.requires_grad:
        return torch.from_numpy(np.sort(rows, axis=-1))
    return values.gather(-1, torch.from_numpy(rows.argsort(axis=-1)))


def wasserstein_1d(x: Tensor, y: Tensor, p: float) -> Tensor:
    """p-th power of the Wasserstein distance between one-dimensional samples, row by row.

    W_p^p = int_0^1 |F_x^-1(u) - F_y^-1(u)|^p du, where each empirical quantile function is constant on steps of 1/N and
    1/M. For unequal counts the integral is taken exactly over the merged steps; nothing is replicated or drawn at random
    (the SWNN paper replicates the smaller set and fills up with a random remainder).

    Args:
        x: ``(K, N)``.
        y: ``(K, M)``.
        p: exponent, at least 1.

    Returns:
        ``(K,)``.
    """
    x, y = sort_rows(x), sort_rows(y)
    n, m = x.shape[-1], y.shape[-1]
    if n == m:
        return _power(x - y, p).mean(dim=-1)
    common = math.lcm(n, m)
    steps_x = torch.arange(n + 1, device=x.device) * (common // n)
    steps_y = torch.arange(m + 1, device=x.device) * (common // m)
    edges = torch.unique(torch.cat([steps_x, steps_y]))
    left = edges[:-1]
    weight = (edges[1:] - left).to(x.dtype) / common
    gap = x[:, left // (common // n)] - y[:, left // (common // m)]
    distance: Tensor = (_power(gap, p) * weight).sum(dim=-1)
    return distance


def _power(gap: Tensor, p: float) -> Tensor:
    if p == 1.0:
        return gap.abs()
    return gap.square() if p == 2.0 else gap.abs().pow(p)


def sliced_wasserstein(x: Tensor, y: Tensor, directions: Tensor, p: float) -> Tensor:
    """p-th power of the sliced-Wasserstein distance along given directions (Bonneel et al., JMIV 51, 2015).

    Args:
        x: ``(N, D)`` vectors.
        y: ``(M, D)`` vectors.
        directions: ``(K, D)`` unit vectors.
        p: exponent, at least 1.

    Returns:
        Scalar: the mean of the one-dimensional distances over the directions.
    """
    with torch.autocast(x.device.type, enabled=False):  # sorting needs the full resolution of the projections
        return wasserstein_1d(directions @ x.T, directions @ y.T, p).mean()
