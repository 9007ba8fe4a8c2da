from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from mcrgen.errors import InputError
from mcrgen.networks.vgg import (
    CONVOLUTION_SHAPES,
    VGG19Features,
    VGGWeights,
    normalised,
    random_weights,
    two_phase_images,
    wrapped,
)

RELU_1_2, RELU_2_2, RELU_3_4, RELU_4_4, RELU_5_4 = 3, 8, 17, 26, 35  # positions in torchvision's list of modules


@pytest.fixture(scope="module")
def random() -> VGGWeights:
    return random_weights(0)


@pytest.fixture(scope="module")
def biased(random: VGGWeights) -> VGGWeights:
    """Weights with biases and an encoding that differs between the colours."""
    generator = torch.Generator().manual_seed(1)
    convolutions = [(w, 0.3 * torch.randn(len(w), generator=generator)) for w, _ in random.convolutions]
    return VGGWeights(convolutions, mean=torch.tensor([0.4, 0.5, 0.6]), scale=torch.tensor([0.2, 0.25, 0.3]))


def slices(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


def test_equals_torchvision_with_average_pooling(biased: VGGWeights) -> None:
    with torch.device("meta"):
        modules = torchvision.models.vgg19().features
    numbers = [i for i, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    state = {f"{n}.weight": w for n, (w, _) in zip(numbers, biased.convolutions, strict=True)}
    state |= {f"{n}.bias": b for n, (_, b) in zip(numbers, biased.convolutions, strict=True)}
    modules.load_state_dict(state, assign=True)
    indicator, expected = slices(2, 1, 37, 50), []
    x = (indicator.expand(-1, 3, -1, -1) - biased.mean[:, None, None]) / biased.scale[:, None, None]
    for i, module in enumerate(modules):
        x = nn.functional.avg_pool2d(x, 2) if isinstance(module, nn.MaxPool2d) else module(x)
        if i in (RELU_1_2, RELU_2_2, RELU_3_4, RELU_4_4, RELU_5_4):
            expected.append(x)
            if i == RELU_5_4:
                break
    maps = VGG19Features(biased, padding="zero")(indicator)
    assert [tuple(m.shape) for m in maps] == [
        (2, 64, 37, 50),
        (2, 128, 18, 25),
        (2, 256, 9, 12),
        (2, 512, 4, 6),
        (2, 512, 2, 3),
    ]
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def periodic_by_rolling(image: NDArray[np.float32], weights: VGGWeights) -> list[NDArray[np.float32]]:
    """VGG-19 as sums of shifted images."""
    mean, scale = weights.mean.numpy()[:, None, None], weights.scale.numpy()[:, None, None]
    x, maps = (image[None] - mean) / scale, []
    for i, (weight, bias) in enumerate(weights.convolutions):
        if i in (2, 4, 8, 12):
            maps.append(x)
            x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
        shifted = [
            np.tensordot(weight[:, :, dy, dx].numpy(), np.roll(x, (1 - dy, 1 - dx), (1, 2)), 1)
            for dy in range(3)
            for dx in range(3)
        ]
        x = np.maximum(np.sum(shifted, axis=0) + bias.numpy()[:, None, None], 0)
    return [*maps, x]


@pytest.mark.parametrize("shape", [(16, 16), (35, 49)])
def test_periodic_padding_wraps(shape: tuple[int, int], biased: VGGWeights) -> None:
    indicator = slices(2, 1, *shape)
    maps = VGG19Features(biased, padding="periodic")(indicator)
    for found, wanted in zip(maps, periodic_by_rolling(indicator[1, 0].numpy(), biased), strict=True):
        np.testing.assert_allclose(found[1], wanted, rtol=1e-3, atol=1e-3)


def test_gradcheck(biased: VGGWeights) -> None:
    double = VGGWeights([(w.double(), b.double()) for w, b in biased.convolutions], biased.mean.double(), biased.scale.double())
    network = VGG19Features(double, padding="periodic")
    assert not any(p.requires_grad for p in network.parameters())
    indicator = slices(1, 1, 16, 17).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: [m.mean(dim=(2, 3)) for m in network(x)], indicator, fast_mode=True)


def test_labels_need_not_be_floats(random: VGGWeights) -> None:
    network, labels = VGG19Features(random, padding="zero"), slices(1, 1, 16, 16) > 0.5
    for found, wanted in zip(network(labels), network(labels.float()), strict=True):
        assert torch.equal(found, wanted)


def test_random_filters_have_a_mean_activation_of_one_and_none_is_silent(random: VGGWeights) -> None:
    assert [tuple(w.shape) for w, _ in random.convolutions] == list(CONVOLUTION_SHAPES)
    assert random.normalised
    for maps in VGG19Features(random, padding="periodic")(two_phase_images()):
        torch.testing.assert_close(maps.mean(dim=(0, 2, 3)), torch.ones(maps.shape[1]), rtol=1e-3, atol=0)
        active = (maps > 0).float().mean(dim=(0, 2, 3))
        assert 0.05 < float(active.min()) < float(active.max()) < 0.95
    assert all(float(w.sum(dim=(1, 2, 3)).abs().max()) < 1e-3 for w, _ in random.convolutions[1:])


def test_random_filters_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.networks.vgg.two_phase_images", lambda: slices(4, 1, 16, 16))  # saves time
    state = torch.get_rng_state()
    one, again, other = (random_weights(seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one.convolutions, again.convolutions, strict=True))
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(one.convolutions, other.convolutions, strict=True))


def test_normalising_rescales_each_map_and_does_nothing_else(biased: VGGWeights) -> None:
    images = (slices(3, 1, 32, 48) > 0.6).float()
    uneven = [(w * s[:, None, None, None], b * s) for (w, b) in biased.convolutions for s in [torch.linspace(0.01, 2, len(b))]]
    before = replace(biased, convolutions=uneven)
    untouched = [w.clone() for w, _ in before.convolutions]
    after = normalised(before, images)
    assert after.normalised
    assert not before.normalised
    assert all(torch.equal(a, w) for a, (w, _) in zip(untouched, before.convolutions, strict=True))
    raw, scaled = (VGG19Features(w, padding="periodic")(images) for w in (before, after))
    for old, new in zip(raw, scaled, strict=True):
        mean = old.mean(dim=(0, 2, 3))
        factor = mean.clamp_min(0.1 * float(mean.mean()))
        assert float((mean / factor).min()) < 1  # rarely active filters are among them
        torch.testing.assert_close(new, old / factor[:, None, None], rtol=1e-3, atol=1e-3)


def test_images_to_normalise_on() -> None:
    images = two_phase_images()
    assert images.shape == (16, 1, 64, 64)
    assert set(images.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(np.sort(images.mean(dim=(1, 2, 3))), np.linspace(0.1, 0.9, 16), atol=1 / 64**2)
    assert torch.equal(two_phase_images(), images)


def empty_weights() -> VGGWeights:
    convolutions = [(torch.empty(s, device="meta"), torch.empty(s[0], device="meta")) for s in CONVOLUTION_SHAPES]
    return VGGWeights(convolutions, torch.zeros(3), torch.ones(3))


@pytest.mark.parametrize("padding", ["zero", "periodic"])
def test_bad_input(padding: str) -> None:
    network = VGG19Features(empty_weights(), padding=padding)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"indicator: expected slices of at least 16 x 16 pixels for VGG-19, got 40 x 15; use"):
        network(torch.zeros(2, 1, 40, 15))
    with pytest.raises(
        InputError, match=r"indicator: expected slices of one channel \(B, 1, H, W\), got the shape \(2, 3, 40, 40\)"
    ):
        network(torch.zeros(2, 3, 40, 40))
    with pytest.raises(InputError, match=r"got the shape \(1, 1, 20, 20, 20\)"):
        network(torch.zeros(1, 1, 20, 20, 20))


def test_bad_settings() -> None:
    with pytest.raises(InputError, match=r"padding: expected 'periodic' or 'zero', got 'reflect'; choose one"):
        VGG19Features(empty_weights(), padding="reflect")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"seed: expected 0 or more, got -1"):
        random_weights(-1)
    with pytest.raises(InputError, match=r"at least 16 x 16 pixels for VGG-19, got 8 x 8"):
        normalised(empty_weights(), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 4), (1, 2, 2, 2)])
def test_wrapping_is_circular_padding(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.equal(wrapped(images), F.pad(images, (1, 1, 1, 1), mode="circular"))
    assert torch.autograd.gradcheck(wrapped, images)
