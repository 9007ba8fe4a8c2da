"""Random rotations and reflections of label crops."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray

from mcrgen.data.symmetry import ELEMENTS, Symmetry, turn

_ORDERS = tuple(permutations(range(3)))

CUBE_ELEMENTS: dict[Symmetry, tuple[int, ...]] = {
    Symmetry.square: tuple(range(48)),
    Symmetry.rectangle: tuple(range(8)),
    Symmetry.none: (0,),
}
"""Elements of the groups of the cube: 8 k + f orders the axes in the k-th way, then reflects z, y, x by bits 2, 1, 0 of f."""


def random_elements(symmetry: Symmetry, dimensions: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Elements of a group, each as probable as the others."""
    group = np.array((ELEMENTS if dimensions == 2 else CUBE_ELEMENTS)[symmetry])
    return group[rng.integers(len(group), size=count)]


def turn_each(crops: NDArray[np.uint8], elements: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Turn every crop ``(N, S, S)`` or ``(N, S, S, S)`` by its own element ``(N,)``."""
    turned = np.empty_like(crops)
    for element in np.unique(elements):
        mine = elements == element
        if crops.ndim == 3:
            turned[mine] = turn(torch.from_numpy(crops[mine]), int(element)).numpy()
        else:
            turned[mine] = _turn_cube(crops[mine], int(element))
    return turned


def _turn_cube(cubes: NDArray[np.uint8], element: int) -> NDArray[np.uint8]:
    order, flips = divmod(element, 8)
    moved = cubes.transpose(0, *(1 + axis for axis in _ORDERS[order]))
    return np.flip(moved, tuple(axis for axis in (1, 2, 3) if flips >> (3 - axis) & 1))
