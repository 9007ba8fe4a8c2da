from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from skimage.measure import label
from torch import Tensor

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.cluster import TwoPointCluster, cluster_labels, two_point_cluster
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError


def random_phases(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Two images of three phases."""
    labels = np.random.default_rng(seed).choice(3, (2, *shape), p=(0.5, 0.3, 0.2))
    return torch.from_numpy(np.stack([labels == p for p in range(3)], axis=1).astype(np.float32))


def flood_fill(mask: np.ndarray, connectivity: int, periodic: bool) -> np.ndarray:
    """Clusters by walking from voxel to voxel."""
    steps = [s for s in itertools.product((-1, 0, 1), repeat=mask.ndim) if 0 < sum(map(abs, s)) <= connectivity]
    labels = np.zeros(mask.shape, int)
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        labels[start] = labels.max() + 1
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for step in steps:
                there = tuple(a + b for a, b in zip(here, step, strict=True))
                if periodic:
                    there = tuple(a % n for a, n in zip(there, mask.shape, strict=True))
                elif not all(0 <= a < n for a, n in zip(there, mask.shape, strict=True)):
                    continue
                if mask[there] and not labels[there]:
                    labels[there] = labels[start]
                    waiting.append(there)
    return labels


def counted_pairs(labels: np.ndarray, axis: int, lag: int, periodic: bool) -> float:
    together = places = 0
    for place in np.ndindex(labels.shape):
        other = list(place)
        other[axis] += lag
        if periodic:
            other[axis] %= labels.shape[axis]
        elif other[axis] >= labels.shape[axis]:
            continue
        places += 1
        together += labels[place] > 0 and labels[place] == labels[tuple(other)]
    return together / places


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(7, 10), (4, 3, 5)])
def test_equals_flood_fill_and_pair_counting(shape: tuple[int, ...], periodic: bool) -> None:
    media = random_phases(shape)
    for connectivity, axis in itertools.product(range(1, len(shape) + 1), range(len(shape))):
        lag = shape[axis] - 1
        curves = two_point_cluster(media, lag, axis, connectivity=connectivity, periodic=periodic)
        assert curves.shape == (2, 3, lag + 1)
        for b, c in np.ndindex(2, 3):
            labels = flood_fill(media[b, c].numpy() > 0, connectivity, periodic)
            expected = [counted_pairs(labels, axis, r, periodic) for r in range(lag + 1)]
            np.testing.assert_allclose(curves[b, c], expected, atol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(13, 18), (1, 6), (2, 9), (7, 6, 8), (2, 1, 5)])
def test_labels_equal_flood_fill(shape: tuple[int, ...], periodic: bool) -> None:
    media = random_phases(shape, seed=1)
    for connectivity in range(1, len(shape) + 1):
        labels = cluster_labels(media, connectivity=connectivity, periodic=periodic)
        assert labels.dtype == torch.int64
        for b, c in np.ndindex(2, 3):
            expected = flood_fill(media[b, c].numpy() > 0, connectivity, periodic)
            found = labels[b, c].numpy()
            pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
            assert pairs.shape[1] == len(np.unique(found)) == len(np.unique(expected))
            assert found.max() == expected.max()
            np.testing.assert_array_equal(found > 0, expected > 0)


def test_labels_equal_scikit_image() -> None:
    mask = gaussian_level_cut((40, 60), (0.5, 0.5), 1.5, seed=0)
    np.testing.assert_array_equal(cluster_labels(torch.from_numpy(mask)[None, None])[0, 0], label(mask))


def test_diagonal_contact_across_the_corner() -> None:
    mask = torch.zeros(1, 1, 5, 6)
    mask[..., 0, 0] = mask[..., 4, 5] = 1
    assert cluster_labels(mask).max() == 2
    assert cluster_labels(mask, periodic=True).max() == 1
    assert cluster_labels(mask, connectivity=1, periodic=True).max() == 2


def test_separate_squares_in_closed_form() -> None:
    """Squares of edge 4, 8 apart: pairs inside one square only."""
    squares = torch.zeros(1, 1, 24, 32)
    for y, x in itertools.product(range(0, 24, 8), range(0, 32, 8)):
        squares[..., y : y + 4, x : x + 4] = 1
    for axis, periodic in itertools.product((0, 1), (True,)):
        c2 = two_point_cluster(squares, 10, axis, periodic=periodic)[0, 0]
        expected = [max(0, 4 - r) * 4 / 64 for r in range(11)]
        np.testing.assert_allclose(c2, expected, atol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_bounded_by_s2_and_equal_to_it_for_one_cluster(periodic: bool) -> None:
    media = random_phases((6, 9, 7), seed=2)
    for axis in range(3):
        s2 = two_point_correlation(media, 5, axis, periodic=periodic)
        c2 = two_point_cluster(media, 5, axis, periodic=periodic)
        assert (c2 <= s2 + 1e-12).all()
        torch.testing.assert_close(c2[..., 0], s2[..., 0])
        torch.testing.assert_close(c2[..., 0], media.double().mean(dim=(2, 3, 4)))
    comb = torch.zeros(1, 1, 9, 12)
    comb[..., ::2] = 1
    comb[..., 4, :] = 1
    s2 = two_point_correlation(comb, 8, 1, periodic=periodic)
    torch.testing.assert_close(two_point_cluster(comb, 8, 1, periodic=periodic), s2)


def test_permuting_axes_permutes_results() -> None:
    media = random_phases((5, 6, 7), seed=3)
    torch.testing.assert_close(two_point_cluster(media.permute(0, 1, 4, 2, 3), 4, 0), two_point_cluster(media, 4, 2))


def test_empty_phase() -> None:
    assert two_point_cluster(torch.zeros(1, 1, 4, 5), 3, 0, periodic=True).tolist() == [[[0.0] * 4]]


def test_module_equals_function() -> None:
    media = random_phases((6, 7))
    expected = two_point_cluster(media, 4, 1, connectivity=1, periodic=True)
    torch.testing.assert_close(TwoPointCluster(max_lag=4, axis=1, connectivity=1, periodic=True)(media), expected)


def test_bad_input() -> None:
    media = random_phases((6, 7))
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 5 for an axis of 6 voxels, got 6"):
        two_point_cluster(media, 6, 0)
    with pytest.raises(InputError, match=r"connectivity: expected 1 \(faces\) to 2 \(corners\) for 2D media, got 3"):
        two_point_cluster(media, 3, 0, connectivity=3)
