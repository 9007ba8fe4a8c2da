"""Where annealing starts: voxels at random, exactly as many of each phase as asked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError, require_seed


def random_medium(shape: tuple[int, ...], fractions: tuple[float, ...], seed: int) -> NDArray[np.uint8]:
    """Uncorrelated labels with phase fractions that are exact to one voxel (largest remainders).

    Args:
        shape: 2D or 3D size in voxels.
        fractions: one for each phase, summing to one.
        seed: seed of the order of the voxels.

    Returns:
        Labels 0..n-1 of the given shape.

    Raises:
        InputError: fractions that are negative or do not sum to one; a negative seed.
    """
    require_seed(seed)
    if min(fractions, default=-1.0) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise InputError(f"fractions: expected numbers of 0 or more that sum to 1, got {fractions}.")
    voxels = math.prod(shape)
    wanted = np.array(fractions) * voxels
    numbers = np.floor(wanted).astype(np.int64)
    missing = voxels - int(numbers.sum())
    numbers[np.argsort(numbers - wanted, kind="stable")[:missing]] += 1
    labels = np.repeat(np.arange(len(fractions), dtype=np.uint8), numbers)
    return np.random.default_rng(seed).permutation(labels).reshape(shape)
