from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.specific_surface import specific_surface
from mcrgen.errors import InputError
from mcrgen.generation.blocks import Block, grid
from mcrgen.generation.calibration import classify
from mcrgen.generation.labels import BlockLabels
from mcrgen.generation.smoothing import fraction_preserving_bias, sample_blocks, smoothed

SHAPE = (21, 26, 33)
WHOLE = Block((0, 0, 0), SHAPE)
PAD = 12

Volume = NDArray[np.uint8]


def window(volume: Volume) -> BlockLabels:
    """A stored volume whose voxel ``(PAD, PAD, PAD)`` is the origin; blocks must lie in it."""

    def labels(block: Block) -> Volume:
        moved = block.moved((PAD, PAD, PAD))
        assert min(moved.start) >= 0
        part = volume[moved.slices]
        assert part.shape == block.shape
        return part

    return labels


def medium(fractions: tuple[float, ...], correlation: float = 1.0) -> Volume:
    return gaussian_level_cut(tuple(n + 2 * PAD for n in SHAPE), fractions, correlation, seed=2)


def smooth(labels: BlockLabels, phases: int, phase: int, sigma: float, block_size: int = 100) -> Volume:
    scores = smoothed(labels, phases=phases, phase=phase, sigma=sigma)
    blocks = list(grid(SHAPE, block_size))
    bias = fraction_preserving_bias(labels, scores, blocks, phases=phases, phase=phase)
    out = np.full(SHAPE, 255, np.uint8)
    for block in blocks:
        out[block.slices] = classify(scores(block), bias, phase).numpy()
    return out


def fractions_of(labels: Volume, phases: int) -> NDArray[np.float64]:
    return np.bincount(labels.ravel(), minlength=phases) / labels.size


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.3])
@pytest.mark.parametrize(("phases", "phase", "channels"), [(2, 0, [0]), (2, 1, [1]), (3, 2, [0, 1, 2])])
def test_scores_are_those_of_scipy(phases: int, phase: int, channels: list[int], sigma: float) -> None:
    volume = medium((0.5, 0.3, 0.2)[:phases] if phases == 3 else (0.6, 0.4))
    found = smoothed(window(volume), phases=phases, phase=phase, sigma=sigma)(WHOLE)
    assert found.dtype == torch.float32
    inner = (slice(PAD, -PAD),) * 3
    expected = [ndimage.gaussian_filter((volume == c).astype(float), sigma)[inner] for c in channels]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("correlation", [0.5, 2.0])
@pytest.mark.parametrize(
    ("fractions", "phase"), [((0.7, 0.3), 1), ((0.7, 0.3), 0), ((0.04, 0.96), 0), ((0.5, 0.3, 0.2), 1), ((0.06, 0.9, 0.04), 0)]
)
def test_fractions_are_kept(fractions: tuple[float, ...], phase: int, correlation: float, sigma: float) -> None:
    labels = window(medium(fractions, correlation))
    before, after = labels(WHOLE), smooth(labels, len(fractions), phase, sigma)
    assert np.abs(fractions_of(after, len(fractions)) - fractions_of(before, len(fractions))).max() < 1e-3


@pytest.mark.parametrize("sigma", [0.05, 0.12, 0.3])
@pytest.mark.parametrize(("fractions", "phase"), [((0.7, 0.3), 1), ((0.7, 0.3), 0), ((0.5, 0.3, 0.2), 1)])
def test_a_narrow_kernel_changes_nothing(fractions: tuple[float, ...], phase: int, sigma: float) -> None:
    labels = window(medium(fractions))
    np.testing.assert_array_equal(smooth(labels, len(fractions), phase, sigma), labels(WHOLE))


@pytest.mark.parametrize("phase", [0, 1])
def test_the_threshold_lies_halfway_between_the_values_it_parts(phase: int) -> None:
    labels = window(medium((0.7, 0.3)))
    scores = smoothed(labels, phases=2, phase=phase, sigma=0.1)
    assert fraction_preserving_bias(labels, scores, [WHOLE], phases=2, phase=phase) == (-0.5,)


def layers(pattern: list[int]) -> BlockLabels:
    def labels(block: Block) -> Volume:
        z = np.array(pattern, np.uint8)[np.arange(block.start[0], block.stop[0]) % len(pattern)]
        return np.ascontiguousarray(np.broadcast_to(z[:, None, None], block.shape))

    return labels


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("pattern", [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2]])
def test_ties_of_whole_planes(pattern: list[int], sigma: float) -> None:
    # a plane has one value; sets of whole planes meet the fractions
    labels, phases = layers(pattern), max(pattern) + 1
    np.testing.assert_allclose(fractions_of(smooth(labels, phases, 1, sigma), phases), fractions_of(labels(WHOLE), phases))


@pytest.mark.parametrize("phase", [0, 1])
def test_the_threshold_is_as_near_as_ties_allow(phase: int) -> None:
    # planes that mirror each other have equal values
    labels = layers([1, 0, 0, 0, 1, 0, 0])
    scores = smoothed(labels, phases=2, phase=1, sigma=2.0)
    values, planes = np.unique(scores(Block((0, 0, 0), (7, 1, 1))).numpy().round(5), return_counts=True)
    attainable = np.append(np.cumsum(planes[::-1]), 0) / 7
    best = np.abs(attainable - 2 / 7).min()
    found = fractions_of(smooth(labels, 2, phase, 2.0), 2)[1]
    assert len(values) < 7
    assert abs(found - 2 / 7) == pytest.approx(best)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_a_half_space_stays(axis: int, sigma: float) -> None:
    def labels(block: Block) -> Volume:
        places = np.indices(block.shape)[axis] + block.start[axis]
        return (places >= 9).astype(np.uint8)

    np.testing.assert_array_equal(smooth(labels, 2, 1, sigma), labels(WHOLE))


def test_an_isolated_voxel_disappears_and_a_hole_is_filled() -> None:
    volume = np.zeros(tuple(n + 2 * PAD for n in SHAPE), np.uint8)
    volume[PAD + 10 :] = 1
    volume[PAD + 4, PAD + 7, PAD + 8] = 1
    volume[PAD + 15, PAD + 20, PAD + 20] = 0
    labels = window(volume)
    after = smooth(labels, 2, 1, 1.0)
    assert after[4, 7, 8] == 0
    assert after[15, 20, 20] == 1
    np.testing.assert_array_equal(after, np.indices(SHAPE)[0] >= 10)


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.5, 0.3, 0.2)])
def test_interfaces_shrink_with_the_kernel(fractions: tuple[float, ...]) -> None:
    labels, phases = window(medium(fractions, 0.7)), len(fractions)

    def surface(volume: Volume) -> float:
        return float(sum(specific_surface(torch.from_numpy(volume == c)[None, None].float())[0, 0] for c in range(phases)))

    surfaces = [surface(labels(WHOLE))] + [surface(smooth(labels, phases, 1, sigma)) for sigma in (0.7, 1.0, 2.0)]
    assert surfaces == sorted(surfaces, reverse=True)
    assert surfaces[1] < 0.9 * surfaces[0]


@pytest.mark.parametrize(("fractions", "phase"), [((0.7, 0.3), 0), ((0.5, 0.3, 0.2), 1)])
def test_blocks_equal_one_shot(fractions: tuple[float, ...], phase: int) -> None:
    labels = window(medium(fractions))
    whole = smooth(labels, len(fractions), phase, 1.0)
    for block_size in (8, 13):
        np.testing.assert_array_equal(smooth(labels, len(fractions), phase, 1.0, block_size), whole)


def test_a_threshold_from_a_sample() -> None:
    labels, shape = window(medium((0.7, 0.3), 0.7)), SHAPE
    scores = smoothed(labels, phases=2, phase=1, sigma=1.0)
    bias = [
        fraction_preserving_bias(labels, scores, blocks, phases=2, phase=1)[0]
        for blocks in (sample_blocks(shape, 8, 12, seed=0), list(grid(shape, 8)))
    ]
    assert bias[0] == pytest.approx(bias[1], abs=0.02)


@pytest.mark.parametrize("absent", [0, 1])
def test_a_phase_that_is_absent_stays_so(absent: int) -> None:
    def labels(block: Block) -> Volume:
        return np.full(block.shape, 1 - absent, np.uint8)

    for phase in (0, 1):
        np.testing.assert_array_equal(smooth(labels, 2, phase, 1.0), labels(WHOLE))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_is_checked(sigma: float) -> None:
    with pytest.raises(InputError, match=r"sigma: expected a number greater than 0, got"):
        smoothed(window(medium((0.5, 0.5))), phases=2, phase=1, sigma=sigma)


def test_sampled_blocks_are_some_of_the_grid() -> None:
    shape = (30, 41, 17)
    every = list(grid(shape, 8))
    drawn = sample_blocks(shape, 8, 9, seed=4)
    assert len(set(drawn)) == 9
    assert drawn == [b for b in every if b in drawn]
    assert drawn == sample_blocks(shape, 8, 9, seed=4)
    assert drawn != sample_blocks(shape, 8, 9, seed=5)
    assert sample_blocks(shape, 8, 10**6, seed=4) == every


def test_sampled_blocks_come_from_everywhere() -> None:
    drawn = [b.start[0] // 8 for seed in range(60) for b in sample_blocks((32, 16, 16), 8, 4, seed)]
    counts = np.bincount(drawn, minlength=4)
    assert abs(counts - 60).max() < 5 * np.sqrt(60 * 0.75)
