from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.data.examples import gaussian_level_cut, gravel
from mcrgen.data.segmentation import segment_grey, to_unit_grey
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError

PLAIN = {
    "phases": 2, "threshold": None, "denoise": True, "sigma_grey": 0.15, "sigma_space": 2.0, "scale": 1.0, "invert": False
}  # fmt: skip


def photograph(levels: list[float], noise: float, correlation: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    n = len(levels)
    truth = gaussian_level_cut((96, 80), (1 / n,) * n, correlation, 0)
    grey = np.array(levels)[truth] + noise * np.random.default_rng(1).standard_normal(truth.shape)
    return truth, np.clip(grey, 0, 1).astype(np.float32)


@pytest.mark.parametrize("levels", [[0.3, 0.7], [0.15, 0.5, 0.85]])
def test_finds_the_phases_of_a_noisy_photograph(levels: list[float]) -> None:
    truth, grey = photograph(levels, 0.06)
    result = segment_grey(grey, **{**PLAIN, "phases": len(levels)})
    assert (result.labels == truth).mean() > 0.97
    assert all(a < t < b for a, t, b in zip(levels, result.thresholds, levels[1:], strict=False))


def test_denoising_helps() -> None:
    truth, grey = photograph([0.35, 0.65], 0.12)
    noisy = segment_grey(grey, **{**PLAIN, "denoise": False})
    clean = segment_grey(grey, **{**PLAIN, "sigma_grey": 0.3})
    assert (clean.labels == truth).mean() > (noisy.labels == truth).mean() + 0.015


def test_given_threshold_inversion_and_scale() -> None:
    _, grey = photograph([0.3, 0.7], 0.0)
    plain = segment_grey(grey, **{**PLAIN, "threshold": 0.5, "denoise": False})
    np.testing.assert_array_equal(plain.labels, grey > 0.5)
    inverted = segment_grey(grey, **{**PLAIN, "threshold": 0.5, "denoise": False, "invert": True})
    np.testing.assert_array_equal(inverted.labels, grey <= 0.5)
    assert segment_grey(grey, **{**PLAIN, "scale": 0.5}).labels.shape == (48, 40)


def test_grey_values_of_every_type() -> None:
    np.testing.assert_allclose(to_unit_grey(np.array([[0, 255]], np.uint8), "photo", colour=False), [[0, 1]])
    np.testing.assert_allclose(to_unit_grey(np.array([[100, 4095]], np.uint16), "photo", colour=False), [[0, 1]])
    np.testing.assert_allclose(to_unit_grey(np.array([[-5, 0, 5]], np.int32), "photo", colour=False), [[0, 0.5, 1]])
    np.testing.assert_allclose(to_unit_grey(np.array([[-2.0, 0.0, 2.0]]), "photo", colour=False), [[0, 0.5, 1]])
    colour = np.stack([np.full((2, 2), 255), np.zeros((2, 2)), np.array([[0, 1], [2, 3]])], axis=-1).astype(np.uint8)
    assert to_unit_grey(colour, "photo", colour=True).shape == (2, 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4), 7, np.uint8), "every pixel has the value 7"),
        (np.array([[0.0, np.nan]]), "NaN"),
        (np.zeros((3, 4, 5, 6)), r"expected one 2D photograph.*\(3, 4, 5, 6\)"),
    ],
)
def test_bad_photographs(image: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"photo: .*{message}"):
        to_unit_grey(image, "photo", colour=False)


def test_a_wider_type_changes_nothing() -> None:
    _, grey = photograph([0.3, 0.7], 0.05)
    byte = (grey * 255).astype(np.uint8)
    plain = segment_grey(to_unit_grey(byte, "photo", colour=False), **PLAIN).labels
    for wide in (byte.astype(np.uint16) * 16, byte.astype(np.int16), byte.astype(np.int32) * 1000):
        labels = segment_grey(to_unit_grey(wide, "photo", colour=False), **PLAIN).labels
        assert (labels == plain).mean() > 0.99


def test_fewer_grey_levels_than_phases() -> None:
    grey = np.tile(np.array([0.2, 0.8], np.float32), (8, 4))
    with pytest.raises(InputError, match="phases: expected a photograph with 3 distinct grey levels"):
        segment_grey(grey, **{**PLAIN, "phases": 3, "denoise": False})


def test_the_rim_is_not_darkened() -> None:
    grey = np.full((40, 40), 0.6, np.float32)
    grey[15:25, 15:25] = 0.2
    labels = segment_grey(grey, **{**PLAIN, "sigma_grey": 0.5, "sigma_space": 3.0}).labels
    assert labels[0].all()
    assert labels[:, 0].all()


def test_level_cut_has_exact_fractions() -> None:
    labels = gaussian_level_cut((10, 20, 30), (0.5, 0.3, 0.2), 2.0, seed=0)
    assert np.bincount(labels.ravel()).tolist() == [3000, 1800, 1200]


@pytest.mark.parametrize(
    ("shape", "correlation"), [((400, 500), (2.0, 6.0)), ((64, 72, 90), (3.0, 1.5, 2.0)), ((400, 300), 3.0)]
)
def test_each_axis_has_the_two_point_correlation_of_its_kernel(
    shape: tuple[int, ...], correlation: float | tuple[float, ...]
) -> None:
    """Arcsine law of a Gaussian field at half filling; 0.001 for the exact fractions, which cost it some of its variance."""
    seeds, lags = 6, np.arange(13)
    media = np.stack([gaussian_level_cut(shape, (0.5, 0.5), correlation, s) for s in range(seeds)])[:, None]
    per_axis = correlation if isinstance(correlation, tuple) else (correlation,) * len(shape)
    for axis, s in enumerate(per_axis):
        curves = two_point_correlation(torch.from_numpy(media.astype(np.float32)), lags[-1], axis, periodic=True)[:, 0]
        error = curves.std(dim=0).numpy() / np.sqrt(seeds)
        assert error.max() < 0.003
        expected = 0.25 + np.arcsin(np.exp(-(lags**2) / (4 * s**2))) / (2 * np.pi)
        assert (np.abs(curves.mean(dim=0).numpy() - expected) < 4 * error + 0.001).all()


def test_level_cut_wants_a_correlation_for_each_axis() -> None:
    with pytest.raises(InputError, match=r"correlation: expected one number or 3 for the shape \(4, 5, 6\), got \(1.0, 2.0\)"):
        gaussian_level_cut((4, 5, 6), (0.5, 0.5), (1.0, 2.0), 0)


def test_gravel_is_there_without_a_network() -> None:
    image = gravel()
    assert image.shape == (512, 512)
    assert image.dtype == np.uint8
