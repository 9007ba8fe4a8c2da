"""Local phase fractions of a finished medium, as means over cubic cells, and what was asked for there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, Triple
from mcrgen.generation.noise import ScalarField

CELL_EDGE = 16
"""Edge length of a cell in voxels; 4096 of them make a mean."""

Voxels = Callable[[Block], NDArray[np.bool_]]
"""Which voxels of a block are of a kind, ``block.shape``."""

_BOX_VOXELS = 1 << 22
_SHORTEST_CELLS = 4


@dataclass(frozen=True)
class CellLayer:
    """Sums over the cells that lie side by side in a layer normal to z; each is ``(H', W')``.

    Attributes:
        voxels: how many voxels of each cell count.
        achieved: how many of these are of the phase of interest.
        requested: sum of the fraction that was asked for in these.
    """

    voxels: NDArray[np.int64]
    achieved: NDArray[np.int64]
    requested: NDArray[np.float64]

    @property
    def fractions(self) -> NDArray[np.float32]:
        """Fraction of the phase of interest in each cell; NaN where no voxel counts."""
        return _quotient(self.achieved, self.voxels).astype(np.float32)


@dataclass(frozen=True)
class Profile:
    """Mean fractions over slabs of cells along the axis that they are normal to; slabs where no voxel counts are left out.

    Attributes:
        position: of the centre of each slab, in voxels; whole numbers are the centres of voxels, the first of which is at 0.
        requested: mean of what was asked for.
        achieved: fraction of the phase of interest.
    """

    position: NDArray[np.float64]
    requested: NDArray[np.float64]
    achieved: NDArray[np.float64]

    @property
    def difference(self) -> NDArray[np.float64]:
        """Achieved minus requested."""
        return self.achieved - self.requested


class Profiles:
    """Adds up the layers of a volume along z, y and x."""

    def __init__(self, shape: Triple, edge: int) -> None:
        """No layer is added yet.

        Args:
            shape: (D, H, W) of the volume in voxels.
            edge: of the cells.
        """
        self._centres = [np.array([(start + min(start + edge, n) - 1) / 2 for start in range(0, n, edge)]) for n in shape]
        self._sums = [np.zeros((3, len(centres))) for centres in self._centres]
        self._layers = 0

    def add(self, layer: CellLayer) -> None:
        """The next layer, from z = 0 on."""
        sums = np.stack([layer.voxels, layer.achieved, layer.requested])
        self._sums[0][:, self._layers] = sums.sum(axis=(1, 2))
        self._sums[1] += sums.sum(axis=2)
        self._sums[2] += sums.sum(axis=1)
        self._layers += 1

    def along_axes(self) -> dict[str, Profile]:
        """The profile along each axis, of the layers so far."""
        found = {}
        for axis, centres, (voxels, achieved, requested) in zip("zyx", self._centres, self._sums, strict=True):
            there = voxels > 0
            means = (_quotient(total, voxels)[there] for total in (requested, achieved))
            found[axis] = Profile(centres[there], *means)
        return found


def cell_edge(shape: Triple) -> int:
    """Edge length of the cells of a volume: :data:`CELL_EDGE` voxels, or at most a quarter of its shortest edge."""
    return max(1, min(CELL_EDGE, min(shape) // _SHORTEST_CELLS))


def cell_layers(
    phase: Voxels, requested: ScalarField, inside: Voxels | None, shape: Triple, edge: int, *, box_voxels: int = _BOX_VOXELS
) -> Iterator[CellLayer]:
    """Sums over the cells of a volume, layer by layer along z.

    The cells begin at the first voxel; the last ones along an axis have the voxels that are left. Each is added up on its own,
    so the sums do not depend on ``box_voxels``.

    Args:
        phase: where the phase of interest is.
        requested: its fraction that was asked for, in the coordinates of the blocks.
        inside: which voxels count; None for all.
        shape: (D, H, W) of the volume in voxels.
        edge: of the cells.
        box_voxels: about how many voxels are looked at at a time; at least a row of cells along x.
    """
    depth, height, width = shape
    rows = edge * max(1, box_voxels // (edge * edge * width))
    for z in range(0, depth, edge):
        starts = [((z, y, 0), (min(z + edge, depth), min(y + rows, height), width)) for y in range(0, height, rows)]
        parts = [_summed(Block(*corners), phase, requested, inside, edge) for corners in starts]
        voxels, achieved, wanted = (np.concatenate(sums) for sums in zip(*parts, strict=True))
        yield CellLayer(voxels, achieved, wanted)


def _summed(
    block: Block, phase: Voxels, requested: ScalarField, inside: Voxels | None, edge: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each cell of a block that is one cell deep: voxels that count, those of the phase, sum of the fraction asked for."""
    there, wanted = phase(block), requested(block.start, block.shape)
    counted = np.ones(block.shape, np.bool_)
    if inside is not None:
        counted = inside(block)
        there, wanted = there & counted, wanted * counted
    return _in_cells(counted.sum(0), edge), _in_cells(there.sum(0), edge), _in_cells(wanted.sum(0, np.float64), edge)


def _in_cells(values: NDArray[Any], edge: int) -> NDArray[Any]:
    """Sums over squares of that edge length."""
    height, width = values.shape
    sums: NDArray[Any] = np.add.reduceat(np.add.reduceat(values, range(0, height, edge), axis=0), range(0, width, edge), axis=1)
    return sums


def _quotient(total: NDArray[Any], number: NDArray[Any]) -> NDArray[np.float64]:
    """A mean; NaN of nothing."""
    mean: NDArray[np.float64] = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean
