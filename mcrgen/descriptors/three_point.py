"""Three-point correlation S3 of slices over a window of lag vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mcrgen.descriptors.module import Descriptor, as_real
from mcrgen.errors import InputError, require_positive

_CHUNK_BYTES = 1 << 21  # of windows, which are read several times: up to twice as fast as 16 MiB on processors
_ACCELERATOR_CHUNKS = 8


def half_window(limit: int) -> Tensor:
    """Lag vectors (dy, dx) of one half of the window |dy|, |dx| < ``limit``; the other half follows from S2(-r) = S2(r).

    Returns:
        ``(N, 2)`` integers, N = ``limit``^2 + (``limit`` - 1)^2, row by row: dx = 0 ... ``limit`` - 1 where dy = 0, then
        dx = 1 - ``limit`` ... ``limit`` - 1.
    """
    dy, dx = torch.meshgrid(torch.arange(limit), torch.arange(1 - limit, limit), indexing="ij")
    return torch.stack([dy, dx], dim=-1).flatten(0, 1)[limit - 1 :]


def three_point_correlation(
    slices: Tensor,
    limit: int,
    *,
    periodic: bool = False,
    soft: bool = False,
    threshold: float = 0.75,
    steepness: float = 10.0,
) -> Tensor:
    """Three-point correlation S3(r_i, r_j) = <I(x) I(x + r_i) I(x + r_j)> over :func:`half_window`, differentiable.

    The form of Seibert et al. (Comput. Mater. Sci. 196 (2021) 110455). As I^2 = I in a 0/1 medium, its diagonal is S2(r_i), and
    so is its first row, where r_0 = 0. By default the product is taken as it stands, which is exact for 0/1 media.

    ``soft`` is the smooth threshold of that paper, for reconstruction from grey values: S3 = <T_i T_j> with
    T_i(x) = h((I(x) + I(x + r_i)) / 2), h(m) being the logistic function 1 / (1 + exp(-k (m - t))), here scaled and shifted
    such that h(0) = 0 and h(1) = 1. h(1/2) is not quite 0 (0.082 with t = 0.75 and k = 10), so that the soft S3 of a 0/1 medium
    is not the exact one: compare soft with soft.

    Evaluated as matrix products over blocks of positions, in the gradient again, and no block is kept between the two: the
    memory is that of the result and of a few blocks of 2 MiB (16 MiB on accelerators), whatever the size and number of slices.
    Where it is cheaper, products of periodic slices on a processor go through Fourier transforms of their rows instead; the
    result is the same up to rounding (relative error in float32: 1e-6).

    Args:
        slices: ``(B, C, H, W)``, H and W at least 2 ``limit`` - 1.
        limit: lags below this are covered, in pixels.
        periodic: wrap around, as a reconstruction needs it. By default only the positions x count for which x, x + r_i and
            x + r_j are all inside the window, because measured media do not repeat; their number is exact for each pair (i, j).
        soft: use the soft threshold.
        threshold: t of the soft threshold, the mean of two values above which both count as inside.
        steepness: k of the soft threshold.

    Returns:
        ``(B, C, N, N)`` in the dtype of the input, symmetric, in the order of :func:`half_window`.

    Raises:
        InputError: a volume instead of slices, ``limit`` does not fit them, ``threshold`` is outside (0, 1), or
            ``steepness`` is not positive.
    """
    if slices.ndim != 4:
        raise InputError(f"slices: expected (B, C, H, W), got {tuple(slices.shape)}; pass the sections of a volume as a batch.")
    slices = as_real(slices)
    height, width = slices.shape[2:]
    largest = (min(height, width) + 1) // 2
    if not 1 <= limit <= largest:
        raise InputError(f"limit: expected 1 to {largest} for slices of {height} x {width}, got {limit}.")
    if not 0.0 < threshold < 1.0:
        raise InputError(f"threshold: expected a number between 0 and 1 (exclusive), got {threshold}.")
    require_positive("steepness", steepness)
    if periodic and not soft and spectral_is_cheaper(slices, limit):
        from mcrgen.descriptors._three_point_spectral import SpectralThreePoint  # its compiler takes a second to import

        s3: Tensor = SpectralThreePoint.apply(slices.flatten(0, 1), limit)
        return s3.reshape(*slices.shape[:2], *s3.shape[1:])
    rule = _Soft(threshold, steepness) if soft else _Product()
    sides = (limit - 1, limit - 1, 0, limit - 1)
    padded = F.pad(slices, sides, "circular") if periodic else F.pad(slices, sides, value=rule.outside)
    counts = height * width if periodic else _inside(limit, height, width).to(slices)
    sums: Tensor = _Moments.apply(padded.flatten(0, 1), limit, rule)
    return (sums / counts).reshape(*slices.shape[:2], *sums.shape[1:])


def spectral_is_cheaper(slices: Tensor, limit: int) -> bool:
    """Whether S3 of periodic slices, with its gradient, is faster through Fourier transforms of their rows; not if invalid.

    The estimates are floating-point operations, and the same time spent on memory. Directly there are W windows for each row,
    N = ``limit`` (2 ``limit`` - 1) lags, 3.25 N^2 operations each (5/4 for the products, 2 for their gradient), and the passes
    over the windows, as dear as 700 N operations. The spectral way has W^2 / 4 pairs of wavenumbers, 24 ``limit``^2 operations
    each for every row, and the factors of the products, formed and differentiated at the price of 200 ``limit``. So the ratio
    is about 13 ``limit``^2 to 6 W where the lags are many. Measured on an AVX-512 processor, with slices of 64 x 64 in float32:
    as fast with 4, 1.7 times as fast with 8 and 5 times as fast with 16 as the limit.
    """
    fits = slices.ndim == 4 and 1 <= 2 * limit - 1 <= min(slices.shape[2:])
    if not fits or slices.device.type != "cpu" or slices.dtype not in (torch.float32, torch.float64):
        return False
    height, width = slices.shape[2:]
    lags, padded = limit * (2 * limit - 1), -(-limit // 8) * 8
    direct = lags * height * width * (3.25 * lags + 700)
    pairs = (width // 2 + 1) * (width // 2 + 2)
    return pairs * limit * (24 * padded * height + 200 * (height + 48)) < direct


def _inside(limit: int, height: int, width: int) -> Tensor:
    """Number of positions at which the bounding box of 0, r_i and r_j lies inside the window, ``(N, N)``."""
    dy, dx = half_window(limit).unbind(-1)
    right = torch.maximum(dx[:, None], dx).clamp(min=0)
    left = torch.minimum(dx[:, None], dx).clamp(max=0)
    return (height - torch.maximum(dy[:, None], dy)) * (width - right + left)


@dataclass(frozen=True)
class _Product:
    """I(x) I(x + r_i) I(x + r_j)."""

    outside = 0.0

    def factors(self, windows: Tensor, origin: int) -> tuple[Tensor, Tensor]:
        return windows * windows[:, origin, None], windows

    def gradient(self, windows: Tensor, upstream: Tensor, origin: int) -> Tensor:
        gradient = windows[:, origin, None] * upstream
        gradient[:, origin] += 0.5 * (windows * upstream).sum(dim=1)
        return gradient


@dataclass(frozen=True)
class _Soft:
    """T_i(x) T_j(x)."""

    threshold: float
    steepness: float
    outside = -math.inf  # where the logistic function and its slope are exactly 0

    @property
    def _low(self) -> float:
        return self._logistic_at(0.0)

    @property
    def _scale(self) -> float:
        return 1.0 / (self._logistic_at(1.0) - self._low)

    def _logistic_at(self, mean: float) -> float:
        return 0.5 + 0.5 * math.tanh(0.5 * self.steepness * (mean - self.threshold))  # exp would overflow where it is steep

    def _logistic(self, windows: Tensor, origin: int) -> Tensor:
        mean = (windows + windows[:, origin, None]).mul_(0.5)
        return mean.sub_(self.threshold).mul_(self.steepness).sigmoid_()

    def factors(self, windows: Tensor, origin: int) -> tuple[Tensor, Tensor]:
        logistic = self._logistic(windows, origin)
        outside = logistic == 0
        response = logistic.sub_(self._low).mul_(self._scale).masked_fill_(outside, 0.0)
        return response, response

    def gradient(self, windows: Tensor, upstream: Tensor, origin: int) -> Tensor:
        logistic = self._logistic(windows, origin)
        slope = (1.0 - logistic).mul_(logistic).mul_(self._scale * self.steepness)
        gradient = slope.mul_(upstream).mul_(0.5)
        gradient[:, origin] += gradient.sum(dim=1)
        return gradient


class _Moments(torch.autograd.Function):
    """Sums over x of the products of a rule, ``(K, N, N)``, from padded slices ``(K, H + limit - 1, W + 2 (limit - 1))``."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, limit: int, rule: _Product | _Soft) -> Tensor:
        ctx.save_for_backward(padded)
        ctx.limit, ctx.rule = limit, rule
        lags = limit * (2 * limit - 1)
        sums = padded.new_zeros(len(padded), lags, lags)
        with torch.autocast(padded.device.type, enabled=False):  # counts need the full resolution
            for block, (images, _) in _blocks(padded, limit):
                _add_products(sums[images], *rule.factors(_windows(block, limit), limit - 1))
        return sums[:, limit - 1 :, limit - 1 :]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (padded,) = ctx.saved_tensors
        limit, rule = ctx.limit, ctx.rule
        gradient = torch.zeros_like(padded)
        with torch.autocast(padded.device.type, enabled=False):
            for block, where in _blocks(padded, limit):
                weights = upstream[0][where[0]]
                weights = F.pad(weights + weights.mT, (limit - 1, 0, limit - 1, 0))
                windows = _windows(block, limit)
                _, right = rule.factors(windows, limit - 1)
                gradient[where] += _scatter(rule.gradient(windows, weights @ right, limit - 1), block, limit)
        return gradient, None, None


def _blocks(padded: Tensor, limit: int) -> Iterator[tuple[Tensor, tuple[slice, slice]]]:
    """Groups of padded slices, or of their rows, whose windows fill a block; with the place of each."""
    images, height = len(padded), padded.shape[1] - limit + 1
    width = padded.shape[2] - 2 * (limit - 1)
    budget = _CHUNK_BYTES * (1 if padded.device.type == "cpu" else _ACCELERATOR_CHUNKS)
    fitting = max(1, budget // (limit * (2 * limit - 1) * width * padded.element_size()))
    group, rows = max(1, fitting // height), min(fitting, height)
    for first in range(0, images, group):
        for top in range(0, height, rows):
            where = slice(first, first + group), slice(top, min(top + rows, height) + limit - 1)
            yield padded[where], where


def _windows(block: Tensor, limit: int) -> Tensor:
    """Values at x + r, ``(K, lags, positions)``, for the full rows of lags: those before r = 0 are cut off in the end."""
    rows, width = block.shape[1] - limit + 1, block.shape[2] - 2 * (limit - 1)
    return block.unfold(1, rows, 1).unfold(2, width, 1).reshape(len(block), limit * (2 * limit - 1), rows * width)


def _scatter(windows: Tensor, like: Tensor, limit: int) -> Tensor:
    """The transpose of :func:`_windows`, one axis after the other."""
    rows, width = like.shape[1] - limit + 1, like.shape[2] - 2 * (limit - 1)
    values = windows.reshape(len(like), limit, 2 * limit - 1, rows, width)
    tall = like.new_zeros(len(like), 2 * limit - 1, like.shape[1], width)
    for dy in range(limit):
        tall[:, :, dy : dy + rows] += values[:, dy]
    block = torch.zeros_like(like)
    for dx in range(2 * limit - 1):
        block[:, :, dx : dx + width] += tall[:, dx]
    return block


def _add_products(sums: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right.mT``, known to be symmetric, to ``sums``: little more than its upper triangle is computed."""
    lags = sums.shape[1]
    step = -(-lags // 4)
    for first in range(0, lags, step):
        rows = slice(first, first + step)
        products = left[:, rows] @ right[:, first:].mT
        sums[:, rows, first:] += products
        sums[:, first + step :, rows] += products[..., step:].mT


class ThreePoint(Descriptor):
    """:func:`three_point_correlation` with its settings."""

    function = staticmethod(three_point_correlation)
