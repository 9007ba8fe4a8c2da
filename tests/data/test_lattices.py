from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from mcrgen.data.lattices import checkerboard, cuboidal_precipitates, stripes
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError


def as_batch(labels: np.ndarray, phase: int) -> Tensor:
    return torch.from_numpy((labels == phase).astype(np.float32))[None, None]


@pytest.mark.parametrize("shape", [(12, 18), (6, 12, 18)])
def test_checkerboard(shape: tuple[int, ...]) -> None:
    edge = 3
    labels = checkerboard(shape, edge)
    assert labels.dtype == np.uint8
    for place in np.ndindex(shape):
        assert labels[place] == sum(i // edge for i in place) % 2
    for axis, n in enumerate(shape):
        r = np.arange(n)
        expected = np.abs(1 - (r % (2 * edge)) / edge) / 2
        if n % (2 * edge) == 0:
            for phase in (0, 1):
                s2 = two_point_correlation(as_batch(labels, phase), n - 1, axis, periodic=True)[0, 0]
                np.testing.assert_allclose(s2, expected, atol=1e-7)


@pytest.mark.parametrize(("period", "width"), [(5, 2), (5, 4), (10, 3)])
def test_stripes(period: int, width: int) -> None:
    shape = (6, 20, 7)
    labels = stripes(shape, period, width, 1)
    assert labels.shape == shape
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[0, :period, 0], [1] * width + [0] * (period - width))
    d = np.arange(20) % period
    expected = (np.maximum(0, width - d) + np.maximum(0, width - period + d)) / period
    np.testing.assert_allclose(two_point_correlation(as_batch(labels, 1), 19, 1, periodic=True)[0, 0], expected, atol=1e-7)
    for axis in (0, 2):
        along = two_point_correlation(as_batch(labels, 1), 5, axis)[0, 0]
        np.testing.assert_allclose(along, np.full(6, width / period), atol=1e-7)


def periodic_cells(labels: np.ndarray, margin: int) -> tuple[np.ndarray, list[tuple[slice, ...]]]:
    """Names of the cells in a medium continued by a margin, and the boxes of those that begin in its period."""
    names, _ = ndimage.label(np.pad(labels, margin, mode="wrap"), np.ones([3] * labels.ndim))
    period = [range(margin, margin + n) for n in labels.shape]
    boxes = ndimage.find_objects(names)
    return names, [box for box in boxes if all(s.start in p for s, p in zip(box, period, strict=True))]


MEDIA = [((90, 75), 14, 2), ((16, 57), 14, 2), ((61, 40), 9, 3), ((31, 33), 3, 1), ((9, 12), 1, 2)]
MEDIA += [((40, 33, 47), 12, 2), ((15, 15, 15), 12, 3), ((24, 19, 21), 5, 1), ((9, 8, 7), 2, 2)]


@pytest.mark.parametrize(("shape", "edge", "channel"), MEDIA)
def test_cells_are_boxes_apart_that_cannot_grow(shape: tuple[int, ...], edge: int, channel: int) -> None:
    labels = cuboidal_precipitates(shape, edge, channel, 3)
    assert labels.shape == shape
    assert labels.dtype == np.uint8
    names, boxes = periodic_cells(labels, edge + 2 * channel + 2)
    # Whatever is within the channel of a cell, in the Chebyshev distance, belongs to it.
    nearest = ndimage.maximum_filter(names, 2 * channel + 1)
    np.testing.assert_array_equal(nearest[names > 0], names[names > 0])
    for box in boxes:
        assert (names[box] == names[tuple(s.start for s in box)]).all()
        assert max(s.stop - s.start for s in box) <= edge
    assert sum(math.prod(s.stop - s.start for s in box) for box in boxes) == labels.sum()
    for box, axis, (down, up) in itertools.product(boxes, range(len(shape)), [(1, 0), (0, 1)]):
        if box[axis].stop - box[axis].start < edge:
            reach = [slice(s.start - channel, s.stop + channel) for s in box]
            reach[axis] = slice(reach[axis].start - down, reach[axis].stop + up)
            assert len(np.setdiff1d(names[tuple(reach)], [0])) > 1


@pytest.mark.parametrize(("shape", "edge", "channel"), [((150, 140), 14, 2), ((64, 61, 67), 12, 2), ((60, 60, 60), 14, 2)])
def test_fraction_of_cells(shape: tuple[int, ...], edge: int, channel: int) -> None:
    """Cells and the channels behind them cannot overlap, which bounds the fraction; more than half is in cells."""
    fraction = cuboidal_precipitates(shape, edge, channel, 1).mean()
    assert 0.5 < fraction <= (edge / (edge + channel)) ** len(shape)
    if len(shape) == 2:
        assert fraction > 0.65


@pytest.mark.parametrize("shape", [(128, 120), (40, 30, 35)])
def test_cells_follow_the_seed(shape: tuple[int, ...]) -> None:
    labels = cuboidal_precipitates(shape, 12, 3, 0)
    np.testing.assert_array_equal(labels, cuboidal_precipitates(shape, 12, 3, 0))
    assert (labels != cuboidal_precipitates(shape, 12, 3, 1)).any()


def test_cells_of_various_edges() -> None:
    _, boxes = periodic_cells(cuboidal_precipitates((200, 210), 14, 2, 0), 16)
    edges = np.array([[s.stop - s.start for s in box] for box in boxes])
    assert len(np.unique(edges)) >= 5
    # Neither axis is preferred: the means agree within four standard errors.
    difference = edges[:, 0] - edges[:, 1]
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(edges))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"edge: expected a number greater than 0, got 0"):
        checkerboard((8, 8), 0)
    with pytest.raises(InputError, match=r"shape: expected two or three positive sizes, got \(8, 0\)"):
        checkerboard((8, 0), 2)
    with pytest.raises(InputError, match=r"axis: expected 0 to 1 for the shape \(8, 8\), got 2"):
        stripes((8, 8), 4, 2, 2)
    with pytest.raises(InputError, match=r"width: expected 1 to 3 voxels, less than the period, got 4"):
        stripes((8, 8), 4, 4, 0)
    with pytest.raises(InputError, match=r"shape: expected two or three positive sizes, got \(8,\)"):
        cuboidal_precipitates((8,), 12, 3, 0)
    with pytest.raises(InputError, match=r"edge: expected a number greater than 0, got 0"):
        cuboidal_precipitates((8, 8), 0, 3, 0)
    with pytest.raises(InputError, match=r"channel: expected a number greater than 0, got -1"):
        cuboidal_precipitates((8, 8), 12, -1, 0)
    with pytest.raises(
        InputError, match=r"shape: expected at least 15 voxels, edge and channel, along each axis, got \(40, 14\)"
    ):
        cuboidal_precipitates((40, 14), 12, 3, 0)
