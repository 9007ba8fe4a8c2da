from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.lattices import stripes
from mcrgen.descriptors.interface_orientation import (
    FourfoldOrder,
    InterfaceOrientation,
    fourfold_order,
    interface_orientation,
)
from mcrgen.errors import InputError


def as_batch(*masks: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]


def three_phases() -> Tensor:
    """Two slices that are not square, one channel per phase."""
    labels = np.stack([gaussian_level_cut((40, 57), (0.4, 0.35, 0.25), 2.0, s) for s in (0, 1)])
    return torch.from_numpy(np.stack([labels == p for p in range(3)], axis=1).astype(np.float64))


def half_plane(angle: float) -> np.ndarray:
    """A grey edge whose normal has an angle to the x axis; its smoothing leaves the grid no say."""
    y, x = np.indices((61, 64)) - 30.2
    return 1 / (1 + np.exp(-(x * math.cos(angle) + y * math.sin(angle)) / 1.5))


@pytest.mark.parametrize(("axis", "bin_of_normal"), [(1, 0), (0, 18)])
def test_stripes_have_one_direction(axis: int, bin_of_normal: int) -> None:
    medium = as_batch(stripes((40, 60), 10, 4, axis))
    for sigma in (0.7, 1.0, 2.0):
        expected = torch.zeros(1, 1, 36, dtype=torch.float64)
        expected[..., bin_of_normal] = 1
        torch.testing.assert_close(interface_orientation(medium, sigma=sigma), expected)
        assert float(fourfold_order(medium, sigma=sigma)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 12.0, 30.0, 45.0, 77.5, 91.0, 135.0, 178.0])
def test_oblique_edge_is_shared_between_the_nearest_bins(degrees: float) -> None:
    found = interface_orientation(as_batch(half_plane(math.radians(degrees))), 18)[0, 0].numpy()
    place = degrees / 10
    expected = np.zeros(18)
    expected[int(place)] = 1 - place % 1
    expected[(int(place) + 1) % 18] = place % 1
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert float(fourfold_order(as_batch(half_plane(math.radians(degrees))))) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("centre", [(30.0, 32.0), (29.6, 31.8)])
def test_disc_has_all_directions(centre: tuple[float, float]) -> None:
    y, x = np.indices((61, 66))
    grey = 1 / (1 + np.exp((np.hypot(y - centre[0], x - centre[1]) - 20) / 1.0))
    np.testing.assert_allclose(interface_orientation(as_batch(grey), 12)[0, 0], 1 / 12, rtol=0.01)
    assert float(fourfold_order(as_batch(grey))) < 0.001
    for radius in (12, 24):
        digital = as_batch(np.hypot(y - centre[0], x - centre[1]) <= radius)
        assert float(fourfold_order(digital)) < 0.05


def test_random_medium_has_no_order() -> None:
    assert float(fourfold_order(as_batch(gaussian_level_cut((300, 280), (0.6, 0.4), 3.0, 0)))) < 0.05


@pytest.mark.parametrize("edge", [16, 40])
def test_squares_have_two_directions_but_for_their_corners(edge: int) -> None:
    square = as_batch(np.pad(np.ones((edge, edge)), 12))
    found = interface_orientation(square)[0, 0]
    assert float(found[0]) == pytest.approx(float(found[18]))
    assert float(found[[0, 18]].sum()) > 1 - 5 / edge
    assert float(fourfold_order(square)) == pytest.approx(1 - 2.7 / edge, abs=0.2 / edge)


@pytest.mark.parametrize("sigma", [0.8, 1.0])
def test_equals_the_histogram_of_filtered_derivatives(sigma: float) -> None:
    """SciPy's Gaussian derivatives, one place at a time."""
    media, radius, bins = three_phases(), math.ceil(4 * sigma), 10
    found, order = interface_orientation(media, bins, sigma=sigma), fourfold_order(media, sigma=sigma)
    for b, c in np.ndindex(2, 3):
        field = media[b, c].numpy()
        inner = (slice(radius, -radius),) * 2
        gy, gx = (gaussian_filter(field, sigma, order=o, radius=radius)[inner].ravel() for o in ((1, 0), (0, 1)))
        expected = np.zeros(bins)
        for angle, weight in zip(np.arctan2(gy, gx), np.hypot(gy, gx), strict=True):
            place = angle % math.pi * bins / math.pi
            expected[int(place) % bins] += weight * (1 - place % 1)
            expected[(int(place) + 1) % bins] += weight * (place % 1)
        np.testing.assert_allclose(found[b, c], expected / expected.sum(), atol=1e-3)
        whole = np.hypot(gy, gx)
        mean = (whole * np.exp(4j * np.arctan2(gy, gx))).sum() / whole.sum()
        assert float(order[b, c]) == pytest.approx(abs(mean), abs=1e-3)


def test_a_quarter_turn_moves_the_bins_and_a_mirror_reverses_them() -> None:
    media = three_phases()
    found = interface_orientation(media, 12)
    assert found.shape == (2, 3, 12)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(interface_orientation(media.rot90(1, (2, 3)), 12), found.roll(6, 2))
    torch.testing.assert_close(interface_orientation(media.flip(3), 12), found.flip(2).roll(1, 2))
    torch.testing.assert_close(interface_orientation(1 - media, 12), found)
    torch.testing.assert_close(fourfold_order(media.rot90(1, (2, 3))), fourfold_order(media))


def test_uniform_slices_have_no_interface_and_finite_gradients() -> None:
    media = torch.ones(1, 2, 12, 15, dtype=torch.float64)
    media[:, 1, :, 8:] = 0
    media.requires_grad_()
    found, order = interface_orientation(media), fourfold_order(media)
    assert found[0, 0].abs().sum() == 0
    assert order[0].tolist() == [0.0, pytest.approx(1.0)]
    (found[..., 3].sum() + found[..., 0].sum() + order.sum()).backward()
    assert media.grad is not None
    assert media.grad.isfinite().all()


def test_gradcheck() -> None:
    media = torch.rand(2, 1, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: interface_orientation(m, 6, sigma=0.5), media)
    assert torch.autograd.gradcheck(lambda m: fourfold_order(m, sigma=0.5), media)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_types_and_modules(dtype: torch.dtype) -> None:
    media = three_phases()
    torch.testing.assert_close(InterfaceOrientation(bins=8)(media.to(dtype)), interface_orientation(media, 8))
    torch.testing.assert_close(FourfoldOrder(sigma=1.3)(media.to(dtype)), fourfold_order(media, sigma=1.3))


def test_bad_input() -> None:
    media = torch.zeros(1, 1, 9, 8)
    for bins in (0, 5):
        with pytest.raises(InputError, match=f"bins: expected an even number of 2 or more, got {bins}"):
            interface_orientation(media, bins)
    with pytest.raises(InputError, match="sigma: expected a number greater than 0, got 0"):
        fourfold_order(media, sigma=0.0)
    with pytest.raises(InputError, match="slices: expected more than 8 voxels along each axis for sigma 1, got 9 x 8"):
        interface_orientation(media)
    with pytest.raises(InputError, match=r"slices: expected \(B, C, H, W\), got \(1, 1, 9, 9, 9\)"):
        interface_orientation(torch.zeros(1, 1, 9, 9, 9))
