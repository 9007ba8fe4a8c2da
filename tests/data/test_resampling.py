from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from mcrgen.data.resampling import resize_labels


def area_shares(crop: np.ndarray, size: int, phase: int) -> np.ndarray:
    """Means over boxes after every voxel is cut into ``size`` parts along each axis, so that all boxes hold whole parts."""
    fine = crop == phase
    for axis in range(crop.ndim):
        fine = np.repeat(fine, size, axis)
    window = crop.shape[0]
    blocks = fine.reshape([n for _ in range(crop.ndim) for n in (size, window)])
    return blocks.mean(axis=tuple(range(1, 2 * crop.ndim, 2)))


def assert_largest(found: np.ndarray, shares: np.ndarray) -> None:
    """Each label has a largest share, up to rounding."""
    own = np.take_along_axis(shares, found[None].astype(int), 0)[0]
    assert (own >= shares.max(axis=0) - 2e-5).all()


@pytest.mark.parametrize("phases", [2, 3])
@pytest.mark.parametrize(
    ("dims", "window", "size"), [(2, 12, 5), (2, 12, 4), (2, 9, 8), (2, 64, 2), (3, 6, 4), (3, 6, 3), (3, 14, 2)]
)
def test_the_phase_of_the_largest_area_wins(dims: int, window: int, size: int, phases: int) -> None:
    crops = np.random.default_rng(0).integers(0, phases, (3, *[window] * dims), dtype=np.uint8)
    before = crops.copy()
    found = resize_labels(crops, size, phases)
    np.testing.assert_array_equal(crops, before)
    assert found.dtype == np.uint8
    assert found.shape == (3, *[size] * dims)
    for crop, small in zip(crops, found, strict=True):
        assert_largest(small, np.stack([area_shares(crop, size, p) for p in range(phases)]))


@pytest.mark.parametrize("phases", [2, 3])
@pytest.mark.parametrize(("dims", "window", "size"), [(2, 7, 16), (2, 8, 11), (3, 5, 8)])
def test_the_phase_of_the_largest_interpolate_wins(dims: int, window: int, size: int, phases: int) -> None:
    crops = np.random.default_rng(1).integers(0, phases, (2, *[window] * dims), dtype=np.uint8)
    for crop, large in zip(crops, resize_labels(crops, size, phases), strict=True):
        indicators = [(crop == p).astype(np.float64) for p in range(phases)]
        shares = np.stack([zoom(i, size / window, order=1, grid_mode=True, mode="nearest") for i in indicators])
        mode = "bilinear" if dims == 2 else "trilinear"
        other = torch.nn.functional.interpolate(torch.from_numpy(np.stack(indicators))[None], size=[size] * dims, mode=mode)
        np.testing.assert_allclose(shares, other[0].numpy(), atol=1e-9)
        assert_largest(large, shares)


def test_a_crop_of_the_size_is_itself() -> None:
    crops = np.random.default_rng(2).integers(0, 3, (2, 6, 6), dtype=np.uint8)
    np.testing.assert_array_equal(resize_labels(crops, 6, 3), crops)


def test_by_hand() -> None:
    crop = np.array([[[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1]]], np.uint8)
    np.testing.assert_array_equal(resize_labels(crop, 2, 2)[0], [[1, 0], [0, 1]])


@pytest.mark.parametrize("phases", [2, 3])
def test_no_phase_gains_by_ties(phases: int) -> None:
    """Of 2 x 2 random voxels of two phases 6 in 16 tie; whoever always gave them to one phase would shift it by 0.19."""
    crops = np.random.default_rng(3).integers(0, phases, (40, 64, 64), dtype=np.uint8)
    found = resize_labels(crops, 32, phases)
    np.testing.assert_allclose(np.bincount(found.ravel()) / found.size, 1 / phases, atol=0.012)
