from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.pattern_characteristic import pattern_characteristic, pattern_frequencies
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.losses.characteristic_distance import CharacteristicDistance


def state(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signs(count: int, dimension: int, shift: float) -> Tensor:
    return torch.from_numpy(np.sign(np.random.default_rng(0).normal(loc=shift, size=(count, dimension)))).float()


def test_is_the_distance_of_characteristic_functions() -> None:
    x, y = signs(40, 2 * 9, 0.0), signs(30, 2 * 9, 0.5)
    frequencies = pattern_frequencies(16, 2, 3, state()).flatten(1).numpy() / 2  # patterns have twice an indicator's contrast
    means = [np.exp(1j * patterns.numpy() @ frequencies.T).mean(axis=0) for patterns in (x, y)]
    found = CharacteristicDistance(frequencies=16, size=3)(x, y, state())
    assert float(found) == pytest.approx(np.sqrt(np.mean(np.abs(means[0] - means[1]) ** 2)), rel=1e-5)


def test_agrees_with_the_descriptor_of_indicators() -> None:
    """Patterns in {-1, 1} of frequency w / 2 turn those in {0, 1} of w by a common phase, which differences do not see."""
    a, b = ((torch.rand(1, 1, 20, 22, generator=state(seed)) < share).float() for seed, share in ((1, 0.3), (2, 0.5)))
    frequencies = pattern_frequencies(64, 1, 5, state())
    difference = pattern_characteristic(a, frequencies) - pattern_characteristic(b, frequencies)
    wanted = difference.square().sum(dim=1).mean().sqrt()
    found = CharacteristicDistance(frequencies=64, size=5)(local_patterns(2 * a - 1, 5), local_patterns(2 * b - 1, 5), state())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_zero_to_itself_with_a_gradient_that_is_a_number() -> None:
    x = signs(40, 9, 0.0).requires_grad_()
    distance = CharacteristicDistance(frequencies=16, size=3)(x, x.detach(), state())
    distance.backward()  # type: ignore[no-untyped-call]
    assert distance.item() == 0.0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_gradcheck() -> None:
    x, y = (torch.rand(6, 9, dtype=torch.float64, generator=state(seed)) * 2 - 1 for seed in (1, 2))
    loss = CharacteristicDistance(frequencies=4, size=3)
    assert torch.autograd.gradcheck(lambda p: loss.forward(p, y, state()), x.requires_grad_())
