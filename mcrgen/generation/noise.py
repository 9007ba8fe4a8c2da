"""Gaussian noise as a function of the voxel coordinate.

Every value depends on ``(seed, channel, z, y, x)`` alone: blocks can be made in any order, size and process and agree bit
for bit where they overlap. A counter-based hash (the splitmix64 finaliser of Steele, Lea and Flood, OOPSLA 2014) feeds the
Box-Muller transform. Equal seeds give equal noise on one machine; another CPU or NumPy release may differ in the last bit of
the logarithm and the cosine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Triple

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF
_AXIS_KEYS = (0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7, 0xABC98388FB8FAC03)
_UNIT = np.float32(2.0**-24)

Period = tuple[int | None, int | None, int | None]
APERIODIC: Period = (None, None, None)

ScalarField = Callable[[Triple, Triple], NDArray[np.float32]]
"""Given the origin and the shape of a box of voxels, wherever it lies: one value for each of them, ``(D, H, W)`` float32."""


@dataclass(frozen=True)
class Noise:
    """What a generator is fed: Gaussian noise, modulated in space where the medium is heterogeneous.

    Every voxel gets ``mask * (mean + deviation * n)`` with n standard normal (the SWNN paper's section 3.3 and figure 12).

    Attributes:
        seed: any integer; different seeds give independent fields.
        period: lengths in voxels after which the noise repeats along z, y and x; None for never.
        mask: multiplies everything; None for 1.
        mean: of the noise; None for 0.
        deviation: its standard deviation; None for 1.
    """

    seed: int
    period: Period = APERIODIC
    mask: ScalarField | None = None
    mean: ScalarField | None = None
    deviation: ScalarField | None = None

    def __call__(self, origin: Triple, shape: Triple, channels: int, *, threads: int = 1) -> NDArray[np.float32]:
        """The values of a box, ``(D, H, W, channels)``."""
        values = gaussian_noise(self.seed, origin, shape, channels, period=self.period, threads=threads)
        if self.deviation is not None:
            values *= self.deviation(origin, shape)[..., None]
        if self.mean is not None:
            values += self.mean(origin, shape)[..., None]
        if self.mask is not None:
            values *= self.mask(origin, shape)[..., None]
        return values


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finalise splitmix64 in place: a bijection of 64-bit words whose output bits look independent."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _mix_word(*words: int) -> int:
    """Hash several integers (any sign, any size) into one 64-bit word."""
    state = _GOLDEN
    for word in words:
        mixed = _mix(np.array([(state + (word & _MASK) * _GOLDEN + 1) & _MASK], dtype=np.uint64))
        state = int(mixed[0])
    return state


def _coordinates(start: int, length: int, period: int | None) -> NDArray[np.int64]:
    """Consecutive coordinates, wrapped where there is a period."""
    coordinates = np.arange(start, start + length, dtype=np.int64)
    return coordinates if period is None else coordinates % period


def gaussian_noise(
    seed: int, origin: Triple, shape: Triple, channels: int, *, period: Period = APERIODIC, threads: int = 1
) -> NDArray[np.float32]:
    """Standard normal noise on a box of the unlimited voxel grid.

    Args:
        seed: any integer; different seeds give independent fields.
        origin: coordinate (z, y, x) of the box's first voxel, in voxels; may be negative.
        shape: size (D, H, W) of the box in voxels.
        channels: independent values per voxel.
        period: lengths in voxels after which the noise repeats along z, y and x; None for never.
        threads: how many share the planes.

    Returns:
        ``(D, H, W, channels)`` float32, bounded by 5.9 in magnitude (24-bit uniforms).
    """
    depth, height, width = shape
    out = np.empty((depth, height, width, channels), dtype=np.float32)
    planes = _coordinates(origin[0], depth, period[0])
    rows = _coordinates(origin[1], height, period[1]).astype(np.uint64) * np.uint64(_AXIS_KEYS[1])
    columns = _coordinates(origin[2], width, period[2]).astype(np.uint64) * np.uint64(_AXIS_KEYS[2])

    def fill(z: int) -> None:
        for first in range(0, channels, 2):
            plane_key = np.uint64(_mix_word(seed, first // 2, int(planes[z])))
            _normal_pair(_mix(_mix(rows + plane_key)[:, None] + columns), out[z, :, :, first : first + 2])

    if threads == 1:
        for z in range(depth):
            fill(z)
    else:
        with ThreadPoolExecutor(threads) as pool:
            deque(pool.map(fill, range(depth)), maxlen=0)
    return out


def _normal_pair(bits: NDArray[np.uint64], out: NDArray[np.float32]) -> None:
    """Box-Muller: from each random word two independent normal values, or the first of them, along the last axis of ``out``."""
    radius = (bits >> np.uint64(40)).astype(np.float32)
    radius += np.float32(0.5)
    radius *= _UNIT
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = (bits & np.uint64(0xFFFFFF)).astype(np.float32)
    angle *= np.float32(2.0 * np.pi) * _UNIT
    for channel, function in zip(range(out.shape[-1]), (np.cos, np.sin), strict=False):
        np.multiply(radius, function(angle), out=out[..., channel])
