from __future__ import annotations

import itertools

import pytest
import torch

from mcrgen.networks.swnn import SWNN


def network(**changes: int) -> SWNN:
    settings = {"out_channels": 1, "channels": 6, "layers": 3, "noise_channels": 2} | changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SWNN(**settings)


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_size_rule(layers: int, out_channels: int) -> None:
    net = network(layers=layers, out_channels=out_channels)
    assert net.halo == layers
    assert net.out_channels == out_channels
    extra = 2 * net.halo
    out = net(torch.randn(2, 2, 1 + extra, 3 + extra, 4 + extra))
    assert out.shape == (2, out_channels, 1, 3, 4)


def test_first_block_has_no_batch_normalisation() -> None:
    norms = [isinstance(block.norm, torch.nn.BatchNorm3d) for block in network().blocks]
    assert norms == [False, True, True]


def test_output_depends_on_its_receptive_field_and_nothing_else() -> None:
    net = network().eval()
    noise = torch.randn(1, 2, 11, 11, 11)
    centre = net(noise)[0, 0, 2, 2, 2]
    outside = noise.clone()
    mask = torch.ones(11, 11, 11, dtype=torch.bool)
    mask[2:9, 2:9, 2:9] = False
    outside[..., mask] = 99.0
    assert torch.equal(net(outside)[0, 0, 2, 2, 2], centre)
    corner = noise.clone()
    corner[0, 0, 2, 2, 2] += 5.0
    assert net(corner)[0, 0, 2, 2, 2] != centre


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_turned_kernels_equal_turned_input(axes: tuple[int, int, int]) -> None:
    net = network().eval()
    medium = torch.randn(1, 2, 8, 9, 10)  # axes z, y, x
    turned = medium.permute(0, 1, *(2 + a for a in axes))
    expected = net(medium).permute(0, 1, *(2 + a for a in axes))
    torch.testing.assert_close(net(turned, axes), expected)


def test_folded_equals_eval_mode() -> None:
    net = network()
    for _ in range(3):
        net(torch.randn(2, 2, 9, 10, 11) * 2 + 1)  # moves the running statistics
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias)
    net.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    noise = torch.randn(2, 2, 9, 10, 11)
    folded = net.folded(torch.float32)
    torch.testing.assert_close(folded(noise), net(noise), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm3d) for m in folded.modules())
    halved = net.folded(torch.bfloat16)(noise.bfloat16())
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, net(noise), rtol=0.1, atol=0.1)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("planes", [[1] * 13, [2, 2, 2, 2, 2, 2, 1], [5, 5, 3], [12, 1], [13]])
def test_slabs_equal_the_whole_block(planes: list[int], dtype: torch.dtype) -> None:
    net = network().eval()
    noise = torch.randn(2, 2, 13, 10, 11)
    expected = net(noise)
    slabs = list(net.folded(dtype).slabs(noise.to(dtype).split(planes, dim=2)))
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(torch.cat(slabs, dim=2), expected, rtol=tolerance, atol=tolerance)


def test_slabs_of_bfloat16_do_not_change_a_bit() -> None:
    folded = network().eval().folded(torch.bfloat16)
    noise = torch.randn(1, 2, 40, 37, 38).bfloat16()
    whole = torch.cat(list(folded.slabs([noise])), dim=2)
    for planes in (1, 3, 16):
        assert torch.equal(torch.cat(list(folded.slabs(noise.split(planes, dim=2))), dim=2), whole)


def test_a_slab_fits_the_cache_and_never_vanishes() -> None:
    folded = network().folded(torch.bfloat16)
    small, large, huge = (folded.planes(edge, edge) for edge in (100, 1000, 100_000))
    assert small > large >= huge == 2
    assert large * 1000 * 1000 * folded.width * 2 < 32 * 2**20
