from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.compare import common_lags, compare, measure, relative_l2
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.two_point import symmetrise


def test_patterns_are_the_neighbourhoods() -> None:
    slices = torch.rand(2, 3, 6, 8)
    patterns = local_patterns(slices, 4)
    expected = [slices[b, :, i : i + 4, j : j + 4].flatten() for b in range(2) for i in range(6 - 3) for j in range(8 - 3)]
    torch.testing.assert_close(patterns, torch.stack(expected))


def test_patterns_gradcheck() -> None:
    slices = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: local_patterns(s, 3).square(), slices)


def test_a_medium_is_no_different_from_itself() -> None:
    medium = gaussian_level_cut((40, 40), (0.6, 0.4), 1.5, 0) == 1
    symmetric = medium | medium.T  # its own transpose, so that both axes agree
    result = compare(measure(symmetric, 20, 0), measure(symmetric, 20, 0))
    assert result["s2"]["relative_l2"] == pytest.approx(0)
    assert result["phase_fraction"]["relative_error"] == 0
    assert result["specific_surface"]["relative_error"] == 0


def test_volume_against_its_extruded_section() -> None:
    section = gaussian_level_cut((24, 30), (0.5, 0.5), 1.5, 1) == 1
    volume = np.broadcast_to(section, (26, 24, 30)).copy()
    flat, solid = measure(section, 10, 5), measure(volume, 10, 5)
    assert solid.fraction == pytest.approx(flat.fraction)
    np.testing.assert_allclose(solid.s2["y"], flat.s2["y"], atol=1e-12)
    np.testing.assert_allclose(solid.s2["x"], flat.s2["x"], atol=1e-12)
    np.testing.assert_allclose(solid.s2["z"], flat.fraction, atol=1e-12)
    np.testing.assert_allclose(solid.maps["z"], flat.maps["z"], atol=1e-12)


def test_relative_errors_by_hand() -> None:
    reference = measure(np.pad(np.ones((4, 4), bool), 2), 3, 1)
    candidate = measure(np.pad(np.ones((4, 2), bool), ((2, 2), (3, 3))), 3, 1)
    result = compare(reference, candidate)
    assert result["phase_fraction"] == {"reference": 0.25, "candidate": 0.125, "relative_error": 0.5}
    expected = np.linalg.norm(candidate.s2_mean - reference.s2_mean) / np.linalg.norm(reference.s2_mean)
    assert result["s2"]["relative_l2"] == pytest.approx(expected)
    target = symmetrise(torch.from_numpy(reference.maps["z"])).numpy()
    assert result["autocovariance_2d"]["relative_l2"] == pytest.approx(relative_l2(candidate.maps["z"], target))


def test_common_lags() -> None:
    assert common_lags((128, 128), (100, 90, 80)) == (63, 16)
    assert common_lags((128, 128), (12, 90, 80)) == (11, 11)
