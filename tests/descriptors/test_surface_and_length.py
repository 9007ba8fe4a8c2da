from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.correlation_length import DECAY, autocorrelation_length
from mcrgen.descriptors.specific_surface import (
    InterfaceDensity,
    SpecificSurface,
    SpecificSurfaceFromS2,
    VoxelFaceArea,
    interface_density,
    specific_surface,
    specific_surface_from_s2,
    voxel_face_area,
)
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError


def random_medium(*shape: int) -> Tensor:
    return torch.from_numpy((np.random.default_rng(0).random(shape) < 0.3).astype(np.float32))


def ball(radius: float, edge: int, dimension: int) -> Tensor:
    axes = np.indices((edge,) * dimension) - (edge - 1) / 2
    return torch.from_numpy(((axes**2).sum(axis=0) <= radius**2).astype(np.float32))[None, None]


def test_stripes() -> None:
    stripes = torch.tensor([1.0, 0.0]).repeat_interleave(4).repeat(4)[None, None, None, :].expand(1, 1, 5, 32)
    np.testing.assert_allclose(interface_density(stripes)[0, 0], [0.0, 7 / 31])
    np.testing.assert_allclose(interface_density(stripes, periodic=True)[0, 0], [0.0, 8 / 32])


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 1, 4, 3, 5)])
def test_faces_are_counted(shape: tuple[int, ...], periodic: bool) -> None:
    medium = random_medium(*shape)
    for b, c in np.ndindex(*shape[:2]):
        array = medium[b, c].numpy()
        densities = []
        for axis, length in enumerate(array.shape):
            faces = pairs = 0
            for place in np.ndindex(*array.shape):
                neighbour = list(place)
                neighbour[axis] += 1
                if neighbour[axis] == length and not periodic:
                    continue
                neighbour[axis] %= length
                pairs += 1
                faces += array[place] != array[tuple(neighbour)]
            densities.append(faces / pairs)
        np.testing.assert_allclose(interface_density(medium, periodic=periodic)[b, c], densities)
        assert float(voxel_face_area(medium, periodic=periodic)[b, c]) == pytest.approx(sum(densities))


def test_cube_in_a_periodic_cell_has_six_faces() -> None:
    cube = torch.zeros(1, 1, 7, 8, 9)
    cube[..., 2:5, :3, 6:] = 1
    assert float(voxel_face_area(cube, periodic=True)) == pytest.approx(6 * 9 / (7 * 8 * 9))


def test_sphere_has_its_true_area() -> None:
    radius, edge = 20.0, 50
    sphere = ball(radius, edge, 3)
    true = 4 * np.pi * radius**2 / ((edge - 1) * edge**2)
    assert float(specific_surface(sphere)) == pytest.approx(true, rel=0.01)
    assert float(voxel_face_area(sphere)) == pytest.approx(1.5 * true, rel=0.01)


def test_is_the_slope_of_s2() -> None:
    medium = random_medium(2, 3, 9, 9, 9)
    s2 = torch.stack([two_point_correlation(medium, 1, axis, periodic=True) for axis in range(3)])
    torch.testing.assert_close(interface_density(medium, periodic=True)[..., 2], 2 * (s2[2, ..., 0] - s2[2, ..., 1]))
    from_slope = specific_surface_from_s2(s2.mean(dim=0), 3)
    assert from_slope.shape == (2, 3)
    torch.testing.assert_close(from_slope, specific_surface(medium, periodic=True))


def test_disc_has_its_true_perimeter() -> None:
    radius, edge = 60.3, 150
    disc = ball(radius, edge, 2)
    s2 = torch.stack([two_point_correlation(disc, 1, axis, periodic=True) for axis in range(2)]).mean(dim=0)
    assert float(specific_surface_from_s2(s2, 2)) * edge**2 == pytest.approx(2 * math.pi * radius, rel=0.02)


def test_slope_of_overlapping_spheres() -> None:
    radius, density = 3.0, 0.004
    r = torch.tensor([0.0, 1e-6], dtype=torch.float64)
    union = 4 / 3 * math.pi * radius**3 * (1 + 3 * r / (4 * radius) - r**3 / (16 * radius**3))
    void = torch.exp(-density * union)
    expected = density * 4 * math.pi * radius**2 * float(void[0])
    assert float(specific_surface_from_s2(void, 3)) / 1e-6 == pytest.approx(expected, rel=1e-5)


def test_gradcheck() -> None:
    medium = torch.rand(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    for periodic in (False, True):
        assert torch.autograd.gradcheck(lambda m, p=periodic: interface_density(m, periodic=p), medium)
    assert torch.autograd.gradcheck(lambda m: specific_surface_from_s2(m, 2), medium)


def test_modules_equal_functions() -> None:
    medium = random_medium(2, 1, 5, 6)
    for module, function in (
        (InterfaceDensity, interface_density),
        (VoxelFaceArea, voxel_face_area),
        (SpecificSurface, specific_surface),
    ):
        torch.testing.assert_close(module(periodic=True)(medium), function(medium, periodic=True))
    torch.testing.assert_close(SpecificSurfaceFromS2(dimension=2)(medium), specific_surface_from_s2(medium, 2))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"indicator: expected 2 voxels or more along every axis, got \(1, 6\)"):
        specific_surface(torch.zeros(1, 1, 1, 6))
    with pytest.raises(InputError, match="dimension: expected 2 or 3, got 4"):
        specific_surface_from_s2(torch.zeros(5), 4)
    with pytest.raises(InputError, match="s2: expected the lags 0 and 1 at least, got 1 lags"):
        specific_surface_from_s2(torch.zeros(5, 1), 3)


def test_autocorrelation_length_of_an_exponential() -> None:
    fraction, decay = 0.3, 6.0
    lags = torch.arange(64, dtype=torch.float64)
    s2 = fraction**2 + (fraction - fraction**2) * torch.exp(-lags / decay)
    assert autocorrelation_length(s2, fraction) == int(np.ceil(-decay * np.log(DECAY)))
    assert autocorrelation_length(s2[:5], fraction) == 4


def test_autocorrelation_length_of_a_full_medium() -> None:
    with pytest.raises(InputError, match=r"fraction: expected a phase fraction between 0 and 1 \(exclusive\), got 1.0"):
        autocorrelation_length(torch.ones(4), 1.0)
