from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcrgen.generation.blocks import Triple
from mcrgen.generation.calibration import calibrate, reestimate_batchnorm
from mcrgen.generation.conditional import ConditionTable, generator_at, generator_over, measure_table
from mcrgen.generation.generator import Generator
from mcrgen.generation.noise import Noise
from mcrgen.networks.swnn import SWNN

CUBES = {"batchnorm": (2, 12), "threshold": (3, 16)}


def network() -> SWNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SWNN(out_channels=1, channels=6, layers=2, noise_channels=2, condition_range=(0.1, 0.5))
        torch.nn.init.normal_(net.conditioning.out.weight, std=0.05)
    return net


def table(net: SWNN, fractions: list[float], phase: int = 1, **cubes: tuple[int, int]) -> ConditionTable:
    return measure_table(net, fractions, phase=phase, dtype=torch.float32, precision="fp32", **(CUBES | cubes))


def ramp(origin: Triple, shape: Triple) -> NDArray[np.float32]:
    """From 0.1 at z = 0 to 0.5 at z = 40."""
    values = np.clip(0.1 + 0.01 * (origin[0] + np.arange(shape[0])), 0.1, 0.5)
    return np.broadcast_to(values[:, None, None], shape).astype(np.float32)


@pytest.mark.parametrize("phase", [0, 1])
def test_table_holds_what_a_calibration_at_each_fraction_gives(phase: int) -> None:
    net = network()
    measured = table(net, [0.1, 0.3, 0.5], phase)
    reestimate_batchnorm(net, net.halo, 2, *CUBES["batchnorm"], condition=0.3)
    torch.testing.assert_close(measured.statistics[1], net.statistics)
    targets = (0.7, 0.3) if phase else (0.3, 0.7)
    generator = Generator(net.folded(torch.float32, 0.3), net.halo, 2)
    expected = calibrate(generator, targets, phase=phase, precision="fp32", blocks=3, block_size=16)
    assert measured.thresholds[1] == -expected.bias[0]


def test_statistics_differ_with_the_fraction() -> None:
    measured = table(network(), [0.1, 0.5])
    assert not torch.allclose(measured.statistics[0], measured.statistics[1], rtol=0.05)


def test_table_goes_through_its_knots_and_round_trips() -> None:
    measured = table(network(), [0.1, 0.2, 0.4, 0.5])
    again = ConditionTable.from_plain(measured.plain())
    torch.testing.assert_close(again.statistics_at(measured.fractions), measured.statistics)
    torch.testing.assert_close(again.threshold_at(measured.fractions), torch.tensor(measured.thresholds))


def test_interpolation_of_what_is_linear_is_exact() -> None:
    """Means linear, variances exponential, thresholds linear in the fraction."""
    fractions = (0.1, 0.2, 0.35, 0.5)
    values = torch.tensor(fractions, dtype=torch.float64)
    statistics = torch.stack([3 * values - 1, torch.exp(2 * values)], dim=1)[:, None, :, None].float()
    made = ConditionTable(fractions, statistics, tuple((5 * values).tolist()))
    between = [0.13, 0.27, 0.49]
    x = torch.tensor(between, dtype=torch.float64)
    found = made.statistics_at(between)
    torch.testing.assert_close(found[:, 0, 0, 0].double(), 3 * x - 1, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[:, 0, 1, 0].double(), torch.exp(2 * x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.threshold_at(between).double(), 5 * x, rtol=1e-5, atol=1e-5)


def test_generator_at_a_knot_makes_its_fraction_on_the_calibration_volumes() -> None:
    net = network()
    measured = table(net, [0.1, 0.3, 0.5])
    for fraction, threshold in zip(measured.fractions, measured.thresholds, strict=True):
        generator = generator_at(net, measured, fraction, torch.float32)
        cubes = [generator.scores(Noise(-1), (i * 20, 0, 0), (16, 16, 16)) for i in range(3)]
        assert float((torch.stack(cubes) > threshold).float().mean()) == pytest.approx(fraction, abs=1e-3)


def test_a_constant_field_is_the_generator_of_that_fraction() -> None:
    net = network()
    measured = table(net, [0.1, 0.3, 0.5])
    over = generator_over(net, measured, lambda origin, shape: np.full(shape, 0.3, np.float32), torch.float32)
    at = generator_at(net, measured, 0.3, torch.float32)
    expected = at.scores(Noise(5), (3, -2, 7), (9, 8, 11)) - measured.thresholds[1]
    torch.testing.assert_close(over.scores(Noise(5), (3, -2, 7), (9, 8, 11)), expected, rtol=1e-3, atol=1e-4)


def test_a_field_is_cut_at_any_place() -> None:
    net = network()
    over = generator_over(net, table(net, [0.1, 0.3, 0.5]), ramp, torch.float32)
    whole = over.scores(Noise(1), (0, 0, 0), (40, 10, 9))
    part = over.scores(Noise(1), (11, 2, 3), (13, 6, 5))
    torch.testing.assert_close(part, whole[:, 11:24, 2:8, 3:8], rtol=1e-4, atol=1e-5)


def test_the_local_fraction_follows_the_field() -> None:
    net = network()
    measured = table(net, [0.1, 0.2, 0.3, 0.4, 0.5], batchnorm=(2, 32), threshold=(3, 48))
    over = generator_over(net, measured, ramp, torch.float32)
    phase = over.scores(Noise(2), (0, 0, 0), (40, 96, 96))[0] > 0
    achieved = phase.float().mean(dim=(1, 2))
    expected = torch.from_numpy(ramp((0, 0, 0), (40, 1, 1))[:, 0, 0].copy())
    assert float((achieved - expected).abs().max()) < 0.04
    assert float((achieved - expected).mean().abs()) < 0.01
