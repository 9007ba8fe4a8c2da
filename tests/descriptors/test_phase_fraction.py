from __future__ import annotations

import torch

from mcrgen.descriptors.phase_fraction import PhaseFraction, phase_fraction


def test_counts_voxels_of_each_phase() -> None:
    labels = torch.tensor([[[0, 1, 2], [2, 2, 1]], [[0, 0, 0], [0, 0, 1]]])
    medium = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    expected = torch.tensor([[1, 2, 3], [5, 1, 0]], dtype=torch.float64) / 6
    torch.testing.assert_close(phase_fraction(medium), expected)
    torch.testing.assert_close(phase_fraction(medium[:, :, None]), expected)


def test_large_medium_is_summed_in_double_precision() -> None:
    medium = torch.full((1, 1, 300, 301), 0.1)
    assert abs(float(phase_fraction(medium)) - float(medium[0, 0, 0, 0])) < 1e-14


def test_gradcheck_and_module() -> None:
    medium = torch.rand(2, 3, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(phase_fraction, medium)
    torch.testing.assert_close(PhaseFraction()(medium), phase_fraction(medium))
