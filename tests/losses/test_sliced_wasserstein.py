from __future__ import annotations

import torch

from mcrgen.descriptors.sliced_wasserstein import random_directions, sliced_wasserstein
from mcrgen.losses.sliced_wasserstein import SlicedWasserstein


def test_module_equals_function() -> None:
    x, y = torch.randn(20, 4), torch.randn(20, 4)
    module = SlicedWasserstein(projections=16, p=2.0)
    directions = random_directions(16, 4, torch.Generator().manual_seed(5))
    expected = sliced_wasserstein(x, y, directions, 2.0)
    torch.testing.assert_close(module(x, y, torch.Generator().manual_seed(5)), expected)
