from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.generation.blocks import Block, BlockScores, Triple, grid
from mcrgen.generation.calibration import calibrate, calibration_scores, classify
from mcrgen.generation.fields import average, constant, ramp
from mcrgen.generation.generator import Generator
from mcrgen.generation.local_fraction import LocalFraction, fraction_offsets
from mcrgen.generation.noise import Noise, gaussian_noise
from mcrgen.networks.swnn import SWNN


def labels_of(scores: BlockScores, shape: Triple, block_size: int, phase: int = 1) -> np.ndarray:
    volume = np.full(shape, 255, np.uint8)
    for block in grid(shape, block_size):
        volume[block.slices] = classify(scores(block), (0.0,), phase).numpy()
    return volume


def white(block: Block) -> torch.Tensor:
    """Scores without any correlation, of mean 2 and standard deviation 3."""
    return 2 + 3 * torch.from_numpy(gaussian_noise(4, block.start, block.shape, 1)).permute(3, 0, 1, 2)


def network_scores(g: Generator) -> BlockScores:
    return lambda block: g.scores(Noise(5), block.start, block.shape)


@pytest.fixture(scope="module")
def generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = SWNN(out_channels=1, channels=6, layers=3, noise_channels=3).eval()
    return Generator(net.folded(torch.float32), net.halo, 3)


def test_offsets_are_the_negative_order_statistics() -> None:
    sample = np.random.default_rng(0).normal(size=1001).astype(np.float32)
    np.testing.assert_array_equal(fraction_offsets(sample), -np.sort(sample)[::-1])


@pytest.mark.parametrize("count", [(1 << 20) + 1, 3_000_000])
def test_offsets_of_a_large_sample_are_its_quantiles(count: int) -> None:
    sample = np.random.default_rng(0).exponential(size=count).astype(np.float32)
    offsets = fraction_offsets(sample)
    assert len(offsets) == 1 << 20
    assert (np.diff(offsets) >= 0).all()
    shares = (np.arange(1 << 20) + 0.5) / (1 << 20)
    where = [0, 1, 1000, 1 << 19, (1 << 20) - 1]
    quantiles = np.quantile(sample.astype(np.float64), 1 - shares[where], method="hazen")
    np.testing.assert_allclose(-offsets[where], quantiles, rtol=1e-5)


@pytest.mark.parametrize("wanted", [1e-6, 0.003, 0.5, 0.97])
def test_a_constant_field_is_the_quantile_of_the_sample(wanted: float) -> None:
    sample = np.random.default_rng(0).normal(size=(1, 1, 100, 1000)).astype(np.float32)
    shifted = LocalFraction(lambda block: torch.from_numpy(sample), fraction_offsets(sample.ravel()), constant(wanted))
    found = classify(shifted(Block((0, 0, 0), sample.shape[1:])), (0.0,), 1)
    assert int(found.sum()) == round(wanted * 100_000)


@pytest.mark.parametrize("phase", [0, 1])
def test_the_local_fraction_of_independent_scores_is_the_field(phase: int) -> None:
    shape = (40, 60, 50)
    field = ramp(0.02, 0.9, 0, shape[0])
    sample = white(Block((1000, 0, 0), (1100, 100, 100))).numpy().ravel()
    inside = labels_of(LocalFraction(white, fraction_offsets(sample), field), shape, 17, phase) == phase
    wanted = field((0, 0, 0), (40, 1, 1)).ravel().astype(np.float64)
    deviation = (inside.mean(axis=(1, 2)) - wanted) / np.sqrt(wanted * (1 - wanted) / 3000)
    assert np.abs(deviation).max() < 4.5
    assert 0.7 < np.sqrt((deviation**2).mean()) < 1.4
    assert inside.mean() == pytest.approx(average(field, grid(shape, 13)), abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_constant_field_is_the_ordinary_calibration(dtype: torch.dtype) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = SWNN(out_channels=1, channels=6, layers=2, noise_channels=3).eval()
    g = Generator(net.folded(dtype), net.halo, 3)
    calibration = calibrate(g, (0.7, 0.3), phase=1, precision="any", blocks=2, block_size=20)
    sample = calibration_scores(g, blocks=2, block_size=20)
    block = Block((0, 0, 0), (16, 17, 18))
    shifted = LocalFraction(network_scores(g), fraction_offsets(sample[0]), constant(0.3))(block)
    assert shifted.dtype == torch.float32
    plain = network_scores(g)(block)
    differ = classify(shifted, (0.0,), 1) != classify(plain.float(), calibration.bias, 1)
    assert int(differ.sum()) <= 1


def test_blocks_of_a_graded_volume_equal_one_shot(generator: Generator) -> None:
    shape = (24, 15, 18)
    offsets = fraction_offsets(calibration_scores(generator, blocks=1, block_size=20)[0])
    shifted = LocalFraction(network_scores(generator), offsets, ramp(0.2, 0.6, 0, 24))
    whole = labels_of(shifted, shape, 100)
    for block_size in (7, 10):
        np.testing.assert_array_equal(labels_of(shifted, shape, block_size), whole)


def test_a_ramp_gives_planes_their_fractions(generator: Generator) -> None:
    """Sampling error from the scatter of quarters of ten planes, which are far wider than the network reaches."""
    shape, field = (60, 48, 48), ramp(0.2, 0.6, 0, 60)
    sample = calibration_scores(generator, blocks=2, block_size=40)[0]
    shifted = LocalFraction(network_scores(generator), fraction_offsets(sample), field)
    labels = labels_of(shifted, shape, 30)
    wanted = field((0, 0, 0), (60, 1, 1)).ravel()
    parts = labels.reshape(6, 10, 2, 24, 2, 24).mean(axis=(1, 3, 5)).reshape(6, 4)  # ten planes, four quarters
    error = parts.std(axis=1, ddof=1).mean() / 2
    assert error < 0.005
    assert np.abs(parts.mean(axis=1) - wanted.reshape(6, 10).mean(axis=1)).max() < 4.5 * error
    assert np.abs(labels.mean(axis=(1, 2)) - wanted).max() < 0.05
