from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.compare import common_lags, compare, relative_l2, scaled, section_errors
from mcrgen.descriptors.measure import CURVES, Measurement, measure
from mcrgen.descriptors.two_point import symmetrise
from mcrgen.descriptors.windows import Band


def wide(measurement: Measurement) -> dict[str, Band]:
    """Bands that hold anything."""
    return {n: Band(np.full(len(c.mean), -1.0), np.full(len(c.mean), 2.0)) for n, c in measurement.curves.items()}


def compared(reference: np.ndarray, candidate: np.ndarray, max_lag: int, map_lag: int) -> dict[str, Any]:
    a, b = (measure(m, max_lag=max_lag, map_lag=map_lag) for m in (reference, candidate))
    return compare(a, b, wide(a))


def test_a_medium_is_no_different_from_itself() -> None:
    medium = gaussian_level_cut((40, 40), (0.6, 0.4), 1.5, 0) == 1
    symmetric = medium | medium.T  # its own transpose, so that both axes agree
    result = compared(symmetric, symmetric, 20, 0)
    assert result["phase_fraction"]["relative_error"] == 0
    assert result["specific_surface"]["relative_error"] == 0
    for curve in result["curves"].values():
        assert curve["relative_l2"] == curve["mse_scaled"] == curve["max_error"] == 0
        assert curve["inside_band"] == 1


def test_relative_errors_by_hand() -> None:
    first, second = np.pad(np.ones((4, 4), bool), 2), np.pad(np.ones((4, 2), bool), ((2, 2), (3, 3)))
    reference, candidate = measure(first, max_lag=3, map_lag=1), measure(second, max_lag=3, map_lag=1)
    low = {n: Band(np.zeros(len(c.mean)), 0.5 * c.mean) for n, c in reference.curves.items()}
    result = compare(reference, candidate, low)
    assert result["phase_fraction"] == {"reference": 0.25, "candidate": 0.125, "relative_error": 0.5}
    s2, target = candidate.curves["s2"].mean, reference.curves["s2"].mean
    expected = result["curves"]["s2"]
    assert expected["relative_l2"] == pytest.approx(np.linalg.norm(s2 - target) / np.linalg.norm(target))
    assert expected["max_error"] == pytest.approx(np.abs(s2 - target).max())
    assert expected["inside_band"] == np.mean(s2 <= 0.5 * target)
    f2 = [(curve - p**2) / (p - p**2) for curve, p in ((s2, 0.125), (target, 0.25))]
    assert expected["mse_scaled"] == pytest.approx(np.mean((f2[0] - f2[1]) ** 2))
    assert expected["relative_l2_per_part"]["x"] == pytest.approx(
        np.linalg.norm(candidate.curves["s2"].parts["x"] - target) / np.linalg.norm(target)
    )
    symmetric = symmetrise(torch.from_numpy(reference.maps["z"])).numpy()
    assert result["autocovariance_2d"]["relative_l2"] == pytest.approx(relative_l2(candidate.maps["z"], symmetric))


def test_scaled_curves() -> None:
    measured = measure(gaussian_level_cut((30, 40), (0.7, 0.3), 1.5, 0) == 1, max_lag=8)
    phi = measured.fraction
    p6 = measured.curves["p6"].mean
    np.testing.assert_allclose(scaled(measured, "p6"), (p6 - phi**6) / (phi - phi**6))
    assert scaled(measured, "lineal_path")[0] == pytest.approx(1)
    np.testing.assert_array_equal(scaled(measured, "chord_length"), measured.curves["chord_length"].mean)


def test_media_of_other_sizes_have_other_lags() -> None:
    """Hexagons end earlier in a small medium, chords where the longest does."""
    large = gaussian_level_cut((60, 60), (0.5, 0.5), 2.0, 0) == 1
    small = large[:30, :30]
    result = compared(large, small, 20, 2)
    reference, candidate = measure(large, max_lag=20), measure(small, max_lag=20)
    n = len(candidate.curves["p6"].mean)
    assert n == 15
    expected = relative_l2(candidate.curves["p6"].mean, reference.curves["p6"].mean[:n])
    assert result["curves"]["p6"]["relative_l2"] == pytest.approx(expected)
    chords = candidate.curves["chord_length"].mean
    target = reference.curves["chord_length"].mean
    padded = np.pad(chords, (0, max(0, len(target) - len(chords))))
    assert result["curves"]["chord_length"]["relative_l2"] == pytest.approx(relative_l2(padded, target))


def test_volume_against_its_extruded_section() -> None:
    section = gaussian_level_cut((24, 30), (0.5, 0.5), 1.5, 1) == 1
    flat = measure(section, max_lag=10, map_lag=5)
    solid = measure(np.broadcast_to(section, (26, 24, 30)).copy(), max_lag=10, map_lag=5)
    assert solid.fraction == pytest.approx(flat.fraction)
    for name in set(CURVES) - {"chord_length"}:
        part = "x" if name in ("s2", "lineal_path") else "z"
        np.testing.assert_allclose(solid.curves[name].parts[part], flat.curves[name].parts[part], atol=1e-12)
    np.testing.assert_allclose(solid.curves["s2"].parts["z"], flat.fraction, atol=1e-12)
    np.testing.assert_allclose(solid.maps["z"], flat.maps["z"], atol=1e-12)


def test_section_errors() -> None:
    reference = {"z": [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]}
    candidate = {
        "z": [torch.tensor([3.0, 0.0]), torch.tensor([[3.0]])],
        "y": reference["z"],
        "x": [t * 0 for t in reference["z"]],
    }
    result = section_errors(reference, candidate)
    assert result["per_normal"] == {"z": pytest.approx(0.2), "y": 0.0, "x": pytest.approx(1.0)}
    assert result["relative"] == pytest.approx(0.4)
    assert result["squared"] == pytest.approx((0.04 + 1.0) / 3)
    volume = {n: [torch.rand(3), torch.rand(2, 2)] for n in "zyx"}
    assert section_errors(volume, volume)["relative"] == 0
    mean = [torch.stack([volume[n][i] for n in "zyx"]).mean(dim=0) for i in range(2)]
    assert section_errors(volume, {"z": mean})["relative"] == pytest.approx(0, abs=1e-6)


def test_common_lags() -> None:
    assert common_lags((128, 128), (100, 90, 80)) == (63, 16)
    assert common_lags((128, 128), (12, 90, 80)) == (11, 11)
