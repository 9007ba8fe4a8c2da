"""The same measured by others."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.chord_length import chord_length_distribution
from mcrgen.descriptors.phase_fraction import phase_fraction
from mcrgen.descriptors.two_point_map import radial_average, two_point_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import porespy

pytestmark = pytest.mark.filterwarnings("ignore")  # PoreSpy uses what its own dependencies deprecate

MEDIA = {
    "2D": gaussian_level_cut((40, 52), (0.6, 0.4), 2.0, 0) == 1,
    "3D": gaussian_level_cut((20, 24, 30), (0.6, 0.4), 1.5, 1) == 1,
}


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest) -> np.ndarray:
    return MEDIA[request.param]


def test_radial_two_point_correlation(medium: np.ndarray) -> None:
    reach = 9
    _, ours = radial_average(two_point_map(torch.from_numpy(medium.astype(np.float64))[None, None], reach))
    theirs = porespy.metrics.two_point_correlation(medium, bins=np.arange(-0.5, reach + 0.5))
    np.testing.assert_allclose(ours[0, 0, :-1], theirs.probability_scaled[:reach], atol=1e-6)


def test_chord_lengths(medium: np.ndarray) -> None:
    for axis in range(medium.ndim):
        # PoreSpy takes every other line and leaves out those at the sides of the image.
        doubled = np.pad(medium, [(int(other != axis),) * 2 for other in range(medium.ndim)])
        for other in set(range(medium.ndim)) - {axis}:
            doubled = doubled.repeat(2, axis=other)
        chords = porespy.filters.apply_chords(doubled, axis=axis, trim_edges=True)
        lengths = porespy.metrics.chord_counts(chords)
        ours = chord_length_distribution(torch.from_numpy(medium)[None, None], axis)[0, 0].numpy()
        counts = np.bincount(lengths, minlength=len(ours))[: len(ours)]
        np.testing.assert_allclose(ours, counts / counts.sum())


def test_porosity(medium: np.ndarray) -> None:
    ours = float(phase_fraction(torch.from_numpy(medium.astype(np.float32))[None, None]))
    assert ours == pytest.approx(porespy.metrics.porosity(medium))
