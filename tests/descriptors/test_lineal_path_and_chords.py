from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from brute import chords, indicators_of, probability, segment

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.chord_length import ChordLengthDistribution, chord_length_distribution
from mcrgen.descriptors.lineal_path import LinealPath, lineal_path
from mcrgen.descriptors.run_lengths import RunsAcrossSlabs, run_lengths
from mcrgen.descriptors.specific_surface import interface_density
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError

MEDIA = [np.random.default_rng(0).integers(0, 3, (7, 9)) // 2, np.random.default_rng(1).integers(0, 3, (4, 6, 5))]


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("labels", MEDIA, ids=["2D", "3D"])
def test_lineal_path_by_counting(labels: np.ndarray, periodic: bool) -> None:
    indicator = np.concatenate([indicators_of(labels, 3), indicators_of(labels[::-1, ::-1], 3)])
    for axis, length in enumerate(labels.shape):
        measured = lineal_path(torch.from_numpy(indicator), length - 1, axis, periodic=periodic)
        assert measured.shape == (2, 3, length)
        for b in range(2):
            for c in range(3):
                expected = [
                    probability(indicator[b, c], segment(axis, labels.ndim, r), periodic=periodic) for r in range(length)
                ]
                np.testing.assert_allclose(measured[b, c], expected, atol=1e-12)


def test_lineal_path_of_grey_values() -> None:
    field = np.random.default_rng(2).random((4, 6))
    measured = lineal_path(torch.from_numpy(field)[None, None], 4, 1)[0, 0]
    np.testing.assert_allclose(measured, [probability(field, segment(1, 2, r), periodic=False) for r in range(5)])


def test_lineal_path_is_below_s2_below_fraction() -> None:
    medium = torch.from_numpy(gaussian_level_cut((40, 50), (0.5, 0.5), 2.0, 0) == 1)[None, None]
    for axis in range(2):
        path, s2 = lineal_path(medium, 20, axis), two_point_correlation(medium, 20, axis)
        assert bool((path <= s2 + 1e-12).all())
        assert float(path[0, 0, 0]) == pytest.approx(float(medium.double().mean()))
        assert bool((path.diff() <= 0.02).all())


def test_noise_in_closed_form() -> None:
    noise = torch.from_numpy(np.random.default_rng(3).random((1, 1, 600, 600)) < 0.6)
    np.testing.assert_allclose(lineal_path(noise, 6, 0)[0, 0], 0.6 ** np.arange(1, 8), atol=0.003)
    geometric = 0.4 * 0.6 ** np.arange(6)
    np.testing.assert_allclose(chord_length_distribution(noise, 1)[0, 0, 1:7], geometric, atol=0.01)


@pytest.mark.parametrize("labels", MEDIA, ids=["2D", "3D"])
def test_chords_by_counting(labels: np.ndarray) -> None:
    indicator = np.concatenate([indicators_of(labels, 3), indicators_of(labels[::-1], 3)])
    for axis, length in enumerate(labels.shape):
        measured = chord_length_distribution(torch.from_numpy(indicator), axis)
        for b in range(2):
            for c in range(3):
                counted = Counter(chords(indicator[b, c], axis))
                expected = [counted[k] / max(1, counted.total()) for k in range(length - 1)]
                np.testing.assert_allclose(measured[b, c], expected)


@pytest.mark.parametrize("depth", [1, 2, 5, 13])
@pytest.mark.parametrize("fraction", [0.3, 0.9, 1.0, 0.0])
def test_runs_across_slabs_equal_whole_lines(depth: int, fraction: float) -> None:
    volume = np.random.default_rng(4).random((13, 4, 5)) < fraction
    across = RunsAcrossSlabs(13)
    for first in range(0, 13, depth):
        across.add(volume[first : first + depth])
    whole = run_lengths(volume.reshape(13, -1).T[None])
    assert across.total is not None
    np.testing.assert_array_equal(across.total.runs, whole.runs)
    np.testing.assert_array_equal(across.total.chords, whole.chords)
    np.testing.assert_array_equal(across.total.cuts, whole.cuts)


def test_runs_know_fraction_and_surface() -> None:
    medium = np.random.default_rng(5).random((2, 6, 7)) < 0.5
    runs = run_lengths(medium)
    np.testing.assert_allclose(runs.fraction(), medium.mean(axis=(1, 2)))
    expected = interface_density(torch.from_numpy(medium.astype(np.float32))[:, None])[:, 0, 1]
    np.testing.assert_allclose(runs.interface_density(), expected, atol=1e-7)


def test_gradcheck() -> None:
    field = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lineal_path(x, 3, 0), field)
    assert torch.autograd.gradcheck(lambda x: lineal_path(x, 4, 1, periodic=True), field)


def test_modules_equal_functions() -> None:
    medium = torch.from_numpy((np.random.default_rng(6).random((1, 1, 6, 8)) < 0.5).astype(np.float64))
    torch.testing.assert_close(LinealPath(max_lag=3, axis=1)(medium), lineal_path(medium, 3, 1))
    torch.testing.assert_close(ChordLengthDistribution(axis=0)(medium), chord_length_distribution(medium, 0))


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 3 for an axis of 4 voxels, got 4"):
        lineal_path(torch.rand(1, 1, 4, 5), 4, 0)
    with pytest.raises(InputError, match=r"indicator: expected 0 and 1, got grey values"):
        chord_length_distribution(torch.rand(1, 1, 4, 5), 0)
