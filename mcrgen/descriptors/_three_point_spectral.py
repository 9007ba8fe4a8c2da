"""Three-point correlation of periodic slices through Fourier transforms of their rows, compiled for processors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from mcrgen.descriptors._register_tiles import TILE_ROWS, VECTOR_BYTES
from mcrgen.descriptors._three_point_backward import add_gradient
from mcrgen.descriptors._three_point_forward import correlate
from mcrgen.descriptors._three_point_plan import Plan


class SpectralThreePoint(torch.autograd.Function):
    """S3 ``(K, N, N)`` of slices ``(K, H, W)`` of float32 or float64; only these are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, slices: Tensor, limit: int) -> Tensor:
        ctx.save_for_backward(slices)
        ctx.limit = limit
        lags = limit**2 + (limit - 1) ** 2
        plan = _plan(slices, limit)
        s3 = slices.new_empty(len(slices), lags, lags)
        _in_threads(correlate, plan, *_spectra(slices, plan), s3.numpy())
        return s3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (slices,) = ctx.saved_tensors
        plan = _plan(slices, ctx.limit)
        spectra = _spectra(slices, plan)
        gradients = [np.zeros_like(part) for part in spectra]
        _in_threads(add_gradient, plan, *spectra, upstream[0].contiguous().numpy(), *gradients)
        return _to_slices(gradients, plan), None


def _multiple(count: int, step: int) -> int:
    return -(-count // step) * step


def _plan(slices: Tensor, limit: int) -> Plan:
    height, width = slices.shape[1:]
    lanes = min(VECTOR_BYTES // slices.element_size(), 8 if limit <= 8 else 16)
    dys, dxs, spans = _multiple(limit, lanes), _multiple(limit, TILE_ROWS), _multiple(2 * limit - 1, lanes)
    rows = _multiple(height, max(lanes, TILE_ROWS))
    wavenumbers = width // 2 + 1
    k = np.arange(_multiple(wavenumbers, TILE_ROWS))[:, None]
    share = np.where((k == 0) | (2 * k == width), 0.5, 1.0) * (k < wavenumbers)  # those with k = -k are their own partners
    turn = 2 * np.pi / width * k
    inside, across = turn * np.arange(dxs), turn * np.arange(1 - limit, spans + 1 - limit)
    waves = np.stack([np.cos(across), -np.sin(across)], axis=1) * share[..., None] * (2 / (width**3 * height))
    tables = (table.astype(slices.numpy().dtype).ravel() for table in (share * np.cos(inside), share * np.sin(inside), waves))
    return Plan(
        (0,) * lanes, height, width, limit, rows + _multiple(limit, max(lanes, TILE_ROWS)), rows, dys, dxs, spans, *tables
    )


def _spectra(slices: Tensor, plan: Plan) -> list[NDArray[Any]]:
    """Real and imaginary parts of the spectra of the rows, ``(K, W pitch)``, continued periodically over the rows."""
    spectrum = torch.fft.fft(slices, dim=-1).mT
    parts = []
    for part in (spectrum.real, spectrum.imag):
        continued = part.new_zeros(len(slices), plan.width, plan.pitch)
        continued[..., : plan.height] = part
        continued[..., plan.height : plan.height + plan.limit - 1] = part[..., : plan.limit - 1]
        parts.append(continued.flatten(1).numpy())
    return parts


def _to_slices(gradients: list[NDArray[Any]], plan: Plan) -> Tensor:
    """The transpose of :func:`_spectra`."""
    real, imaginary = (torch.from_numpy(part) for part in gradients)
    whole = torch.complex(real, imaginary).view(-1, plan.width, plan.pitch)
    inside = whole[..., : plan.height]
    inside[..., : plan.limit - 1] += whole[..., plan.height : plan.height + plan.limit - 1]
    slices: Tensor = torch.fft.ifft(inside, dim=1, norm="forward").real.mT
    return slices.contiguous()


def _in_threads(kernel: Callable[..., None], plan: Plan, *arrays: NDArray[Any]) -> None:
    """Share the slices out. Threads of Python suffice for kernels without its lock, and leave those of torch alone."""
    threads = torch.get_num_threads()
    groups = max(1, min(4 * threads, len(arrays[0])))  # a few for each, because some processors are busier than others
    shares = zip(*(np.array_split(array, groups) for array in arrays), strict=True)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda share: kernel(plan, *share), shares))
