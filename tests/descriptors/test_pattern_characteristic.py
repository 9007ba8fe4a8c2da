from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.pattern_characteristic import PatternCharacteristic, pattern_characteristic, pattern_frequencies
from mcrgen.errors import InputError


def grey(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def waves(count: int, channels: int, size: int, seed: int = 0) -> Tensor:
    return pattern_frequencies(count, channels, size, torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("at_a_time", [1, 2**24])
@pytest.mark.parametrize("periodic", [False, True])
def test_is_the_mean_over_all_patterns(periodic: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.descriptors.pattern_characteristic._VALUES_AT_A_TIME", at_a_time)
    slices, frequencies = grey(2, 3, 6, 8), waves(5, 3, 4)
    found = pattern_characteristic(slices, frequencies, periodic=periodic)
    assert found.shape == (2, 2, 5)
    for b, image in enumerate(slices.numpy()):
        wide = np.concatenate([image, image[:, :3]], axis=1)
        wide = np.concatenate([wide, wide[:, :, :3]], axis=2) if periodic else image
        rows, columns = (6, 8) if periodic else (3, 5)
        patterns = np.stack([wide[:, i : i + 4, j : j + 4].ravel() for i in range(rows) for j in range(columns)])
        wanted = np.exp(1j * patterns @ frequencies.flatten(1).numpy().T).mean(axis=0)
        np.testing.assert_allclose(found[b, 0] + 1j * found[b, 1], wanted, atol=1e-12)


def test_uniform_medium_in_closed_form() -> None:
    frequencies = waves(16, 1, 5)
    real, imaginary = pattern_characteristic(torch.full((1, 1, 9, 7), 0.3), frequencies)[0].double()
    phases = 0.3 * frequencies.sum(dim=(1, 2, 3))
    torch.testing.assert_close(real, phases.cos(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(imaginary, phases.sin(), rtol=1e-5, atol=1e-6)


def test_independent_pixels_in_closed_form() -> None:
    """The characteristic function of independent pixels is the product of theirs, 1 - f + f exp(i w)."""
    fraction, frequencies = 0.3, waves(32, 1, 4)
    medium = (grey(1, 1, 600, 600) < fraction).double()
    found = pattern_characteristic(medium, frequencies, periodic=True)[0]
    wanted = (1 - fraction + fraction * torch.exp(1j * frequencies.flatten(1))).prod(dim=1)
    assert float((torch.complex(found[0], found[1]) - wanted).abs().max()) < 5 / 600


def test_tells_sharp_corners_from_blunt_ones_where_the_phase_fraction_is_one() -> None:
    """Squares of 6 pixels, and the same with a pixel moved from each corner to the middle of a side."""
    sharp = torch.zeros(12, 12)
    sharp[3:9, 3:9] = 1
    blunt = sharp.clone()
    for corner, place in (((3, 3), (2, 5)), ((3, 8), (9, 6)), ((8, 3), (5, 2)), ((8, 8), (6, 9))):
        blunt[corner], blunt[place] = 0, 1
    assert blunt.sum() == sharp.sum()
    frequencies = waves(64, 1, 7)
    one, other, moved = (
        pattern_characteristic(m[None, None], frequencies, periodic=True) for m in (sharp, blunt, sharp.roll((2, 5), (0, 1)))
    )
    torch.testing.assert_close(one, moved)
    assert float((one - other).norm()) > 0.05 * float(one.norm())


@pytest.mark.parametrize("at_a_time", [1, 2**24])
@pytest.mark.parametrize("periodic", [False, True])
def test_gradcheck(periodic: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.descriptors.pattern_characteristic._VALUES_AT_A_TIME", at_a_time)
    descriptor = PatternCharacteristic(frequencies=waves(4, 2, 3), periodic=periodic)
    assert torch.autograd.gradcheck(descriptor, grey(3, 2, 5, 6).requires_grad_())


def test_nothing_but_the_slices_is_kept_for_the_gradient() -> None:
    kept: list[int] = []
    slices, frequencies = grey(4, 1, 20, 30).requires_grad_(), waves(50, 1, 5)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        pattern_characteristic(slices, frequencies)
    assert sum(kept) == slices.numel() + frequencies.numel()


def test_module_equals_function() -> None:
    slices, frequencies = grey(2, 3, 9, 8), waves(6, 3, 5)
    wanted = pattern_characteristic(slices, frequencies, periodic=True)
    assert torch.equal(PatternCharacteristic(frequencies=frequencies, periodic=True)(slices), wanted)


def test_frequencies_fill_windows_of_all_sizes_and_places() -> None:
    frequencies = waves(4000, 2, 7)
    lengths = frequencies.flatten(1).norm(dim=1)
    assert 2 <= float(lengths.min()) < 2.1
    assert 7.9 < float(lengths.max()) <= 8 + 1e-5
    assert float(lengths.mean()) == pytest.approx(5, abs=0.1)
    seen = set()
    for used in (frequencies != 0).any(dim=1):
        rows, columns = used.any(dim=1).nonzero().flatten(), used.any(dim=0).nonzero().flatten()
        height, width = (int(place[-1] - place[0]) + 1 for place in (rows, columns))
        assert height == width
        assert int(used.sum()) == height * width
        seen.add((height, int(rows[0]), int(columns[0])))
    assert seen == {(n, i, j) for n in range(3, 8) for i in range(8 - n) for j in range(8 - n)}


def test_frequencies_have_no_preferred_direction() -> None:
    """In windows of one size, components are uncorrelated and of equal variance: E w^2 = E length^2 / dimension."""
    flat = waves(20000, 1, 3).flatten(1)
    mean_square = (2**2 + 2 * 8 + 8**2) / 3
    np.testing.assert_allclose(
        flat.T @ flat / len(flat), mean_square / 9 * np.eye(9), atol=5 * mean_square / math.sqrt(20000) / 3
    )


def test_same_state_same_frequencies_and_small_patterns() -> None:
    assert torch.equal(waves(5, 1, 4, seed=3), waves(5, 1, 4, seed=3))
    assert not torch.equal(waves(5, 1, 4, seed=3), waves(5, 1, 4, seed=4))
    assert waves(5, 1, 2).shape == (5, 1, 2, 2)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"frequencies: expected 2 channels as in the slices, got 1"):
        pattern_characteristic(grey(1, 2, 9, 9), waves(3, 1, 4))
    with pytest.raises(InputError, match=r"frequencies: expected patterns of at most 5 pixels for these slices, got 6"):
        pattern_characteristic(grey(1, 1, 9, 5), waves(3, 1, 6))
    for settings, message in (((0, 1, 3), "count"), ((4, 0, 3), "channels"), ((4, 1, 0), "size")):
        with pytest.raises(InputError, match=f"{message}: expected a number greater than 0, got 0"):
            pattern_frequencies(*settings, torch.Generator())
