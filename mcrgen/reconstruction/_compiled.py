"""How kernels are compiled. Importing this imports numba, which takes about a second: import kernels where they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])
compiled = cast("Callable[[Kernel], Kernel]", njit(cache=True, nogil=True, error_model="numpy"))
