from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mcrgen.errors import InputError
from mcrgen.networks.critic import ConvolutionalCritic
from mcrgen.networks.dcgan import allowed_sizes

SIZES = [(dimensions, size) for dimensions in (2, 3) for size in allowed_sizes(dimensions)]


def critic(**changes: object) -> ConvolutionalCritic:
    settings = {
        "dimensions": 2,
        "in_channels": 1,
        "size": 16,
        "features": 2,
        "max_features": 8,
        "batch_norm": False,
        "spectral_norm": False,
    } | changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvolutionalCritic(**settings)


def samples(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dimensions", "size"), SIZES)
def test_one_score_each(dimensions: int, size: int, channels: int, batch_norm: bool) -> None:
    net = critic(
        dimensions=dimensions, size=size, in_channels=channels, features=1, max_features=2, batch_norm=batch_norm
    ).eval()
    with torch.no_grad():
        assert net(samples(1, channels, *[size] * dimensions)).shape == (1,)
        if size == 16:
            assert net(samples(5, channels, *[size] * dimensions)).shape == (5,)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_layers(batch_norm: bool) -> None:
    net = critic(size=64, features=3, max_features=12, batch_norm=batch_norm)
    convolutions = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [3, 6, 12, 12, 1]
    assert [c.bias is None for c in convolutions] == [False, *[batch_norm] * 3, False]
    norms = [layer.num_features for layer in net.layers if isinstance(layer, nn.BatchNorm2d)]
    assert norms == ([6, 12, 12] if batch_norm else [])


def test_score_sees_every_voxel() -> None:
    x = samples(1, 2, 32, 32).requires_grad_()
    critic(in_channels=2, size=32)(x).sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_a_score_does_not_depend_on_other_samples_in_eval_mode(batch_norm: bool, spectral_norm: bool) -> None:
    net = critic(batch_norm=batch_norm, spectral_norm=spectral_norm)
    x = samples(4, 1, 16, 16)
    net(x)  # moves the running statistics
    net.eval()
    torch.testing.assert_close(net(x)[1:3], net(x[1:3]))


def test_without_batch_norm_nor_in_training() -> None:
    net, x = critic(), samples(4, 1, 16, 16)
    torch.testing.assert_close(net(x)[1:3], net(x[1:3]))
    normed = critic(batch_norm=True)
    assert not torch.allclose(normed(x)[1:3], normed(x[1:3]))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_spectral_norm_bounds_the_largest_singular_value(dimensions: int) -> None:
    net = critic(dimensions=dimensions, spectral_norm=True, features=4)
    x = samples(2, 1, *[16] * dimensions)
    with torch.no_grad():
        for _ in range(100):
            net(x)
    net.eval()
    convolutions = [layer for layer in net.layers if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    assert len(convolutions) == 3
    for layer in convolutions:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert largest.item() == pytest.approx(1.0, abs=1e-3)


def test_initialisation_with_batch_norm_is_that_of_dcgan() -> None:
    net = critic(size=64, features=32, max_features=128, batch_norm=True)
    for name, value in net.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:
            centre, error = 1.0 if value.ndim == 1 else 0.0, 5.0 / value.numel() ** 0.5
            assert value.mean().item() == pytest.approx(centre, abs=0.02 * error)
            assert value.std().item() == pytest.approx(0.02, rel=error)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_initialisation_without_is_that_of_wgan_gp(spectral_norm: bool) -> None:
    net = critic(in_channels=3, size=32, features=64, max_features=256, spectral_norm=spectral_norm)
    names = "parametrizations.weight.original" if spectral_norm else "weight"
    weights = [value for name, value in net.named_parameters() if name.endswith(names)]
    # fan in, fan out: kernel 4 x 4, stride 2 x 2; the last layer maps 256 * 16 values to one score
    fans = [(3 * 16, 64 * 4), (64 * 16, 128 * 4), (128 * 16, 256 * 4)]
    variances = [4 / (into + out) for into, out in fans] + [2 / (256 * 16 + 1)]
    for weight, variance in zip(weights, variances, strict=True):
        assert weight.var().item() == pytest.approx(variance, rel=5 / weight.numel() ** 0.5)
        assert weight.abs().max().item() <= (3 * variance) ** 0.5
    assert not any(value.any() for name, value in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_gradients_reach_the_first_layer_of_a_narrow_critic(spectral_norm: bool) -> None:
    net, x = critic(size=128, max_features=4, spectral_norm=spectral_norm), samples(2, 1, 128, 128).requires_grad_()
    net(x).sum().backward()
    assert 1e-3 < x.grad.flatten(1).norm(dim=1).mean() < 10.0


def test_weights_follow_the_global_seed() -> None:
    first, second = critic(spectral_norm=True).state_dict(), critic(spectral_norm=True).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_bad_settings_and_samples() -> None:
    with pytest.raises(InputError, match="size: expected one of 16, 32, 64, 128 voxels in 3 dimensions, got 20"):
        critic(dimensions=3, size=20)
    with pytest.raises(InputError, match="in_channels: expected 1 or more channels, got 0"):
        critic(in_channels=0)
    with pytest.raises(InputError, match=r"x: expected samples of shape \(1, 16, 16\), got \(1, 32, 32\)"):
        critic()(samples(2, 1, 32, 32))
