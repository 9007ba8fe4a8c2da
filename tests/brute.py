"""Counting by loops, for tiny media."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray


def indicators_of(labels: NDArray[np.integer], count: int) -> NDArray[np.float32]:
    """``(1, count, *spatial)``."""
    return np.stack([labels == i for i in range(count)]).astype(np.float32)[None]


def probability(field: NDArray[np.floating], configuration: list[tuple[int, ...]], *, periodic: bool) -> float:
    """Mean over all positions of the product of the field at the vertices."""
    total, number = 0.0, 0
    for position in itertools.product(*map(range, field.shape)):
        vertices = [tuple(p + v for p, v in zip(position, vertex, strict=True)) for vertex in configuration]
        if periodic:
            vertices = [tuple(v % n for v, n in zip(vertex, field.shape, strict=True)) for vertex in vertices]
        elif any(not 0 <= v < n for vertex in vertices for v, n in zip(vertex, field.shape, strict=True)):
            continue
        total += float(np.prod([field[vertex] for vertex in vertices]))
        number += 1
    return total / number


def segment(axis: int, dimension: int, length: int) -> list[tuple[int, ...]]:
    """All voxels of a segment along an axis."""
    return [tuple(k if i == axis else 0 for i in range(dimension)) for k in range(length + 1)]


def chords(field: NDArray[np.floating], axis: int) -> list[int]:
    """Lengths of the complete runs of ones along an axis."""
    found = []
    for line in np.moveaxis(field, axis, -1).reshape(-1, field.shape[axis]):
        runs = [(key, len(list(group))) for key, group in itertools.groupby(line)]
        found += [length for key, length in runs[1:-1] if key == 1]
    return found
