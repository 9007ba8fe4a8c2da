from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.errors import InputError
from mcrgen.networks.convolutional import initialise
from mcrgen.networks.dcgan import ConvolutionalGenerator, Latent, Upsampling, allowed_sizes

SIZES = [(dimensions, size) for dimensions in (2, 3) for size in allowed_sizes(dimensions)]
KINDS = list(product(Latent, Upsampling))


def generator(**changes: object) -> ConvolutionalGenerator:
    settings = {
        "dimensions": 2,
        "out_channels": 1,
        "size": 16,
        "latent": Latent.field,
        "latent_channels": 3,
        "features": 2,
        "max_features": 8,
        "upsampling": Upsampling.transposed,
    } | changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvolutionalGenerator(**settings)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def trained(net: ConvolutionalGenerator) -> ConvolutionalGenerator:
    """In eval mode, with scores of the order of one and statistics that are not the initial ones."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in (*net.named_parameters(), *net.named_buffers()):
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw))
            elif value.is_floating_point():
                value.copy_(0.3 * torch.randn(value.shape, generator=draw))
    return net.eval()


def doubled(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Voxels repeated along every axis, then an ordinary convolution."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(2, dim=axis)
    return (F.conv2d if x.ndim == 4 else F.conv3d)(x, weight, bias, padding=padding)


def test_allowed_sizes() -> None:
    assert allowed_sizes(2) == (16, 32, 64, 128, 256, 512)
    assert allowed_sizes(3) == (16, 32, 64, 128)
    with pytest.raises(InputError, match="dimensions: expected 2 or 3, got 4"):
        allowed_sizes(4)


@pytest.mark.parametrize(("latent", "upsampling"), KINDS)
@pytest.mark.parametrize(("dimensions", "size"), SIZES)
def test_one_training_latent_gives_the_size(dimensions: int, size: int, latent: Latent, upsampling: Upsampling) -> None:
    net = generator(
        dimensions=dimensions, size=size, latent=latent, upsampling=upsampling, features=1, max_features=2, out_channels=3
    ).eval()
    cells = net.latent_shape((size,) * dimensions)
    assert cells == ((1,) if latent is Latent.vector else (4,)) * dimensions
    assert net.step == (size // 4 if latent is Latent.vector else size // 2)
    with torch.no_grad():
        assert net(noise(1, 3, *cells)).shape == (1, 3, *[size] * dimensions)


@pytest.mark.parametrize(("latent", "upsampling"), KINDS)
@pytest.mark.parametrize("cells", [(3, 5), (6, 3), (3, 4, 5)])
def test_size_rule(cells: tuple[int, ...], latent: Latent, upsampling: Upsampling) -> None:
    net = generator(dimensions=len(cells), latent=latent, upsampling=upsampling, out_channels=2)
    scores = net(noise(2, 3, *cells))
    assert scores.shape == (2, 2, *net.output_shape(cells))
    add = 3 if latent is Latent.vector else -2
    assert net.output_shape(cells) == tuple((m + add) * net.step for m in cells)


@pytest.mark.parametrize("latent", list(Latent))
@pytest.mark.parametrize("shape", [(1, 16), (17, 31), (63, 64), (65, 200)])
def test_latent_shape_is_the_smallest_that_covers(shape: tuple[int, int], latent: Latent) -> None:
    net = generator(latent=latent)
    cells = net.latent_shape(shape)
    least = 1 if latent is Latent.vector else 3
    for axis, (voxels, made) in enumerate(zip(shape, net.output_shape(cells), strict=True)):
        assert made >= voxels
        assert cells[axis] == least or made - net.step < voxels


@pytest.mark.parametrize(("latent", "widths"), [(Latent.vector, [10, 6, 3]), (Latent.field, [10, 6, 3])])
def test_widths_double_towards_the_latent(latent: Latent, widths: list[int]) -> None:
    net = generator(latent=latent, size=32, features=3, max_features=10)
    assert [layer.num_features for layer in net.layers if isinstance(layer, nn.BatchNorm2d)] == widths
    convolutions = [layer for layer in net.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [c.in_channels for c in convolutions] == [3, *widths]
    assert [c.bias is None for c in convolutions] == [True, True, True, False]
    assert convolutions[-1] is net.layers[-1]


@pytest.mark.parametrize("latent", list(Latent))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_resize_is_repetition_and_convolution(dimensions: int, latent: Latent) -> None:
    net = trained(generator(dimensions=dimensions, latent=latent, upsampling=Upsampling.resize, out_channels=2)).double()
    z = noise(2, 3, *(4, 3, 5)[:dimensions]).double()
    weights = {name: value for name, value in net.named_parameters() if "convolution" in name}
    expected = z
    for layer in net.layers:
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d | nn.ReLU | nn.ConvTranspose2d | nn.ConvTranspose3d):
            expected = layer(expected)
        else:
            index = list(net.layers).index(layer)
            weight, bias = weights[f"layers.{index}.convolution.weight"], weights.get(f"layers.{index}.convolution.bias")
            last = layer is net.layers[-1]
            assert weight.shape[2:] == (5 if last and latent is Latent.field else 3,) * dimensions
            expected = doubled(expected, weight, bias, padding=1 if latent is Latent.vector else 0)
    torch.testing.assert_close(net(z), expected)


@pytest.mark.parametrize("upsampling", list(Upsampling))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_blocks_of_a_field_are_made_alone(dimensions: int, upsampling: Upsampling) -> None:
    net = trained(generator(dimensions=dimensions, upsampling=upsampling, out_channels=3, size=32 if dimensions == 2 else 16))
    z = noise(2, 3, *(9, 7, 6)[:dimensions])
    low, high = (2, 0, 1)[:dimensions], (7, 4, 6)[:dimensions]
    cells = [slice(a, b) for a, b in zip(low, high, strict=True)]
    voxels = [slice(net.step * a, net.step * (b - 2)) for a, b in zip(low, high, strict=True)]
    with torch.no_grad():
        whole, block = net(z), net(z[..., *cells])
    assert block.std() > 0.01
    torch.testing.assert_close(block, whole[..., *voxels], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsampling", list(Upsampling))
def test_voxels_depend_on_their_cell_and_its_neighbours_alone(upsampling: Upsampling) -> None:
    net = trained(generator(upsampling=upsampling, size=32, features=8, max_features=32))
    z = noise(4, 3, 7, 7).requires_grad_()
    run = slice(2 * net.step, 3 * net.step)
    net(z)[..., run, run].abs().sum().backward()
    touched = z.grad.abs().sum(dim=(0, 1)) > 0
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[2:5, 2:5] = True
    assert torch.equal(touched, expected)


@pytest.mark.parametrize(("latent", "upsampling"), KINDS)
def test_a_sample_does_not_depend_on_others_in_eval_mode(latent: Latent, upsampling: Upsampling) -> None:
    net = trained(generator(latent=latent, upsampling=upsampling))
    z = noise(3, 3, 4, 5)
    torch.testing.assert_close(net(z)[1:2], net(z[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsampling", list(Upsampling))
def test_initialisation_is_that_of_dcgan(upsampling: Upsampling) -> None:
    net = generator(upsampling=upsampling, size=64, features=32, max_features=128)
    for name, value in net.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:
            centre = 1.0 if value.ndim == 1 else 0.0
            error = 5.0 / value.numel() ** 0.5
            assert value.mean().item() == pytest.approx(centre, abs=0.02 * error)
            assert value.std().item() == pytest.approx(0.02, rel=error)


def test_weights_follow_the_global_seed() -> None:
    first, second = generator().state_dict(), generator().state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    net = generator()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        initialise(net)
    assert not torch.equal(net.state_dict()["layers.0.weight"], first["layers.0.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": 1}, "dimensions: expected 2 or 3, got 1"),
        ({"size": 48}, "size: expected one of 16, 32, 64, 128, 256, 512 voxels in 2 dimensions, got 48"),
        ({"dimensions": 3, "size": 256}, "size: expected one of 16, 32, 64, 128 voxels in 3 dimensions, got 256"),
        ({"features": 0}, "features: expected 1 or more channels, got 0"),
        ({"features": 9}, r"max_features: expected at least features \(9\), got 8"),
        ({"out_channels": 0}, "out_channels: expected 1 or more channels, got 0"),
        ({"latent_channels": 0}, "latent_channels: expected 1 or more channels, got 0"),
    ],
)
def test_bad_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generator(**changes)


def test_bad_shapes() -> None:
    with pytest.raises(InputError, match=r"shape: expected 2 axes of 1 or more, got \(4, 4, 4\)"):
        generator().latent_shape((4, 4, 4))
    with pytest.raises(InputError, match=r"latent: expected 2 axes of 3 or more, got \(2, 4\)"):
        generator().output_shape((2, 4))
    with pytest.raises(InputError, match=r"latent: expected 2 axes of 1 or more, got \(0, 4\)"):
        generator(latent=Latent.vector).output_shape((0, 4))
