from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.descriptors.gram import gram_matrices
from mcrgen.errors import InputError
from mcrgen.losses.descriptor_matching import GramMatching
from mcrgen.networks.vgg_weights import load_vgg


class TwoLayers(nn.Module):
    """A small stand-in for VGG-19, with a part that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(3, 1, 3, 3, generator=generator, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64))
        self.dropout = nn.Dropout(0.5)

    def forward(self, indicator: Tensor) -> list[Tensor]:
        x = F.softplus(F.conv2d(indicator.to(self.first.dtype), self.first))
        return [x, self.dropout(F.softplus(F.conv2d(F.avg_pool2d(x, 2), self.second)))]


def slices(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def checkerboard(height: int, width: int, square: int) -> Tensor:
    rows, columns = (torch.arange(edge) // square for edge in (height, width))
    return ((rows[:, None] + columns) % 2).double()[None, None]


def test_nothing_is_left_to_match_on_the_exemplars_themselves() -> None:
    images = slices(4, 3, 11, 8)
    loss = GramMatching(TwoLayers(), images)
    assert float(loss(images)) == pytest.approx(0.0, abs=1e-25)
    assert float(loss(images.flip(0))) == pytest.approx(0.0, abs=1e-25)
    assert float(loss(images[:2])) > 1e-6


def test_equals_the_definition() -> None:
    network, exemplars, generated = TwoLayers().eval(), slices(2, 3, 12, 9), slices(3, 3, 7, 10, seed=2)
    expected = []
    for layer in range(2):
        target, found = (np.zeros((3, n, n)) for n in 2 * [(3, 4)[layer]])
        for images, sums in ((exemplars, target), (generated, found)):
            for image in images:
                for phase in range(3):
                    maps = network(image[phase][None, None])[layer][0].detach().numpy()
                    for y in range(maps.shape[1]):
                        for x in range(maps.shape[2]):
                            sums[phase] += np.outer(maps[:, y, x], maps[:, y, x]) / maps[0].size / len(images)
        expected.append(((found - target) ** 2).sum() / (target**2).sum())
    assert float(GramMatching(network, exemplars)(generated)) == pytest.approx(np.mean(expected), rel=1e-10)


@pytest.mark.parametrize("phases", [1, 3])
def test_gradcheck(phases: int) -> None:
    loss = GramMatching(TwoLayers(), slices(2, phases, 9, 8))
    assert torch.autograd.gradcheck(loss, slices(2, phases, 6, 7, seed=2).requires_grad_())


def test_network_is_frozen_in_evaluation_mode() -> None:
    loss = GramMatching(TwoLayers().train(), slices(1, 1, 8, 8)).train()
    assert loss.training
    assert not loss.network.training
    assert not list(filter(lambda p: p.requires_grad, loss.parameters()))
    assert loss(slices(1, 1, 8, 8)) == loss(slices(1, 1, 8, 8)), "no dropout"


def test_weights_of_vgg_receive_no_gradient() -> None:
    loss = GramMatching(load_vgg(padding="zero"), checkerboard(24, 32, 4))
    generated = slices(1, 1, 16, 17).float().requires_grad_()
    loss(generated).backward()
    assert generated.grad is not None
    assert generated.grad.abs().min() > 0, "every pixel counts"
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_a_few_steps_of_descent_bring_a_slice_nearer_to_a_checkerboard() -> None:
    loss = GramMatching(load_vgg(padding="periodic"), checkerboard(32, 32, 4))
    assert float(loss(checkerboard(16, 48, 4))) == pytest.approx(0.0, abs=1e-8), "no rim: sizes do not matter"
    field = slices(1, 1, 32, 32).float().sub(0.5).requires_grad_()
    optimizer = torch.optim.Adam([field], lr=0.3)
    values = []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss(torch.sigmoid(field))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_windows_of_the_slices_size_have_the_same_rim() -> None:
    """Zeros around an image count in fewer positions of a larger one; windows remove that bias."""
    medium = checkerboard(128, 128, 4)
    windows = torch.cat([medium[..., y : y + 32, x : x + 32] for y in (0, 16, 64) for x in (0, 8, 96)])
    network = load_vgg(padding="zero")
    whole, cut = (float(GramMatching(network, images)(medium[..., :32, :32])) for images in (medium, windows))
    assert cut == pytest.approx(0.0, abs=1e-8)
    assert whole > 1e-3


def test_targets_move_along() -> None:
    images = slices(1, 1, 8, 8)
    loss = GramMatching(TwoLayers(), images)
    assert [target.shape for target in loss.targets] == [(1, 3, 3), (1, 4, 4)]
    assert all(target.dtype == torch.float32 for target in loss.float().targets)
    assert float(loss(images)) == pytest.approx(0.0, abs=1e-10)


def test_mixed_precision_does_not_round_the_matrices() -> None:
    network, images = TwoLayers().float(), slices(1, 2, 20, 20).float()
    loss = GramMatching(network, images)
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_matrices(images, network)[0].dtype == torch.bfloat16
        assert loss(images) < 1e-10


def test_bad_shapes() -> None:
    with pytest.raises(InputError, match=r"exemplars: expected one or more images \(N, C, H, W\), got the shape \(8, 8\)"):
        GramMatching(TwoLayers(), slices(8, 8))
    with pytest.raises(InputError, match=r"exemplars: expected one or more images .* got the shape \(0, 1, 8, 8\)"):
        GramMatching(TwoLayers(), slices(0, 1, 8, 8))
    loss = GramMatching(TwoLayers(), slices(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"slices: expected the exemplars' 3 phases, got 1; give the same ones"):
        loss(slices(1, 1, 8, 8))
    with pytest.raises(InputError, match=r"expected slices \(B, C, H, W\), got the shape \(1, 3, 8, 8, 8\)"):
        loss(slices(1, 3, 8, 8, 8))
