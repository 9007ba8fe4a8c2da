from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, special

from mcrgen.generation.blocks import Block, BlockScores, Triple, grid
from mcrgen.generation.generator import Generator
from mcrgen.generation.labels import BlockLabels, classified
from mcrgen.generation.noise import Noise, gaussian_noise
from mcrgen.generation.regions import GeneratedRegion, Region, UniformRegion, regions_labels
from mcrgen.networks.swnn import SWNN

SHAPE = (19, 22, 25)
WHOLE = Block((0, 0, 0), SHAPE)
PAD = 8

Volume = NDArray[np.uint8]


def field(seed: int, channels: int = 1, scale: float = 1.0) -> BlockScores:
    def scores(block: Block) -> torch.Tensor:
        return scale * torch.from_numpy(gaussian_noise(seed, block.start, block.shape, channels)).permute(3, 0, 1, 2)

    return scores


def two_phase(seed: int, bias: float = 0.0, phase: int = 1, labels: Triple = (0, 1), scale: float = 1.0) -> GeneratedRegion:
    return GeneratedRegion(field(seed, scale=scale), (bias,), phase, labels, scale)


def three_phase(seed: int) -> GeneratedRegion:
    return GeneratedRegion(field(seed, 3), (0.3, -0.1, 0.0), 1, (4, 2, 7), 1.0)


class Map:
    """A stored region map whose voxel ``(PAD, PAD, PAD)`` is the origin."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def __call__(self, origin: Triple, shape: Triple) -> Volume:
        part = self.volume[tuple(slice(o + PAD, o + PAD + n) for o, n in zip(origin, shape, strict=True))]
        assert part.shape == shape
        return part

    @property
    def core(self) -> Volume:
        return self.volume[(slice(PAD, -PAD),) * 3]


def blobs(count: int, seed: int = 0) -> Map:
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal([n + 2 * PAD for n in SHAPE]), 3.0) for _ in range(count)]
    return Map(np.argmax(fields, axis=0).astype(np.uint8))


def layered(origin: Triple, shape: Triple) -> Volume:
    """Region 1 from x = 12 on."""
    return np.ascontiguousarray(np.broadcast_to(np.arange(origin[2], origin[2] + shape[2]) >= 12, shape)).astype(np.uint8)


def by_blocks(labels: BlockLabels, block_size: int) -> Volume:
    out = np.full(SHAPE, 255, np.uint8)
    for block in grid(SHAPE, block_size):
        out[block.slices] = labels(block)
    return out


def alone(region: Region) -> Volume:
    if isinstance(region, UniformRegion):
        return np.full(SHAPE, region.label, np.uint8)
    return np.array(region.labels, np.uint8)[classified(region.scores, region.bias, region.phase)(WHOLE)]


MIXED: list[Region] = [two_phase(1, -0.5), UniformRegion(9), two_phase(2, 0.2, phase=0, labels=(3, 1)), three_phase(3)]


def test_every_voxel_is_of_its_region() -> None:
    where = blobs(4)
    found = regions_labels(MIXED, where, transition=0)(WHOLE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.choose(where.core, [alone(region) for region in MIXED]))


@pytest.mark.parametrize("transition", [0, 5, 6])
@pytest.mark.parametrize("block_size", [7, 10])
def test_blocks_equal_one_shot(block_size: int, transition: float) -> None:
    regions = [*MIXED, two_phase(5, 0.1, phase=0)]
    labels = regions_labels(regions, blobs(5), transition=transition)
    np.testing.assert_array_equal(by_blocks(labels, block_size), labels(WHOLE))


@pytest.mark.parametrize("transition", [0, 4])
def test_blocks_of_networks_equal_one_shot(transition: float) -> None:
    def network(seed: int) -> GeneratedRegion:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = SWNN(out_channels=1, channels=5, layers=2, noise_channels=2).eval()
        g = Generator(net.folded(torch.float32), net.halo, 2)
        sample = g.scores(Noise(9), (0, 0, 0), SHAPE)
        bias, scale = -float(sample.mean()), float(sample.std())
        return GeneratedRegion(lambda b: g.scores(Noise(0), b.start, b.shape), (bias,), 1, (0, 1), scale)

    labels = regions_labels([network(0), network(1), UniformRegion(2)], blobs(3), transition=transition)
    whole = labels(WHOLE)
    assert set(np.unique(whole)) == {0, 1, 2}
    assert (by_blocks(labels, 8) != whole).mean() < 1e-3


def test_generators_run_on_the_bounding_box_of_their_voxels_only() -> None:
    asked: list[tuple[int, Block]] = []

    def watched(index: int) -> GeneratedRegion:
        inner = field(index)

        def scores(block: Block) -> torch.Tensor:
            asked.append((index, block))
            return inner(block)

        return GeneratedRegion(scores, (0.0,), 1, (0, 1), 1.0)

    where = np.zeros([n + 2 * PAD for n in SHAPE], np.uint8)
    where[PAD + 3 : PAD + 6, PAD + 4, PAD + 7 : PAD + 9] = 1
    where[PAD + 15 :] = 2
    regions = [watched(0), watched(1), watched(2), watched(3)]
    regions_labels(regions, Map(where), transition=0)(Block((0, 0, 0), (10, 12, 14)))
    assert asked == [(0, Block((0, 0, 0), (10, 12, 14))), (1, Block((3, 4, 7), (6, 5, 9)))]
    asked.clear()
    regions_labels(regions, Map(where), transition=3)(Block((2, 0, 5), (10, 12, 14)))
    assert asked == [(0, Block((2, 0, 5), (10, 12, 14))), (1, Block((2, 3, 6), (7, 6, 10)))]
    asked.clear()
    regions_labels([UniformRegion(3), *regions[1:]], Map(where), transition=3)(Block((0, 0, 0), (10, 12, 14)))
    assert asked == [(1, Block((3, 4, 7), (6, 5, 9)))]


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("transition", [0, 3, 4, 5.5])
def test_one_generator_in_all_regions_is_that_generator(transition: float, phase: int) -> None:
    region = two_phase(4, 0.25, phase, (5, 2), scale=3.7)
    tied = replace(region, scores=lambda b: (4.0 * region.scores(b)).round() / 4.0)  # many scores equal minus the bias
    for one in (region, tied):
        np.testing.assert_array_equal(regions_labels([one] * 3, blobs(3), transition=transition)(WHOLE), alone(one))


def test_one_generator_of_three_phases_in_all_regions() -> None:
    found = regions_labels([three_phase(4)] * 3, blobs(3), transition=5)(WHOLE)
    assert (found != alone(three_phase(4))).mean() < 1e-3


@pytest.mark.parametrize("transition", [2, 5, 6])
def test_far_from_boundaries_the_generators_are_pure(transition: int) -> None:
    where = blobs(3)
    regions = [two_phase(1, -0.5), two_phase(2, 0.4, scale=20.0), two_phase(3)]
    found = regions_labels(regions, where, transition=transition)(WHOLE)
    wide = where.volume
    size = transition + 1
    uniform = ndimage.maximum_filter(wide, size + 1 - size % 2) == ndimage.minimum_filter(wide, size + 1 - size % 2)
    far = uniform[(slice(PAD, -PAD),) * 3]
    pure = np.choose(where.core, [alone(region) for region in regions])
    assert far.any()
    np.testing.assert_array_equal(found[far], pure[far])
    assert (found != pure)[~far].mean() > 0.01


def test_the_transition_is_the_weighted_mean_of_standardised_scores() -> None:
    where, width = blobs(3), 5
    regions = [two_phase(1, -0.5), two_phase(2, 0.4, phase=0, scale=20.0), two_phase(3)]
    total = np.zeros(SHAPE)
    for index, region in enumerate(regions):
        weight = ndimage.uniform_filter((where.volume == index).astype(float), width)[(slice(PAD, -PAD),) * 3]
        biased = (region.scores(WHOLE)[0].numpy().astype(float) + region.bias[0]) / region.scale
        total += weight * biased * (1 if region.phase == 1 else -1)
    found = regions_labels(regions, where, transition=width)(WHOLE)
    clear = np.abs(total) > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], (total > 0)[clear])


@pytest.mark.parametrize("transition", [1, 2, 3, 6, 7, 4.5])
def test_weights_are_a_straight_ramp_across_a_plane(transition: float) -> None:
    # constant scores -1 and c change sign where the ramp w(x) of region 1 is 1 / (1 + c)
    middles = np.arange(SHAPE[2]) - 12 + 0.5
    ramp = np.clip(0.5 + middles / transition, 0.0, 1.0)
    for c in (0.1, 0.45, 1.7, 7.0):
        regions = [
            GeneratedRegion(lambda b, v=value: torch.full((1, *b.shape), v), (0.0,), 1, (0, 1), 1.0) for value in (-1.0, c)
        ]
        found = regions_labels(regions, layered, transition=transition)(WHOLE)
        np.testing.assert_array_equal(found, np.broadcast_to(ramp > 1.0 / (1.0 + c), SHAPE))


@pytest.mark.parametrize("transition", [0, 3, 4])
def test_exchange_of_regions_and_mirrors(transition: float) -> None:
    where, first, second = blobs(2), two_phase(1, -0.5), two_phase(2, 0.4, scale=5.0)
    found = regions_labels([first, second], where, transition=transition)(WHOLE)
    exchanged = regions_labels([second, first], Map(1 - where.volume), transition=transition)(WHOLE)
    np.testing.assert_array_equal(exchanged, found)

    def mirrored(region: GeneratedRegion) -> GeneratedRegion:
        def scores(block: Block) -> torch.Tensor:
            start, stop = (SHAPE[2] - block.stop[2], SHAPE[2] - block.start[2])
            return region.scores(Block((*block.start[:2], start), (*block.stop[:2], stop))).flip(3)

        return replace(region, scores=scores)

    turned = regions_labels([mirrored(first), mirrored(second)], Map(where.volume[:, :, ::-1].copy()), transition=transition)
    np.testing.assert_array_equal(turned(WHOLE), found[:, :, ::-1])


def test_only_equal_labels_are_mixed() -> None:
    where = blobs(3)
    regions = [two_phase(1, -0.5), two_phase(2, 0.4, labels=(0, 2)), UniformRegion(5)]
    pure = np.choose(where.core, [alone(region) for region in regions])
    np.testing.assert_array_equal(regions_labels(regions, where, transition=5)(WHOLE), pure)


def test_fraction_of_a_rare_phase_in_the_middle_of_a_transition() -> None:
    # two independent standard normal scores, halved and added, have the variance 1/2
    shape, bias = (120, 120, 1), float(special.ndtri(0.2))
    regions = [two_phase(1, bias), two_phase(2, bias)]

    def checked(origin: Triple, shape: Triple) -> Volume:
        z, y, x = (np.arange(o, o + n) for o, n in zip(origin, shape, strict=True))
        return ((z[:, None, None] + y[:, None] + x) % 2).astype(np.uint8)

    found = regions_labels(regions, checked, transition=6)(Block((0, 0, 0), shape))
    expected = float(special.ndtr(bias * np.sqrt(2.0)))
    assert found.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / found.size))
