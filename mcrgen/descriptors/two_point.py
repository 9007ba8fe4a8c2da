"""Two-point correlation S2 along the axes, and the two-dimensional autocovariance map."""

from __future__ import annotations

import torch
from torch import Tensor

from mcrgen.descriptors.bits import is_binary
from mcrgen.descriptors.module import Descriptor, axis_length
from mcrgen.descriptors.n_point import n_point_probability
from mcrgen.errors import InputError

_CHUNK = 1 << 22


def two_point_correlation(indicator: Tensor, max_lag: int, axis: int, *, periodic: bool = False) -> Tensor:
    """Two-point correlation S2(r) = <I(x) I(x + r e)> along one axis (Torquato, Random Heterogeneous Materials, eq. 2.24).

    A 0/1 field in a finite window is counted bit by bit, anything else goes through the power spectrum in double precision.

    Args:
        indicator: ``(B, C, *spatial)``, any real values; differentiable in it.
        max_lag: largest lag in voxels, below the length of the axis.
        axis: spatial axis, 0 being the first after the channels (z of a volume, y of a slice).
        periodic: wrap around instead of counting only the pairs inside the window. The finite window is the default because
            measured media do not repeat; its pair counts N - r are exact.

    Returns:
        ``(B, C, max_lag + 1)`` float64; lag 0 is the phase fraction of a 0/1 indicator.

    Raises:
        InputError: no such axis, ``max_lag`` is not below its length.
    """
    length = axis_length(indicator, axis)
    if not 0 <= max_lag < length:
        raise InputError(f"max_lag: expected 0 to {length - 1} for an axis of {length} voxels, got {max_lag}.")
    if not periodic and is_binary(indicator):
        start = (0,) * (indicator.ndim - 2)
        steps = [(*start[:axis], r, *start[axis + 1 :]) for r in range(max_lag + 1)]
        return n_point_probability(indicator, [(start, step) for step in steps])
    lines = indicator.movedim(2 + axis, -1).flatten(2, -2)
    padded = length if periodic else length + max_lag
    power = torch.zeros(*lines.shape[:2], padded // 2 + 1, dtype=torch.float64, device=lines.device)
    for part in torch.split(lines, max(1, _CHUNK // length), dim=2):
        spectrum = torch.fft.rfft(part.double(), n=padded)
        power = power + (spectrum.real.square() + spectrum.imag.square()).sum(dim=2)
    products = torch.fft.irfft(power, n=padded)[..., : max_lag + 1]
    pairs = torch.full((max_lag + 1,), length) if periodic else length - torch.arange(max_lag + 1)
    s2: Tensor = products / (pairs.to(products) * lines.shape[2])
    return s2


class TwoPointCorrelation(Descriptor):
    """:func:`two_point_correlation` with its settings."""

    function = staticmethod(two_point_correlation)


def symmetrise(maps: Tensor) -> Tensor:
    """Average of square maps ``(..., N, N)`` over the four rotations of the square and their mirror images."""
    turned = [torch.rot90(m, k, (-2, -1)) for m in (maps, maps.flip(-1)) for k in range(4)]
    return torch.stack(turned).mean(dim=0)


def autocovariance_map(slices: Tensor, max_lag: int, mean: Tensor | None = None) -> Tensor:
    """Autocovariance <(I(x) - m) (I(x + r) - m)> of slices over all lags r within a square, finite window.

    Axis-wise S2 is blind to diagonal stripes; this map is not.

    Args:
        slices: ``(B, C, H, W)``.
        max_lag: largest lag in pixels along each axis.
        mean: ``(C,)`` mean m to subtract, for slices of a larger medium; by default the mean over all the slices.

    Returns:
        ``(C, 2 * max_lag + 1, 2 * max_lag + 1)`` float64, averaged over the batch; the zero lag is the centre.

    Raises:
        InputError: ``max_lag`` is not below both edge lengths.
    """
    b, c, h, w = slices.shape
    if not 0 <= max_lag < min(h, w):
        raise InputError(f"max_lag: expected 0 to {min(h, w) - 1} for slices of {h} x {w}, got {max_lag}.")
    m = slices.double().mean(dim=(0, 2, 3)) if mean is None else mean.double()
    shape = (h + max_lag, w + max_lag)
    power = torch.zeros(c, shape[0], shape[1] // 2 + 1, dtype=torch.float64, device=slices.device)
    for part in torch.split(slices, max(1, _CHUNK // (c * h * w))):
        spectrum = torch.fft.rfft2(part.double() - m[:, None, None], s=shape)
        power = power + (spectrum.real.square() + spectrum.imag.square()).sum(dim=0)
    products = torch.fft.irfft2(power, s=shape).roll((max_lag, max_lag), (-2, -1))
    window = products[..., : 2 * max_lag + 1, : 2 * max_lag + 1]
    lags = torch.arange(-max_lag, max_lag + 1, device=slices.device).abs()
    covariance: Tensor = window / ((h - lags)[:, None] * (w - lags)[None, :] * b).double()
    return covariance
