"""The thin Module around a descriptor function, and what the functions share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mcrgen.errors import InputError


class Descriptor(nn.Module):
    """Stores the settings of a descriptor function and calls it: ``Descriptor(**settings)(x) == function(x, **settings)``.

    A subclass names its function; the function's signature is the only place where settings, their types and their defaults
    stand, and its first parameters without a setting are what ``forward`` takes.
    """

    function: ClassVar[Callable[..., Any]]

    def __init__(self, **settings: Any) -> None:
        """Store the settings.

        Raises:
            TypeError: a setting that the function does not have.
        """
        super().__init__()
        known = inspect.signature(type(self).function).parameters
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no setting '{unknown[0]}'; known are {', '.join(list(known)[1:])}")
        self.settings = settings

    def forward(self, *inputs: Tensor) -> Any:
        """The function of the inputs with the stored settings."""
        return type(self).function(*inputs, **self.settings)

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


def as_real(indicator: Tensor) -> Tensor:
    """A floating-point indicator: booleans and integers can neither be subtracted, multiplied nor averaged safely."""
    return indicator if indicator.is_floating_point() else indicator.to(torch.get_default_dtype())


def axis_length(indicator: Tensor, axis: int) -> int:
    """Voxels along a spatial axis.

    Raises:
        InputError: the medium has no such axis.
    """
    axes = indicator.ndim - 2
    if not 0 <= axis < axes:
        raise InputError(f"axis: expected 0 to {axes - 1} for a medium of {axes} axes, got {axis}.")
    return indicator.shape[2 + axis]
