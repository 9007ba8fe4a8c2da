"""Shapes, tables and memory of the kernels of the spectral three-point correlation.

Numba's cache notices changes of the file of a kernel, not of the files of what that calls: clear it after changes here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mcrgen.descriptors._register_tiles import TILE_ROWS

LAGS_AT_A_TIME = TILE_ROWS // 2
compiled = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")

Array = NDArray[Any]


class Plan(NamedTuple):
    """Shapes and tables; what is padded is a multiple of the tile, and zero where it is read beyond its end."""

    lanes: tuple[int, ...]
    """As many elements as a vector has; only their number counts, which as part of the type is known in compilation."""
    height: int
    width: int
    limit: int
    pitch: int
    """Elements from one wavenumber of the spectra to the next: the rows, periodically continued."""
    rows: int
    """Height, padded."""
    dys: int
    """``limit``, padded to vectors."""
    dxs: int
    """``limit``, padded to tiles."""
    spans: int
    """2 ``limit`` - 1, padded to vectors."""
    cosines: Array
    """cos(2 pi k i / W), ``(wavenumbers, dxs)``, flat, half of it where k = -k."""
    sines: Array
    waves: Array
    """Real and minus imaginary part of e(k j) times its share in the mean, ``(2 wavenumbers, spans)``, flat."""


@compiled
def block_size(plan: Plan) -> int:
    """Elements of a block of lags (a, b), those a that are worked off together."""
    return LAGS_AT_A_TIME * plan.dys


@compiled
def coefficient_count(plan: Plan) -> int:
    """Elements of (cosine or sine, i, a, b); a little more, or the columns of a matrix of them would share a cache set."""
    return 2 * plan.dxs * block_size(plan) + 16


@compiled
def padded(count: int) -> int:
    """The next multiple of the rows of a tile."""
    return (count + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


class Workspace(NamedTuple):
    """What one slice needs at a time."""

    s3: Array
    """``(N, N)``."""
    d: Array
    """D or its gradient, at all dx."""
    q: Array
    """The same, ``(k2, real or imaginary, cosine or sine, i, a, b)``."""
    e: Array
    """E and O or their gradients for one k2, ``(E or O, real or imaginary, k1, a, b)``."""
    m_re: Array
    """Left factors for one k2, ``(k1, sign, a, y)``."""
    m_im: Array
    c_re: Array
    """Gradients of the products for one k2, ``(k1, sign, a, b)``, conjugated."""
    c_im: Array
    u_re: Array
    """Gradients of the left factors for one pair, ``(sign, a, y)``, conjugated."""
    u_im: Array
    p_re: Array
    """A tile of results, ``(rows of the tile, b)``."""
    p_im: Array


@compiled
def workspace(plan: Plan) -> Workspace:
    """Zeros."""
    kind, block, count, wavenumbers = plan.waves.dtype, block_size(plan), coefficient_count(plan), plan.width // 2 + 1
    lags = plan.limit**2 + (plan.limit - 1) ** 2
    left = TILE_ROWS * plan.rows
    return Workspace(
        np.zeros((lags, lags), kind),
        np.zeros(max(2 * plan.dxs * block * plan.spans, (2 * plan.limit - 1) * count), kind),
        np.zeros(padded(2 * wavenumbers) * count, kind),
        np.zeros(4 * padded(wavenumbers) * block, kind),
        np.zeros(wavenumbers * left, kind),
        np.zeros(wavenumbers * left, kind),
        np.zeros(2 * wavenumbers * block, kind),
        np.zeros(2 * wavenumbers * block, kind),
        np.zeros(left, kind),
        np.zeros(left, kind),
        np.zeros(2 * block, kind),
        np.zeros(2 * block, kind),
    )
