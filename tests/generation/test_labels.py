from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.generation.blocks import Block
from mcrgen.generation.labels import classified
from mcrgen.generation.noise import gaussian_noise

BLOCK = Block((-3, 2, 5), (4, 7, 14))


def scores(channels: int, block: Block) -> torch.Tensor:
    return torch.from_numpy(gaussian_noise(1, block.start, block.shape, channels)).permute(3, 0, 1, 2)


@pytest.mark.parametrize("phase", [0, 1])
def test_two_phases(phase: int) -> None:
    found = classified(lambda b: scores(1, b), (-0.4,), phase)(BLOCK)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.where(scores(1, BLOCK)[0] > 0.4, phase, 1 - phase))


def test_three_phases() -> None:
    found = classified(lambda b: scores(3, b), (0.5, 0.0, -0.2), 2)(BLOCK)
    bias = np.array([0.5, 0.0, -0.2], np.float32)
    np.testing.assert_array_equal(found, (scores(3, BLOCK).numpy() + bias[:, None, None, None]).argmax(axis=0))
