"""Several generators in one volume: a region map says which of them makes a voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.generation.blocks import Block, BlockScores, Triple
from mcrgen.generation.calibration import classify
from mcrgen.generation.labels import BlockLabels
from mcrgen.generation.separable import box_taps, enlarged, filtered

RegionMap = Callable[[Triple, Triple], NDArray[np.uint8]]
"""Given the origin and the shape of a box of voxels, wherever it lies: the index of each voxel's region, ``(D, H, W)``."""


@dataclass(frozen=True)
class UniformRegion:
    """A region of one label."""

    label: int


@dataclass(frozen=True)
class GeneratedRegion:
    """A region that a generator fills.

    Attributes:
        scores: gives the generator's scores ``(C, *block.shape)`` of a block.
        bias: one value per channel (see :func:`~mcrgen.generation.calibration.classify`).
        phase: label of the generator's phase of interest.
        labels: for each of the generator's labels, in ascending order, the label in the volume.
        scale: standard deviation of the scores, the unit in which a transition mixes them with others.
    """

    scores: BlockScores
    bias: tuple[float, ...]
    phase: int
    labels: tuple[int, ...]
    scale: float


Region = UniformRegion | GeneratedRegion
_Group = dict[int, GeneratedRegion]


def regions_labels(regions: Sequence[Region], region_of: RegionMap, *, transition: float) -> BlockLabels:
    """Labels of a volume whose regions come from generators of their own.

    The local-global case of the SWNN paper (Ma, Teng, Yan et al., section 4, three-phase titanium alloy): the global feature is
    a mask, the local features are those of trained models. A generator is run on the bounding box of its voxels in a block.

    Across a boundary between generators with equal ``labels``, ``transition`` voxels wide, the scores plus bias, each in units
    of its standard deviation, are averaged with weights that change linearly from the one to the other: the regions'
    indicators behind a moving average along each axis. All other boundaries are sharp. The transition is an addition to the
    paper. As the mean of independent scores varies less than each of them, a rare phase becomes rarer within it.

    Args:
        regions: what fills region 0, 1, ...
        region_of: the region map; with a transition it is asked beyond the block, by half of the transition.
        transition: width of the transitions in voxels; 1 or less for sharp boundaries.
    """
    taps = box_taps(transition)
    radius = len(taps) // 2
    groups = _groups(regions)
    uniform = np.array([r.label if isinstance(r, UniformRegion) else 0 for r in regions], np.uint8)

    def labels(block: Block) -> NDArray[np.uint8]:
        wide = enlarged(block, radius)
        around = region_of(wide.start, wide.shape)
        d, h, w = block.shape
        core = around[radius : radius + d, radius : radius + h, radius : radius + w]
        out: NDArray[np.uint8] = uniform[core]
        for group in groups:
            inside = np.isin(core, list(group))
            if inside.any():
                out[inside] = _blended(group, around, inside, taps, block)[inside]
        return out

    return labels


def _groups(regions: Sequence[Region]) -> list[_Group]:
    """Generators whose scores mean the same, with their indices."""
    groups: dict[tuple[tuple[int, ...], int], _Group] = {}
    for index, region in enumerate(regions):
        if isinstance(region, GeneratedRegion):
            groups.setdefault((region.labels, len(region.bias)), {})[index] = region
    return list(groups.values())


def _blended(
    group: _Group, around: NDArray[np.uint8], inside: NDArray[np.bool_], taps: Sequence[float], block: Block
) -> NDArray[np.uint8]:
    """Labels of a block from the weighted mean of a group's scores; they mean nothing but ``inside``."""
    first = next(iter(group.values()))
    total = torch.zeros((len(first.bias), *block.shape))
    for index, region in group.items():
        weight = filtered(torch.from_numpy(around == index).float(), taps) * torch.from_numpy(inside)
        box = _bounding_box(weight.numpy() > 0)
        if box is not None:
            scores = _standardised(region, box.moved(block.start), first.phase)
            total[(slice(None), *box.slices)] += scores.mul_(weight[box.slices])
    classes = classify(total, (0.0,) * len(total), first.phase).numpy()
    found: NDArray[np.uint8] = np.array(first.labels, np.uint8)[classes]
    return found


def _standardised(region: GeneratedRegion, block: Block, phase: int) -> Tensor:
    """Scores plus bias in units of their standard deviation; a single channel is positive in ``phase``."""
    bias = torch.tensor(region.bias, dtype=torch.float32)
    sign = -1.0 if len(bias) == 1 and region.phase != phase else 1.0
    return (region.scores(block).float().cpu() + bias[:, None, None, None]).mul_(sign / region.scale)


def _bounding_box(inside: NDArray[np.bool_]) -> Block | None:
    """Smallest box that holds all voxels that are true, counted from the array's first one."""
    spans = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not spans[0].size:
        return None
    z, y, x = ((int(span[0]), int(span[-1]) + 1) for span in spans)
    return Block((z[0], y[0], x[0]), (z[1], y[1], x[1]))
