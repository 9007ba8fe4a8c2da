"""Random numbers of the compiled kernels, from a state that can be stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrgen.reconstruction._compiled import compiled


@compiled
def draw(rng: NDArray[np.uint64]) -> np.uint64:
    """64 random bits: xoshiro256++ (Blackman and Vigna, ACM Trans. Math. Softw. 47 (2021) 36)."""
    total = rng[0] + rng[3]
    bits: np.uint64 = ((total << np.uint64(23)) | (total >> np.uint64(41))) + rng[0]
    shifted = rng[1] << np.uint64(17)
    rng[2] ^= rng[0]
    rng[3] ^= rng[1]
    rng[1] ^= rng[2]
    rng[0] ^= rng[3]
    rng[2] ^= shifted
    rng[3] = (rng[3] << np.uint64(45)) | (rng[3] >> np.uint64(19))
    return bits


@compiled
def uniform(rng: NDArray[np.uint64]) -> float:
    """A number in (0, 1), both ends left out."""
    return (np.float64(draw(rng) >> np.uint64(12)) + 0.5) * 2.0**-52


@compiled
def below(rng: NDArray[np.uint64], n: int) -> np.int64:
    """An integer from 0 to n - 1, n below 2^31; the bias is below n / 2^32."""
    return np.int64(((draw(rng) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
