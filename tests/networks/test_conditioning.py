from __future__ import annotations

import pytest
import torch

from mcrgen.networks.conditioning import Conditioning
from mcrgen.networks.modulated import ModulatedNetwork
from mcrgen.networks.swnn import SWNN

LOW, HIGH = 0.1, 0.3


def network(layers: int = 3, out_channels: int = 1) -> SWNN:
    """A conditional network whose layers differ with the number, and whose running statistics are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SWNN(out_channels=out_channels, channels=6, layers=layers, noise_channels=2, condition_range=(LOW, HIGH))
        torch.nn.init.normal_(net.conditioning.out.weight, std=0.5)
        for _ in range(3):
            net(torch.randn(2, 2, 11, 12, 13) * 2 + 1, condition=0.2)
    return net.eval()


def modulated(net: SWNN, dtype: torch.dtype = torch.float32, levels: int = 5) -> ModulatedNetwork:
    conditions = torch.linspace(LOW, HIGH, levels)
    statistics = torch.stack([net.statistics * (1 + condition) for condition in conditions])
    thresholds = torch.stack([conditions * (c + 1) for c in range(net.out_channels)], dim=1)
    return net.modulated(dtype, conditions, statistics, thresholds)


def at(net: SWNN, condition: float, noise: torch.Tensor) -> torch.Tensor:
    """Scores less threshold of the network folded at a number, with the statistics that :func:`modulated` has there."""
    kept = net.statistics
    net.statistics = kept * (1 + condition)
    scores = net.folded(torch.float32, condition)(noise)
    net.statistics = kept
    return scores - condition * torch.arange(1.0, net.out_channels + 1)[None, :, None, None, None]


def scores(net: ModulatedNetwork, noise: torch.Tensor, numbers: torch.Tensor, planes: int) -> torch.Tensor:
    slabs = zip(noise.split(planes, dim=2), numbers.split(planes), strict=True)
    with torch.inference_mode():
        return torch.cat(list(net.slabs(slabs)), dim=2)


def test_conditioning_starts_as_the_identity() -> None:
    modulation = Conditioning(LOW, HIGH, layers=4, channels=3)(torch.tensor([[LOW, 0.17], [0.2, HIGH]]))
    assert modulation.shape == (2, 2, 4, 2, 3)
    assert torch.equal(modulation[..., 0, :], torch.ones(2, 2, 4, 3))
    assert torch.equal(modulation[..., 1, :], torch.zeros(2, 2, 4, 3))


def test_conditioning_sees_the_range_from_minus_one_to_one() -> None:
    conditioning = Conditioning(LOW, HIGH, layers=2, channels=3)
    torch.nn.init.normal_(conditioning.out.weight)
    for value, scaled in ((LOW, -1.0), (0.2, 0.0), (HIGH, 1.0)):
        hidden = torch.nn.functional.silu(conditioning.hidden.weight[:, 0] * scaled + conditioning.hidden.bias)
        raw = (conditioning.out.weight @ hidden).reshape(2, 2, 3)
        expected = torch.stack([1 + raw[:, 0], raw[:, 1]], dim=1)
        torch.testing.assert_close(conditioning(torch.tensor(value)), expected, rtol=1e-4, atol=1e-5)


def test_every_layer_is_modulated_and_learns() -> None:
    net = network().train()
    net(torch.randn(1, 2, 9, 9, 9), condition=torch.tensor(0.25)).square().sum().backward()
    gradient = net.conditioning.out.weight.grad.reshape(3, 2, 6, -1)
    assert (gradient.abs().amax(dim=(2, 3)) > 0).all()


def test_folding_takes_the_number_in() -> None:
    net, noise = network(), torch.randn(1, 2, 11, 10, 9)
    for condition in (LOW, 0.23):
        torch.testing.assert_close(net.folded(torch.float32, condition)(noise), net(noise, condition=condition))
    assert not torch.allclose(net(noise, condition=LOW), net(noise, condition=HIGH))


def test_statistics_can_be_taken_and_set() -> None:
    net = network()
    kept = net.statistics
    assert kept.shape == (2, 2, 6)
    torch.testing.assert_close(kept[0, 0], net.blocks[1].norm.running_mean)
    torch.testing.assert_close(kept[1, 1], net.blocks[2].norm.running_var)
    net.statistics = kept + 1
    torch.testing.assert_close(net.statistics, kept + 1)


@pytest.mark.parametrize("planes", [16, 5, 3])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_one_number_everywhere_is_the_folded_network(planes: int, out_channels: int) -> None:
    net = network(out_channels=out_channels)
    noise = torch.randn(1, 2, 16, 13, 14)
    for condition in (LOW, 0.2, HIGH):
        found = scores(modulated(net), noise, torch.full((16, 13, 14), condition), planes)
        torch.testing.assert_close(found, at(net, condition, noise), rtol=1e-4, atol=1e-5)


def test_modulating_leaves_the_statistics() -> None:
    net = network()
    kept = net.statistics.clone()
    modulated(net)
    assert torch.equal(net.statistics, kept)


def test_every_voxel_follows_its_own_number() -> None:
    """Layer by layer with dense tensors: the modulation of each voxel is that of the number at its place."""
    net = network()
    noise, numbers = torch.randn(1, 2, 12, 11, 13), torch.rand(12, 11, 13) * (HIGH - LOW) + LOW
    found = scores(modulated(net, levels=201), noise, numbers, 4)
    x, here = noise, numbers
    kept = net.statistics
    for index, block in enumerate(net.blocks):
        x, here = block.conv(x), here[1:-1, 1:-1, 1:-1]
        rounded = (((here - LOW) / (HIGH - LOW)) * 200).round() / 200 * (HIGH - LOW) + LOW
        if index:
            mean, variance = (kept[index - 1, k][:, None, None, None] * (1 + rounded) for k in range(2))
            x = (x - mean) / (variance + block.norm.eps).sqrt() * block.norm.weight[:, None, None, None]
            x = x + block.norm.bias[:, None, None, None]
        factor, summand = net.conditioning(rounded)[..., index, :, :].unbind(dim=-2)
        x = torch.nn.functional.leaky_relu(x * factor.movedim(-1, 0) + summand.movedim(-1, 0), 0.01)
    torch.testing.assert_close(found, net.head(x) - rounded, rtol=1e-3, atol=1e-4)


def test_the_modulated_network_is_all_on_the_device_of_the_network() -> None:
    """Tables come from a checkpoint, on the CPU, and so do the numbers of each block."""
    net = network()
    net.conditioning = None  # the device without memory has no autocast
    net.to("meta")
    found = net.modulated(torch.float32, torch.linspace(LOW, HIGH, 5), torch.zeros(5, 2, 2, 6), torch.zeros(5, 1))
    assert {tensor.device.type for tensor in (*found.parameters(), *found.buffers())} == {"meta"}
    (scores,) = found.slabs([(torch.zeros(1, 2, 9, 10, 11, device="meta"), torch.full((9, 10, 11), LOW))])
    assert scores.shape == (1, 1, 3, 4, 5)


def test_one_layer_has_no_statistics() -> None:
    net = SWNN(out_channels=1, channels=6, layers=1, noise_channels=2, condition_range=(LOW, HIGH))
    assert net.statistics.shape == (0, 2, 6)
    noise = torch.randn(1, 2, 5, 6, 7)
    found = scores(modulated(net), noise, torch.full((5, 6, 7), 0.2), 5)
    torch.testing.assert_close(found, at(net, 0.2, noise), rtol=1e-4, atol=1e-5)


def test_numbers_outside_take_the_nearest_row() -> None:
    net = modulated(network())
    assert net.rows(torch.tensor([-1.0, LOW, 0.149, 0.2, HIGH, 7.0])).tolist() == [0, 0, 1, 2, 4, 4]


def test_lookups_are_counted_in_the_memory() -> None:
    net = network()
    plain, looked_up = net.folded(torch.bfloat16, 0.2), modulated(net, torch.bfloat16)
    assert plain.memory(8, 20, 30) < looked_up.memory(8, 20, 30) < 3 * plain.memory(8, 20, 30)
