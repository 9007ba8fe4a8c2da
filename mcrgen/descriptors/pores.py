"""Pores of a section: areas, orientations and shapes of the connected components of a phase, and their distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.descriptors.cluster import cluster_labels
from mcrgen.descriptors.module import Descriptor
from mcrgen.errors import InputError

_ORIENTATION_BINS = 18


@dataclass(frozen=True)
class PoreTable:
    """One entry per pore, ordered by image and channel; every field is an array of the same length.

    Attributes:
        image: place in the batch.
        channel: channel, that is phase.
        area: pixel^2.
        equivalent_diameter: diameter of the circle of the same area, in pixels.
        orientation: angle of the major axis to the x axis (along a row) in degrees, in [0, 180), counter-clockwise as the
            image is seen with its first row on top. Meaningless for a pore that is as broad as long.
        aspect_ratio: major over minor axis of the ellipse of the same second moments, 1 or more.
        touches_border: the pore reaches the edge of the image, which probably cuts it.
    """

    image: NDArray[np.int64]
    channel: NDArray[np.int64]
    area: NDArray[np.float64]
    equivalent_diameter: NDArray[np.float64]
    orientation: NDArray[np.float64]
    aspect_ratio: NDArray[np.float64]
    touches_border: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> PoreTable:
        """The pores for which ``chosen`` is true."""
        return PoreTable(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True)
class PoreDistributions:
    """Histogram densities of pore areas and orientations; each integrates to 1, or is 0 throughout where no pore qualifies.

    Attributes:
        area_edges: ``(n + 1,)`` bin edges in pixel^2.
        area_density: ``(n,)`` share of the pores per pixel^2, by number.
        orientation_edges: ``(m + 1,)`` bin edges in degrees, from 0 to 180.
        orientation_density: ``(m,)`` share of the area of the elongated pores per degree.
        pores: number of pores behind the area density.
        elongated: number of pores behind the orientation density.
    """

    area_edges: NDArray[np.float64]
    area_density: NDArray[np.float64]
    orientation_edges: NDArray[np.float64]
    orientation_density: NDArray[np.float64]
    pores: int
    elongated: int


def pore_table(indicator: Tensor, *, connectivity: int | None = None) -> PoreTable:
    """Measure the connected components of each phase of a batch of slices (`skimage.measure.regionprops_table`).

    Args:
        indicator: ``(B, C, H, W)``; values above 0.5 belong to the phase.
        connectivity: 2 connects pixels that share a corner (the default), 1 only those that share an edge.

    Returns:
        One entry per pore, in NumPy arrays: a table has no gradient.

    Raises:
        InputError: the indicator is not a batch of slices, or there is no such connectivity.
    """
    if indicator.ndim != 4:
        raise InputError(
            f"indicator: expected slices (B, C, H, W), got the shape {tuple(indicator.shape)}; take sections of it."
        )
    labels = cluster_labels(indicator, connectivity=connectivity).cpu().numpy()
    tables = [_measure(labels[image], *image) for image in np.ndindex(labels.shape[:2])]
    return PoreTable(**{f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(PoreTable)})


def pore_distributions(
    table: PoreTable, *, area_edges: Sequence[float] | None = None, min_aspect_ratio: float = 1.5, cut: bool = False
) -> PoreDistributions:
    """Distributions of pore area (by number) and orientation (weighted by area) over all the pores of a table.

    Pores that touch the border of their image are left out, because their true area and shape are unknown. Large pores touch it
    more often than small ones, so the area distribution leans to small pores unless the image is much larger than its pores.

    Args:
        table: pores of any number of images; choose a phase by ``table.where(table.channel == c)``.
        area_edges: increasing bin edges in pixel^2; by default one bin per doubling of the area, [1, 2), [2, 4) ..., up to the
            largest pore counted. Pores outside the edges are not counted.
        min_aspect_ratio: pores less elongated than this have no orientation to speak of and are left out of its distribution.
        cut: count the pores that touch the border as well.

    Returns:
        Densities with their bins: orientation has 18 bins of 10 degrees.

    Raises:
        InputError: ``area_edges`` are fewer than two or do not increase.
    """
    if area_edges is not None and (len(area_edges) < 2 or not np.all(np.diff(area_edges) > 0)):
        raise InputError(f"area_edges: expected two or more increasing edges in pixel^2, got {list(area_edges)}.")
    pores = table if cut else table.where(~table.touches_border)
    areas = _octaves(pores.area) if area_edges is None else np.array(area_edges, np.float64)
    angles = np.linspace(0.0, 180.0, _ORIENTATION_BINS + 1)
    counted = pores.where((pores.area >= areas[0]) & (pores.area <= areas[-1]))
    long = counted.where(counted.aspect_ratio >= min_aspect_ratio)
    return PoreDistributions(
        area_edges=areas,
        area_density=_density(counted.area, np.ones_like(counted.area), areas),
        orientation_edges=angles,
        orientation_density=_density(long.orientation, long.area, angles),
        pores=len(counted.area),
        elongated=len(long.area),
    )


class Pores(Descriptor):
    """:func:`pore_table` with its settings."""

    function = staticmethod(pore_table)


def _measure(labels: NDArray[np.int64], image: int, channel: int) -> PoreTable:
    """The pores of one labelled image."""
    from skimage.measure import regionprops_table

    names = ("area", "equivalent_diameter_area", "orientation", "axis_major_length", "axis_minor_length", "bbox")
    found = regionprops_table(labels, properties=names)
    height, width = labels.shape
    # The library's moments are those of pixel centres; a pixel is a unit square and adds 16/12 to the squared axes. Without
    # it a row of pixels has no breadth.
    major, minor = (np.square(found[f"axis_{name}_length"]) + 4 / 3 for name in ("major", "minor"))
    # The library measures from the rows' direction, which points down.
    degrees = (np.degrees(found["orientation"]) + 90.0) % 180.0
    return PoreTable(
        image=np.full(len(degrees), image, np.int64),
        channel=np.full(len(degrees), channel, np.int64),
        area=found["area"].astype(np.float64),
        equivalent_diameter=found["equivalent_diameter_area"].astype(np.float64),
        orientation=degrees,
        aspect_ratio=np.sqrt(major / minor),
        touches_border=(found["bbox-0"] == 0)
        | (found["bbox-1"] == 0)
        | (found["bbox-2"] == height)
        | (found["bbox-3"] == width),
    )


def _octaves(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Powers of two from 1 to beyond the largest area."""
    largest = areas.max(initial=1.0)
    return np.exp2(np.arange(math.floor(math.log2(largest)) + 2))


def _density(values: NDArray[np.float64], weights: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted histogram that integrates to one."""
    sums: NDArray[np.float64] = np.histogram(values, edges, weights=weights)[0]
    return sums / (np.diff(edges) * (weights.sum() or 1.0))
