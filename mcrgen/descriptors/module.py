"""The thin Module around a descriptor function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn


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
