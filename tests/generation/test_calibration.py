from __future__ import annotations

import numpy as np
import pytest
import torch

from mcrgen.generation.calibration import (
    CALIBRATION_SEED,
    calibrate,
    calibration_scores,
    classify,
    reestimate_batchnorm,
    rescale_fractions,
    solve_bias,
)
from mcrgen.generation.generator import Generator, noise_tensor
from mcrgen.generation.noise import Noise
from mcrgen.networks.swnn import SWNN


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_one_score_is_a_quantile(share: float) -> None:
    scores = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    bias = solve_bias(scores, [share])
    assert (scores[0] + bias[0] > 0).sum() == round(1000 * share)


@pytest.mark.parametrize("fractions", [(0.5, 0.3, 0.2), (0.05, 0.8, 0.15), (0.1, 0.2, 0.3, 0.4)])
def test_many_scores_reach_every_fraction(fractions: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    scores = (rng.standard_normal((len(fractions), 20000)) * 2 + rng.standard_normal((len(fractions), 1))).astype(np.float32)
    labels = (scores + np.array(solve_bias(scores, fractions))[:, None]).argmax(axis=0)
    np.testing.assert_allclose(np.bincount(labels) / labels.size, fractions, atol=3e-4)


@pytest.mark.parametrize("phase", [0, 1])
def test_classify_two_phases(phase: int) -> None:
    labels = classify(torch.tensor([[[[-1.0, 0.2, 3.0]]]]), (-0.5,), phase)
    assert labels.dtype == torch.uint8
    assert labels.flatten().tolist() == ([0, 0, 1] if phase == 1 else [1, 1, 0])


def test_classify_three_phases() -> None:
    scores = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, -1.0]])[:, None, None, :]
    assert classify(scores, (0.0, 0.0, 0.0), 2).flatten().tolist() == [1, 0, 0]
    assert classify(scores, (0.0, 0.0, 2.0), 2).flatten().tolist() == [2, 2, 2]


def test_batchnorm_statistics_are_those_of_the_volumes() -> None:
    torch.manual_seed(0)
    net = SWNN(out_channels=1, channels=5, layers=3, noise_channels=2).train()
    reestimate_batchnorm(net, net.halo, 2, blocks=3, block_size=10)
    assert net.training
    assert all(m.momentum == 0.1 for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d))
    inputs: list[torch.Tensor] = []
    for block in net.blocks:
        block.norm.register_forward_hook(lambda module, args, out: inputs.append(out))
    halo, edge = net.halo, 10 + 2 * net.halo
    corners = [(i * edge - halo, -halo, -halo) for i in range(3)]
    noise = [noise_tensor(Noise(CALIBRATION_SEED), corner, (edge,) * 3, 2, torch.zeros(())) for corner in corners]
    net.eval()
    with torch.no_grad():
        net(torch.cat(noise))
    for normalised in inputs[1:]:  # the first block has no normalisation; weight is 1 and bias 0
        # in-place leaky ReLU follows, so undo it
        values = torch.where(normalised < 0, normalised / 0.01, normalised)
        torch.testing.assert_close(values.mean(dim=(0, 2, 3, 4)), torch.zeros(5), atol=1e-3, rtol=0)
        torch.testing.assert_close(values.var(dim=(0, 2, 3, 4)), torch.ones(5), atol=1e-3, rtol=0)


def test_calibrated_fraction_on_the_calibration_volumes() -> None:
    torch.manual_seed(0)
    net = SWNN(out_channels=1, channels=5, layers=2, noise_channels=2).eval()
    generator = Generator(net.folded(torch.float32), net.halo, 2)
    calibration = calibrate(generator, (0.8, 0.2), phase=1, precision="fp32", blocks=2, block_size=12)
    noise = Noise(CALIBRATION_SEED)
    opposite = Noise(CALIBRATION_SEED, mask=lambda origin, shape: np.full(shape, -1.0, np.float32))
    labels = [classify(generator.scores(n, (0, 0, 0), (12,) * 3), calibration.bias, 1) for n in (noise, opposite)]
    assert float(torch.stack(labels).float().mean()) == pytest.approx(0.2, abs=1 / 3456)
    assert calibration.voxels == 2 * 12**3
    assert calibration.achieved == pytest.approx((0.8, 0.2), abs=1 / 3456)


def test_opposite_noise_takes_the_chance_of_few_cubes_out() -> None:
    """Scores that are odd in the noise have the median zero, which independent cubes would miss by far."""
    torch.manual_seed(0)
    net = SWNN(out_channels=1, channels=4, layers=4, noise_channels=2).eval()
    linear = Generator(net.folded(torch.float32), net.halo, 2)
    for layer in linear.network.convolutions:  # means over long distances, so that cubes differ
        torch.nn.init.constant_(layer.weight, 0.1)
        torch.nn.init.zeros_(layer.bias)
    linear.network.slope = 1.0
    torch.nn.init.zeros_(linear.network.head.bias)
    scores = calibration_scores(linear, blocks=4, block_size=12)[0].reshape(4, -1)
    torch.testing.assert_close(torch.from_numpy(scores[1::2]), torch.from_numpy(-scores[::2]))
    assert not np.array_equal(scores[0], scores[2])
    first, second = np.median(scores[0]), np.median(scores[2])
    assert min(abs(first), abs(second)) > 0.02 * scores.std()
    calibration = calibrate(linear, (0.5, 0.5), phase=1, precision="fp32", blocks=4, block_size=12)
    assert calibration.bias[0] == pytest.approx(0.0, abs=1e-3 * float(scores.std()))


def test_an_odd_number_of_cubes() -> None:
    torch.manual_seed(0)
    net = SWNN(out_channels=3, channels=4, layers=2, noise_channels=2).eval()
    generator = Generator(net.folded(torch.float32), net.halo, 2)
    scores = calibration_scores(generator, blocks=3, block_size=6).reshape(3, 3, 6, 6, 6)
    last = generator.scores(Noise(CALIBRATION_SEED), (6 + 2 * net.halo, 0, 0), (6, 6, 6))
    torch.testing.assert_close(torch.from_numpy(scores[:, 2]), last)


def test_rescaled_fractions_keep_the_proportions_of_the_rest() -> None:
    assert rescale_fractions((0.5, 0.3, 0.2), 0, 0.6) == pytest.approx((0.6, 0.24, 0.16))
