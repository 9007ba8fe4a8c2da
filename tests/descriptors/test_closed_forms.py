"""Whole curves of media whose descriptors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm

from mcrgen.data.examples import gaussian_level_cut, overlapping_spheres
from mcrgen.data.lattices import checkerboard, stripes
from mcrgen.descriptors.measure import measure
from mcrgen.descriptors.polytopes import polytope_function


@pytest.mark.parametrize("shape", [(512, 512), (96, 96, 96)])
def test_level_cut_of_a_gaussian_field_follows_the_arcsine_law(shape: tuple[int, ...]) -> None:
    """At half filling, S2 = 1/4 + arcsin(rho(r)) / (2 pi) (Torquato 2002, sec. 8.3)."""
    correlation, lags = 2.0, 13
    impulse = np.zeros(101)
    impulse[50] = 1.0
    kernel = gaussian_filter1d(impulse, correlation)
    rho = np.correlate(kernel, kernel, "full")[100 : 100 + lags]
    expected = 0.25 + np.arcsin(rho / rho[0]) / (2 * np.pi)
    media = [gaussian_level_cut(shape, (0.5, 0.5), correlation, seed) == 1 for seed in range(4)]
    measured = np.mean([measure(m, max_lag=lags - 1, curves=("s2",)).curves["s2"].mean for m in media], axis=0)
    np.testing.assert_allclose(measured, expected, atol=0.004)


def test_level_cut_at_any_fraction() -> None:
    """S2 = P(two correlated normals are both above the level)."""
    fraction, correlation = 0.2, 2.0
    impulse = np.zeros(101)
    impulse[50] = 1.0
    kernel = gaussian_filter1d(impulse, correlation)
    rho = np.correlate(kernel, kernel, "full")[100:110] / np.correlate(kernel, kernel, "full")[100]
    level = norm.ppf(1 - fraction)
    u = np.linspace(level, 8.0, 4001)
    inner = [norm.pdf(u) * norm.sf((level - r * u) / np.sqrt(1 - r**2)) for r in rho[1:]]
    expected = [fraction, *(np.trapezoid(i, u) for i in inner)]
    media = [gaussian_level_cut((512, 512), (0.8, 0.2), correlation, seed) == 1 for seed in range(4)]
    measured = np.mean([measure(m, max_lag=9, curves=("s2",)).curves["s2"].mean for m in media], axis=0)
    np.testing.assert_allclose(measured, expected, atol=0.003)


@pytest.mark.parametrize(("shape", "radius"), [((600, 600), 12.0), ((128, 128, 128), 9.0)])
def test_overlapping_spheres(shape: tuple[int, ...], radius: float) -> None:
    """Of the matrix: L = phi^(1 + 2 z / (pi R)) in 2D and phi^(1 + 3 z / (4 R)) in 3D; S2 = phi^2 beyond 2 R."""
    media = [overlapping_spheres(shape, radius, 0.5, seed) == 0 for seed in range(3)]
    results = [measure(m, max_lag=30, curves=("s2", "lineal_path")) for m in media]
    phi = np.mean([r.fraction for r in results])
    assert phi == pytest.approx(0.5, abs=0.03)
    z = np.arange(25)
    slope = 2 / np.pi if len(shape) == 2 else 3 / 4
    path = np.mean([r.curves["lineal_path"].mean for r in results], axis=0)[:25]
    np.testing.assert_allclose(path, phi ** (1 + slope * z / radius), rtol=0.08)
    far = int(2 * radius) + 2
    s2 = np.mean([r.curves["s2"].mean for r in results], axis=0)
    np.testing.assert_allclose(s2[far:], phi**2, atol=0.02)


def test_checkerboard() -> None:
    """Points that are an odd number of cells apart along an axis never lie in the same phase."""
    board = checkerboard((48, 48), 6) == 1
    s2 = measure(board, max_lag=24, curves=("s2",)).curves["s2"].mean
    np.testing.assert_allclose(s2[[0, 6, 12, 18, 24]], [0.5, 0.0, 0.5, 0.0, 0.5], atol=1e-12)
    square = polytope_function(torch.from_numpy(board)[None, None], "p4", 12)[0, 0, 0]
    np.testing.assert_allclose(square[[6, 12]], [0.0, 0.5], atol=1e-12)


def test_stripes() -> None:
    """Chords across are all of one length; along, the lineal path never decays."""
    medium = stripes((40, 60), 10, 4, 1) == 1
    measured = measure(medium, max_lag=20)
    assert measured.fraction == pytest.approx(0.4)
    across = measured.curves["chord_length"].parts["x"]
    assert across[4] == 1.0
    np.testing.assert_allclose(measured.curves["lineal_path"].parts["y"], 0.4)
    assert measured.interface_density == {"y": 0.0, "x": pytest.approx(11 / 59)}
