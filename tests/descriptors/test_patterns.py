from __future__ import annotations

import torch

from mcrgen.descriptors.patterns import local_patterns


def test_patterns_are_the_neighbourhoods() -> None:
    slices = torch.rand(2, 3, 6, 8)
    patterns = local_patterns(slices, 4)
    expected = [slices[b, :, i : i + 4, j : j + 4].flatten() for b in range(2) for i in range(6 - 3) for j in range(8 - 3)]
    torch.testing.assert_close(patterns, torch.stack(expected))


def test_patterns_gradcheck() -> None:
    slices = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: local_patterns(s, 3).square(), slices)
