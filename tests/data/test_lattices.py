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


@pytest.mark.parametrize(("edge", "channel"), [(5, 2), (12, 3)])
@pytest.mark.parametrize("dims", [2, 3])
def test_regular_cells(edge: int, channel: int, dims: int) -> None:
    """Whole periods hold as many voxels as one rounded box, wherever the lattice begins."""
    period = edge + channel
    offsets = np.stack(np.meshgrid(*[np.arange(edge) - (edge - 1) / 2] * dims))
    for rounding in (0.0, 1.0, 2.0, edge / 2):
        beyond = offsets - np.clip(offsets, rounding - edge / 2, edge / 2 - rounding)
        box = int((np.linalg.norm(beyond, axis=0) <= rounding).sum())
        if rounding in (0.0, 2.0):
            assert rounding != 0 or box == edge**dims
            assert rounding != 2 or dims != 2 or box == edge**2 - 4
        for seed in range(3):
            labels = cuboidal_precipitates(
                (2 * period, period, 3 * period)[:dims], edge, channel, seed, jitter=0, rounding=rounding
            )
            assert labels.dtype == np.uint8
            assert labels.sum() == box * math.prod((2, 1, 3)[:dims])
            for axis in range(dims):
                if labels.shape[axis] > period:
                    np.testing.assert_array_equal(np.roll(labels, period, axis), labels)


@pytest.mark.parametrize(("shape", "edge", "jitter"), [((900, 850), 12, 1), ((90, 75, 81), 8, 1), ((75, 60), 12, 0)])
def test_cells_are_boxes_that_do_not_touch(shape: tuple[int, ...], edge: int, jitter: int) -> None:
    """Below half a channel of jitter; their edges have the mean and the scatter of the whole numbers they are sums of."""
    channel = 3
    labels = cuboidal_precipitates(shape, edge, channel, 3, jitter=jitter, rounding=0.0)
    names, _ = ndimage.label(labels, np.ones([3] * len(shape)))
    sizes = []
    for i, box in enumerate(ndimage.find_objects(names), 1):
        assert (names[box] == i).all()
        if all(s.start > 0 and s.stop < n for s, n in zip(box, shape, strict=True)):
            sizes.append([s.stop - s.start for s in box])
            for axis, (s, n) in enumerate(zip(box, shape, strict=True)):
                line = names[tuple(slice(None) if a == axis else (b.start + b.stop) // 2 for a, b in enumerate(box))]
                if s.stop + channel < n:
                    assert (line[s.stop : s.stop + channel] == 0).all()
                    assert line[s.stop + channel] not in (0, i)
    lengths = np.array(sizes)
    assert len(lengths) >= 3 ** len(shape)
    assert abs(lengths - edge).max() <= 3 * jitter
    # What is common to all cells between two planes is drawn once for each plane, and scatters the most.
    planes = np.array(shape) / (edge + channel)
    assert (np.abs(lengths.mean(axis=0) - edge) <= 4 * np.sqrt(jitter * (jitter + 1) / 3 / planes)).all()
    np.testing.assert_allclose(lengths.std(axis=0), math.sqrt(jitter * (jitter + 1)), atol=0.3)


@pytest.mark.parametrize(("shape", "jitter", "seeds"), [((150, 190), 1, 60), ((150, 190), 2, 60), ((60, 50, 70), 1, 30)])
def test_fraction_of_cells(shape: tuple[int, ...], jitter: int, seeds: int) -> None:
    found = [cuboidal_precipitates(shape, 12, 3, s, jitter=jitter, rounding=0.0).mean() for s in range(seeds)]
    error = np.std(found) / math.sqrt(seeds)
    assert error < 0.01
    assert abs(np.mean(found) - (12 / 15) ** len(shape)) < 4 * error


def test_default_medium_is_that_of_a_superalloy() -> None:
    labels = cuboidal_precipitates((128, 120), 12, 3, 0)
    assert 0.55 < labels.mean() < 0.68
    np.testing.assert_array_equal(labels, cuboidal_precipitates((128, 120), 12, 3, 0))
    assert (labels != cuboidal_precipitates((128, 120), 12, 3, 1)).any()


def test_cells_fill_the_window_to_its_end() -> None:
    """No window is left half empty by the farthest jitter: every stretch of a period and a half meets cells."""
    for shape, seed in itertools.product([(7, 200), (200, 7), (11, 13, 90)], range(5)):
        labels = cuboidal_precipitates(shape, 7, 2, seed, jitter=2, rounding=0.0)
        for axis, n in enumerate(shape):
            others = tuple(a for a in range(len(shape)) if a != axis)
            filled = labels.any(axis=others)
            if n >= 90:
                assert all(filled[i : i + 14].any() for i in range(n - 13))


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
    for jitter in (-1, 4):
        with pytest.raises(InputError, match=r"jitter: expected 0 or more and less than a third of the edge of 12 voxels"):
            cuboidal_precipitates((8, 8), 12, 3, 0, jitter=jitter)
    for rounding in (-1.0, 5.0):
        with pytest.raises(InputError, match=r"rounding: expected 0 to 4.5 voxels, half of the smallest edge of a cell"):
            cuboidal_precipitates((8, 8), 12, 3, 0, rounding=rounding)
