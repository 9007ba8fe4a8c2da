from __future__ import annotations

import itertools

import numpy as np
import pytest

from mcrgen.io.pyramid import halved, level_shapes


def brute_force(labels: np.ndarray) -> np.ndarray:
    shape = [-(-length // 2) for length in labels.shape]
    modes = np.empty(shape, np.uint8)
    for cell in itertools.product(*map(range, shape)):
        z, y, x = (slice(2 * i, 2 * i + 2) for i in cell)
        found = labels[z, y, x].ravel().tolist()
        modes[cell] = min(set(found), key=lambda label: (-found.count(label), label != found[0], label))
    return modes


@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 6, 8), (5, 7, 9), (1, 1, 1), (1, 4, 5), (3, 1, 2)])
@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2), (3, 200, 255), (5,)])
def test_the_mode_of_each_cell(shape: tuple[int, int, int], values: tuple[int, ...]) -> None:
    labels = np.random.default_rng(sum(shape)).choice(np.array(values, np.uint8), shape)
    before = labels.copy()
    modes = halved(labels)
    assert modes.dtype == np.uint8
    np.testing.assert_array_equal(modes, brute_force(labels))
    np.testing.assert_array_equal(labels, before)


def test_ties_go_to_the_first_voxel_or_the_lowest_label() -> None:
    assert halved(np.array([[[2, 1], [1, 2]]], np.uint8)).item() == 2
    assert halved(np.array([[[9, 8], [7, 6]], [[9, 8], [7, 6]]], np.uint8)).item() == 9
    assert halved(np.array([[[9, 8], [7, 6]], [[7, 8], [7, 8]]], np.uint8)).item() == 7


def test_no_phase_gains_by_ties() -> None:
    checkerboard = np.indices((16, 16, 16)).sum(0).astype(np.uint8) % 2
    stripes = np.broadcast_to(np.arange(16, dtype=np.uint8) % 2, (16, 16, 16))
    for tied in (checkerboard, stripes):
        fractions = halved(tied).mean(), halved(np.ascontiguousarray(1 - tied)).mean()
        assert sum(fractions) == 1
    random = np.random.default_rng(0).integers(0, 2, (64, 64, 64)).astype(np.uint8)
    assert halved(random).mean() == pytest.approx(0.5, abs=4 * 0.5 / 32**1.5)


def test_permuting_the_axes_permutes_the_result() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (5, 8, 11)).astype(np.uint8)
    for axes in itertools.permutations(range(3)):
        np.testing.assert_array_equal(halved(labels.transpose(axes)), halved(labels).transpose(axes))


def test_levels_end_when_the_longest_edge_is_short_enough() -> None:
    assert level_shapes((3, 64, 5), 64) == [(3, 64, 5)]
    assert level_shapes((3, 65, 129), 64) == [(3, 65, 129), (2, 33, 65), (1, 17, 33)]
    assert [max(shape) for shape in level_shapes((1024, 1024, 1024), 64)] == [1024, 512, 256, 128, 64]
