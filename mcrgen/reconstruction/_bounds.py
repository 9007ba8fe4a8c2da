"""The box that an optimiser keeps its parameter in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcrgen.errors import InputError


def box(param: Tensor, low: float | Tensor, high: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return both bounds as tensors of the parameter's type and device that broadcast to its shape.

    Args:
        param: what is bounded; float32 or float64.
        low: lower bounds, a number or a tensor that broadcasts to the parameter; minus infinity for none.
        high: upper bounds likewise.

    Raises:
        InputError: another type of parameter, bounds that do not broadcast to it, or a lower one that is not below the upper.
    """
    if param.dtype not in (torch.float32, torch.float64):
        raise InputError(f"params: expected float32 or float64, got {param.dtype}; convert the tensor.")
    lower, upper = (torch.as_tensor(bound, dtype=param.dtype, device=param.device).detach() for bound in (low, high))
    for name, bound in (("low", lower), ("high", upper)):
        if not _broadcasts(bound, param):
            raise InputError(
                f"{name}: expected a number or a tensor that broadcasts to {tuple(param.shape)}, got the shape "
                f"{tuple(bound.shape)}; give one bound per entry."
            )
    if not bool((lower < upper).all()):
        raise InputError(f"low: expected less than high everywhere, got {_told(low)} and {_told(high)}; exchange or part them.")
    return lower, upper


def _broadcasts(bound: Tensor, param: Tensor) -> bool:
    try:
        bound.expand(param.shape)
    except RuntimeError:
        return False
    return True


def _told(bound: Any) -> str:
    return f"a tensor from {bound.min():g} to {bound.max():g}" if isinstance(bound, Tensor) else f"{bound:g}"
