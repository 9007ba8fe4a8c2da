from __future__ import annotations

import numpy as np
import pytest
import torch
from brute import indicators_of, probability

from mcrgen.descriptors import bits
from mcrgen.descriptors.n_point import NPointProbability, n_point_probability
from mcrgen.errors import InputError

LABELS_2D = np.random.default_rng(0).integers(0, 3, (7, 11))
LABELS_3D = np.random.default_rng(1).integers(0, 3, (4, 5, 9))
CONFIGURATIONS = {
    2: [[(0, 0)], [(0, 0), (0, 10)], [(2, 3), (0, 0), (1, 8)], [(1, -2), (0, 0)], [(0, 0), (0, 0), (6, 1)]],
    3: [[(0, 0, 0)], [(0, 0, 0), (3, 0, 0), (0, 4, 8)], [(0, 1, 2), (2, 0, 0), (1, 1, -3)]],
}


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("labels", [LABELS_2D, LABELS_3D], ids=["2D", "3D"])
def test_equals_counting(labels: np.ndarray, periodic: bool) -> None:
    indicator = np.concatenate([indicators_of(labels, 3), indicators_of(labels[::-1], 3)])
    configurations = CONFIGURATIONS[labels.ndim]
    measured = n_point_probability(torch.from_numpy(indicator), configurations, periodic=periodic)
    assert measured.shape == (2, 3, len(configurations))
    for b in range(2):
        for c in range(3):
            expected = [probability(indicator[b, c], v, periodic=periodic) for v in configurations]
            np.testing.assert_allclose(measured[b, c], expected, atol=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_grey_values_are_multiplied(periodic: bool) -> None:
    field = np.random.default_rng(2).random((5, 6))
    measured = n_point_probability(torch.from_numpy(field)[None, None], [[(0, 0)], [(0, 0), (1, 2)]], periodic=periodic)
    expected = [field.mean(), probability(field, [(0, 0), (1, 2)], periodic=periodic)]
    np.testing.assert_allclose(measured[0, 0], expected, atol=1e-12)


def test_bits_in_chunks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.random.default_rng(3).random((1, 1, 9, 8, 70)) < 0.6
    configurations = [[(0, 0, 0), (r, r, 3 * r)] for r in range(8)]
    whole = n_point_probability(torch.from_numpy(voxels), configurations)
    monkeypatch.setattr(bits, "_CACHE_BYTES", 300)
    torch.testing.assert_close(n_point_probability(torch.from_numpy(voxels), configurations), whole, rtol=0, atol=0)


def test_every_data_type_and_a_gradient_agree() -> None:
    voxels = torch.from_numpy(np.random.default_rng(4).random((2, 1, 6, 9)) < 0.5)
    configurations = [[(0, 0)], [(0, 0), (0, 7)], [(0, 0), (2, 1), (3, 3)]]
    exact = n_point_probability(voxels, configurations)
    for other in (voxels.double(), voxels.to(torch.uint8), voxels.float().requires_grad_()):
        measured = n_point_probability(other, configurations)
        torch.testing.assert_close(measured.detach(), exact, rtol=0, atol=1e-7)


def test_labels_are_not_taken_for_an_indicator() -> None:
    labels = torch.full((1, 1, 3, 3), 2, dtype=torch.uint8)
    assert float(n_point_probability(labels, [[(0, 0), (0, 1)]])) == 4.0


def test_gradcheck() -> None:
    field = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    for periodic in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, p=periodic: n_point_probability(x, [[(0, 0), (1, 2)], [(0, 0), (2, 0), (1, 1)]], periodic=p), field
        )


def test_uncorrelated_noise_has_the_power_of_the_fraction() -> None:
    noise = torch.from_numpy(np.random.default_rng(5).random((1, 1, 300, 300)) < 0.4)
    for n in (2, 3, 4):
        value = float(n_point_probability(noise, [[(0, 2 * k) for k in range(n)]]))
        assert value == pytest.approx(0.4**n, abs=0.005)


def test_module_equals_function() -> None:
    field = torch.rand(1, 1, 4, 5)
    module = NPointProbability(configurations=[[(0, 0), (1, 1)]], periodic=True)
    torch.testing.assert_close(module(field), n_point_probability(field, [[(0, 0), (1, 1)]], periodic=True))
    assert "periodic=True" in repr(module)
    with pytest.raises(TypeError, match="has no setting 'perodic'; known are configurations, periodic"):
        NPointProbability(perodic=True)


def test_bad_configurations() -> None:
    field = torch.rand(1, 1, 4, 5)
    with pytest.raises(InputError, match=r"configurations: expected 2 shifts a vertex for a medium of \(4, 5\)"):
        n_point_probability(field, [[(0, 0, 0)]])
    with pytest.raises(InputError, match=r"fits into a medium of \(4, 5\), got a span of \(0, 5\) voxels"):
        n_point_probability(field, [[(0, 0), (0, 5)]])
