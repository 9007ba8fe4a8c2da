from __future__ import annotations

import pytest
import torch

from mcrgen.generation.generator import noise_tensor
from mcrgen.generation.latent import LatentGenerator, sample_scores
from mcrgen.generation.noise import Noise
from mcrgen.networks.dcgan import ConvolutionalGenerator, Latent, Upsampling


def generator(dimensions: int, latent: Latent, channels: int = 1) -> LatentGenerator:
    torch.manual_seed(0)
    network = ConvolutionalGenerator(
        dimensions=dimensions, out_channels=channels, size=16, latent=latent, latent_channels=3, features=4, max_features=8,
        upsampling=Upsampling.transposed,
    )  # fmt: skip
    return LatentGenerator(network.eval())


@pytest.mark.parametrize("origin", [(0, 0, 0), (8, -16, 24), (3, -5, 13)])
def test_a_box_is_cut_from_what_the_cells_over_it_give(origin: tuple[int, int, int]) -> None:
    made, shape = generator(3, Latent.field, channels=3), (5, 20, 9)
    first = [start // 8 for start in origin]
    cells = noise_tensor(Noise(7), (first[0], first[1], first[2]), (6, 6, 6), 3, next(made.network.parameters()))
    with torch.inference_mode():
        whole = made.network(cells)[0]
    start = [a - 8 * b for a, b in zip(origin, first, strict=True)]
    z, y, x = (slice(a, a + n) for a, n in zip(start, shape, strict=True))
    assert torch.allclose(made.scores(Noise(7), origin, shape), whole[:, z, y, x], atol=1e-5)


def test_a_period_repeats_the_medium_without_a_seam() -> None:
    made, noise = generator(3, Latent.field), Noise(1, period=(16, None, 24))
    first = made.scores(noise, (0, 0, 0), (16, 8, 24))
    assert torch.allclose(first, made.scores(noise, (16, 0, -24), (16, 8, 24)), atol=1e-5)
    around = made.scores(noise, (8, 0, 12), (16, 8, 24))
    assert torch.allclose(around, first.roll((-8, -12), dims=(1, 3)), atol=1e-5)


@pytest.mark.parametrize("latent", list(Latent))
def test_images_are_volumes_of_one_plane_and_samples_are_independent(latent: Latent) -> None:
    made = generator(2, latent)
    found = sample_scores(made, [4, 9], (16, 16))
    assert found.shape == (2, 1, 16, 16)
    assert not torch.equal(found[0], found[1])
    cells = (1, *made.network.latent_shape((16, 16)))
    values = noise_tensor(Noise(9), (0, 0, 0), cells, 3, next(made.network.parameters()))
    with torch.inference_mode():
        assert torch.allclose(found[1], made.network(values[:, :, 0])[0], atol=1e-6)
    assert sample_scores(made, [4], (20, 40)).shape == (1, 1, 20, 40)


def test_memory_grows_with_the_box() -> None:
    made = generator(3, Latent.field)
    assert 8 * 4 * 64**3 < made.memory((64, 64, 64)) < made.memory((128, 64, 64)) < 2 * made.memory((64, 64, 64))
    assert made.halo == 8
    assert made.out_channels == 1
