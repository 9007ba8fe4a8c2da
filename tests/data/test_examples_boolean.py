from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.data.examples import overlapping_spheres
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError

MEDIA = [((210, 190), 6.0, 0.4, 12), ((60, 70, 66), 4.0, 0.35, 12)]


def union_volume(r: np.ndarray, radius: float, dims: int) -> np.ndarray:
    """Volume of two discs or spheres r apart, by integrating the sections of their intersection."""
    half = np.minimum(r / 2, radius)
    steps = (np.arange(4000) + 0.5) / 4000
    across = half[..., None] + (radius - half)[..., None] * steps
    squares = radius**2 - across**2
    sections = 2 * np.sqrt(squares) if dims == 2 else np.pi * squares
    lens = 2 * sections.mean(axis=-1) * (radius - half)
    single = np.pi * radius**2 if dims == 2 else 4 / 3 * np.pi * radius**3
    result: np.ndarray = 2 * single - lens
    return result


def matrix_s2(r: np.ndarray, radius: float, matrix: float, dims: int) -> np.ndarray:
    single = union_volume(np.zeros(1), radius, dims)[0]
    result: np.ndarray = np.exp(np.log(matrix) * union_volume(r, radius, dims) / single)
    return result


def as_batch(labels: np.ndarray, phase: int) -> Tensor:
    return torch.from_numpy((labels == phase).astype(np.float32))[None, None]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("shape", "radius", "fraction", "seeds"), MEDIA)
def test_fraction(shape: tuple[int, ...], radius: float, fraction: float, seeds: int, periodic: bool) -> None:
    """Within 4 standard deviations, which follow from S2: the variance is the sum of the covariance over all lags."""
    labels = [overlapping_spheres(shape, radius, fraction, s, periodic=periodic) for s in range(seeds)]
    lags = np.stack(np.meshgrid(*[np.arange(-15, 16)] * len(shape)))
    squares, places = np.unique(np.square(lags).sum(axis=0), return_counts=True)
    covariance = matrix_s2(np.sqrt(squares), radius, 1 - fraction, len(shape)) - (1 - fraction) ** 2
    sigma = math.sqrt(covariance @ places / math.prod(shape) / seeds)
    assert sigma < 0.01
    assert abs(np.mean(labels) - fraction) < 4 * sigma
    assert all(x.shape == shape and x.dtype == np.uint8 and x.max() == 1 for x in labels)


@pytest.mark.parametrize(("shape", "radius", "fraction", "seeds"), MEDIA)
def test_two_point_correlation_of_the_matrix(shape: tuple[int, ...], radius: float, fraction: float, seeds: int) -> None:
    """Sampling noise alone, which the scatter between seeds and axes tells."""
    lags = np.arange(int(3 * radius))
    media = torch.cat([as_batch(overlapping_spheres(shape, radius, fraction, s), 0) for s in range(seeds)])
    curves = torch.stack([two_point_correlation(media, len(lags) - 1, a, periodic=True)[:, 0] for a in range(len(shape))])
    mean = curves.mean(dim=(0, 1)).numpy()
    error = curves.mean(dim=0).std(dim=0).numpy() / math.sqrt(seeds)
    expected = matrix_s2(lags.astype(float), radius, 1 - fraction, len(shape))
    assert error.max() < 0.01
    assert (np.abs(mean - expected) < 4 * error).all()


@pytest.mark.parametrize(("shape", "radius", "power"), [((500, 480), 10.0, 2 / math.pi), ((100, 90, 96), 7.0, 3 / 4)])
def test_lineal_path_of_the_matrix(shape: tuple[int, ...], radius: float, power: float) -> None:
    matrix, seeds, longest = 0.6, 6, int(radius)
    found = np.zeros(longest + 1)
    for seed in range(seeds):
        clear = overlapping_spheres(shape, radius, 1 - matrix, seed) == 0
        path = clear
        for z in range(longest + 1):
            found[z] += path.mean() / seeds
            path = path & np.roll(clear, -z - 1, axis=0)
    expected = matrix ** (1 + power * np.arange(longest + 1) / radius)
    np.testing.assert_allclose(found, expected, rtol=0.04)


@pytest.mark.parametrize("shape", [(9, 13), (7, 9, 8)])
def test_one_sphere_covers_the_voxels_within_its_radius(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """By distance from every voxel to the nearest image of every centre, for whole radii as well."""

    class Fixed:
        centres = np.random.default_rng(0).uniform(-0.5, np.array(shape) - 0.5, (3, len(shape)))
        centres[0] = np.round(centres[0])

        def poisson(self, mean: float) -> int:
            return 3

        def uniform(self, low: object, high: object, size: tuple[int, int]) -> np.ndarray:
            return self.centres

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Fixed())
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    for radius in (0.4, 1.0, 2.0, 3.3, 6.0):
        for periodic in (True, False):
            expected = np.zeros(shape, bool)
            for centre in Fixed.centres:
                images = np.stack(np.meshgrid(*[np.arange(-2, 3) * (n if periodic else 0) for n in shape]), axis=-1)
                for image in np.unique(images.reshape(-1, len(shape)), axis=0):
                    expected |= np.square(voxels - centre - image).sum(axis=-1) <= radius**2
            np.testing.assert_array_equal(overlapping_spheres(shape, radius, 0.5, 0, periodic=periodic), expected)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = overlapping_spheres((40, 30, 20), 2.5, 0.5, 1)
    monkeypatch.setattr("mcrgen.data.examples._CHUNK", 1000)
    np.testing.assert_array_equal(overlapping_spheres((40, 30, 20), 2.5, 0.5, 1), whole)


def test_seed_decides() -> None:
    first, again, other = (overlapping_spheres((50, 40), 3.0, 0.3, s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"shape: expected two or three positive sizes, got \(8,\)"):
        overlapping_spheres((8,), 2.0, 0.5, 0)
    with pytest.raises(InputError, match=r"radius: expected a number greater than 0, got 0"):
        overlapping_spheres((8, 8), 0.0, 0.5, 0)
    with pytest.raises(InputError, match=r"fraction: expected a phase fraction between 0 and 1 \(exclusive\), got 1"):
        overlapping_spheres((8, 8), 2.0, 1.0, 0)
