from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.generation.blocks import Block, grid
from mcrgen.generation.calibration import classify
from mcrgen.generation.exact import KeptScores, exact_bias

SHAPE = (60, 50, 40)


def scores_of(field: torch.Tensor, block: Block) -> torch.Tensor:
    return field[(slice(None), *block.slices)]


def fractions_of(field: torch.Tensor, bias: tuple[float, ...], phase: int) -> np.ndarray:
    labels = classify(field, bias, phase).numpy()
    return np.bincount(labels.ravel(), minlength=max(2, len(bias))) / labels.size


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("wanted", [0.003, 0.1, 0.5, 0.93])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 0.0), (30.0, -100.0), (1.0, 50.0)])
def test_two_phases_are_met_whatever_the_scores(phase: int, wanted: float, scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    field = torch.from_numpy((scale * rng.standard_normal((1, *SHAPE)) + shift).astype(np.float32))
    fractions = [0.0, 0.0]
    fractions[phase], fractions[1 - phase] = wanted, 1 - wanted
    bias = exact_bias(lambda b: scores_of(field, b), list(grid(SHAPE, 17)), fractions, phase)
    np.testing.assert_allclose(fractions_of(field, bias, phase), fractions, atol=1e-4)


def test_three_phases_from_a_sample_of_the_volume() -> None:
    field = torch.from_numpy(np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32))
    bias = exact_bias(lambda b: scores_of(field, b), list(grid(SHAPE, 20)), (0.6, 0.3, 0.1), 2)
    np.testing.assert_allclose(fractions_of(field, bias, 2), (0.6, 0.3, 0.1), atol=1e-4)


def test_kept_scores_are_computed_once() -> None:
    asked: list[Block] = []

    def scores(block: Block) -> torch.Tensor:
        asked.append(block)
        return torch.full((1, *block.shape), float(len(asked)))

    kept = KeptScores(scores)
    blocks = list(grid((4, 4, 4), 2))
    first = [kept(b) for b in blocks]
    assert all(torch.equal(kept(b), f) for b, f in zip(blocks, first, strict=True))
    assert asked == blocks
