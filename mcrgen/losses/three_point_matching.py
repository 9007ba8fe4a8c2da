"""Squared distance of the three-point correlation of periodic slices from a target."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.three_point import spectral_is_cheaper, three_point_correlation
from mcrgen.errors import InputError


def three_point_errors(slices: Tensor, target: Tensor, limit: int) -> Tensor:
    """|S3 - target|^2 of each slice, the sum over all pairs of lags, differentiable with respect to the slices.

    Equal to the squares of ``three_point_correlation(slices, limit, periodic=True) - target``, but where Fourier transforms are
    cheaper (:func:`spectral_is_cheaper`), S3 and its gradient never leave the cache: faster by 10 to 35 %, and without their
    memory, 0.9 MiB a slice where ``limit`` is 16. The gradient, where one is asked for, is computed along with the error.

    Args:
        slices: ``(B, C, H, W)``, as for :func:`three_point_correlation`.
        target: ``(N, N)``, in the order of :func:`half_window`; a constant.
        limit: lags below this are covered, in pixels.

    Returns:
        ``(B, C)`` in the dtype of the slices.

    Raises:
        InputError: ``target`` does not belong to ``limit``, or :func:`three_point_correlation` refuses the slices.
    """
    lags = limit**2 + (limit - 1) ** 2
    if target.shape != (lags, lags):
        raise InputError(f"target: expected {lags} x {lags} for limit {limit}, got {tuple(target.shape)}; measure it with it.")
    if not spectral_is_cheaper(slices, limit):
        s3 = three_point_correlation(slices, limit, periodic=True)
        return (s3 - target.to(s3)).square().sum(dim=(-2, -1))
    from mcrgen.descriptors._three_point_spectral import SpectralSquaredErrors  # its compiler takes a second to import

    tracked = slices if torch.is_grad_enabled() else slices.detach()
    errors: Tensor = SpectralSquaredErrors.apply(tracked.flatten(0, 1), target, limit)
    return errors.reshape(slices.shape[:2])
