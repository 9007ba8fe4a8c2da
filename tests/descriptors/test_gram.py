from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.descriptors.gram import GramMatrices, gram_matrices
from mcrgen.errors import InputError
from mcrgen.networks.vgg import CONVOLUTION_SHAPES, VGG19Features, VGGWeights, random_weights


class TwoLayers(nn.Module):
    """A small stand-in for VGG-19."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(3, 1, 3, 3, generator=generator, dtype=torch.float64), requires_grad=False)
        self.second = nn.Parameter(torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64), requires_grad=False)

    def forward(self, indicator: Tensor) -> list[Tensor]:
        x = F.softplus(F.conv2d(indicator, self.first))
        return [x, F.softplus(F.conv2d(F.avg_pool2d(x, 2), self.second))]


def slices(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_equals_counting_by_loops() -> None:
    indicator, network = slices(2, 3, 9, 12), TwoLayers()
    found = gram_matrices(indicator, network)
    assert [tuple(g.shape) for g in found] == [(2, 3, 3, 3), (2, 3, 4, 4)]
    for b, c in itertools.product(range(2), range(3)):
        for gram, maps in zip(found, network(indicator[b : b + 1, c : c + 1]), strict=True):
            f = maps[0].numpy()
            n, h, w = f.shape
            expected = np.zeros((n, n))
            for i, j, y, x in itertools.product(range(n), range(n), range(h), range(w)):
                expected[i, j] += f[i, y, x] * f[j, y, x] / (h * w)
            np.testing.assert_allclose(gram[b, c], expected, rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2 * 9 * 12 + 5, 4 * 9 * 12])
def test_chunks_change_neither_values_nor_gradients(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, results = TwoLayers(), []
    for _ in range(2):
        indicator = slices(3, 3, 9, 12).requires_grad_()
        grams = gram_matrices(indicator, network)
        torch.stack([g.square().sum() for g in grams]).sum().backward()
        results.append([*grams, indicator.grad])
        monkeypatch.setattr("mcrgen.descriptors.gram._CHUNK", chunk)
    for whole, in_chunks in zip(*results, strict=True):
        torch.testing.assert_close(in_chunks, whole)
    with torch.no_grad():
        torch.testing.assert_close(gram_matrices(slices(3, 3, 9, 12), network), results[0][:2])


@pytest.mark.parametrize("chunk", [1, 1 << 18])
def test_gradcheck(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.descriptors.gram._CHUNK", chunk)
    network = TwoLayers()
    assert torch.autograd.gradcheck(lambda x: gram_matrices(x, network), slices(2, 2, 6, 7).requires_grad_())


def test_backward_keeps_the_features_of_one_chunk_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.descriptors.gram._CHUNK", 9 * 12)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        gram_matrices(slices(4, 1, 9, 12).requires_grad_(), TwoLayers())
    assert sum(kept) <= 4 * 9 * 12


def test_module_equals_function() -> None:
    indicator, network = slices(2, 3, 9, 12), TwoLayers()
    module = GramMatrices(network)
    for found, wanted in zip(module(indicator), gram_matrices(indicator, network), strict=True):
        assert torch.equal(found, wanted)
    assert module.float()(indicator.float())[0].dtype == torch.float32  # the network moves along


def test_moving_a_periodic_medium_changes_nothing() -> None:
    network = VGG19Features(random_weights(0), padding="periodic")
    medium = (slices(1, 2, 48, 64) < 0.4).float()
    grams = gram_matrices(medium, network)
    assert [g.shape[2:] for g in grams] == [(n, n) for n in (64, 128, 256, 512, 512)]
    for shift in ((16, 0), (32, 48)):
        for found, wanted in zip(gram_matrices(medium.roll(shift, (2, 3)), network), grams, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    with_rim = gram_matrices(medium.roll((8, 8), (2, 3)), network)
    assert not torch.allclose(with_rim[4], grams[4], rtol=1e-2)  # the poolings have a grid of 16 pixels


def test_volume_and_small_slices() -> None:
    convolutions = [(torch.empty(s, device="meta"), torch.empty(s[0], device="meta")) for s in CONVOLUTION_SHAPES]
    network = VGG19Features(VGGWeights(convolutions, torch.zeros(3), torch.ones(3)), padding="zero")
    with pytest.raises(
        InputError, match=r"indicator: expected slices \(B, C, H, W\), got the shape \(1, 2, 8, 20, 20\); pass the"
    ):
        gram_matrices(torch.zeros(1, 2, 8, 20, 20), network)
    with pytest.raises(
        InputError, match=r"expected slices of at least 16 x 16 pixels for VGG-19, got 12 x 40; use larger slices"
    ):
        GramMatrices(network)(torch.zeros(2, 3, 12, 40))
