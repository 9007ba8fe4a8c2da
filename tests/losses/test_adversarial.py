from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.errors import InputError
from mcrgen.losses.adversarial import (
    discriminator_loss,
    gradient_penalty,
    input_gradient,
    non_saturating_loss,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from mcrgen.networks.critic import ConvolutionalCritic


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def critic() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, (3, 5)), nn.Flatten(0))


def test_penalty_of_a_linear_critic() -> None:
    weight = draw(2, 3, 4).requires_grad_()
    real, fake, mix = draw(5, 2, 3, 4, seed=1), draw(5, 2, 3, 4, seed=2), torch.linspace(0, 1, 5)
    penalty = gradient_penalty(lambda x: (x * weight).sum(dim=(1, 2, 3)), real, fake, mix)
    norm = weight.detach().norm()
    torch.testing.assert_close(penalty, (norm - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(weight.grad, 2 * (norm - 1) * weight.detach() / norm)


def test_penalty_of_a_quadratic_critic_is_taken_between_real_and_fake() -> None:
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    real, fake, mix = draw(4, 3, 5, seed=1), draw(4, 3, 5, seed=2), torch.tensor([0.0, 0.25, 0.6, 1.0], dtype=torch.float64)
    penalty = gradient_penalty(lambda x: 0.5 * scale * x.square().sum(dim=(1, 2)), real, fake, mix)
    between = torch.stack([m * x + (1 - m) * y for m, x, y in zip(mix, real, fake, strict=True)])
    norms = between.flatten(1).norm(dim=1)
    torch.testing.assert_close(penalty.detach(), ((0.7 * norms - 1) ** 2).mean())
    penalty.backward()
    torch.testing.assert_close(scale.grad, (2 * (0.7 * norms - 1) * norms).mean())


def test_penalty_is_differentiable_twice_in_the_parameters() -> None:
    real, fake, mix = draw(3, 4, seed=1), draw(3, 4, seed=2), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

    def penalty(first: Tensor, second: Tensor) -> Tensor:
        return gradient_penalty(lambda x: torch.tanh(x @ first) @ second, real, fake, mix)

    parameters = draw(4, 3, seed=3).requires_grad_(), draw(3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(penalty, parameters)
    assert torch.autograd.gradgradcheck(penalty, parameters)


def test_penalty_at_a_zero_gradient_is_one_and_its_derivative_finite() -> None:
    weight = torch.zeros(6, requires_grad=True)
    penalty = gradient_penalty(lambda x: x @ weight, torch.ones(2, 6), torch.zeros(2, 6), torch.ones(2))
    penalty.backward()
    assert penalty.item() == 1.0
    assert torch.equal(weight.grad, torch.zeros(6))


def test_penalty_leaves_samples_and_their_gradients_alone() -> None:
    real, fake, mix = draw(3, 2, 5, 7), draw(3, 2, 5, 7, seed=1).requires_grad_(), torch.tensor([0.2, 0.5, 0.9])
    before = real.clone(), fake.detach().clone(), mix.clone()
    net = critic().double()
    gradient_penalty(net, real, fake, mix).backward()
    assert fake.grad is None
    assert not real.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, (real, fake, mix), strict=True))
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("half", [False, True])
def test_penalty_under_autocast_is_that_in_float32(half: bool) -> None:
    net = critic()
    real, fake, mix = draw(3, 2, 5, 7).float(), draw(3, 2, 5, 7, seed=1).bfloat16(), torch.tensor([0.2, 0.5, 0.9])
    expected = gradient_penalty(net, real, fake.float(), mix)
    gradients = torch.autograd.grad(expected, [p for p in net.parameters() if p.ndim > 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(real).dtype == torch.bfloat16  # the critic is one that autocast changes
        penalty = gradient_penalty(net, real, fake if half else fake.float(), mix)
    assert penalty.dtype == torch.float32
    assert torch.equal(penalty, expected)
    assert all(
        torch.equal(a, b)
        for a, b in zip(torch.autograd.grad(penalty, [p for p in net.parameters() if p.ndim > 1]), gradients, strict=True)
    )


def test_penalty_shapes() -> None:
    with pytest.raises(InputError, match=r"fake: expected the shape of real, \(3, 2\), got \(4, 2\)"):
        gradient_penalty(critic(), torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(InputError, match=r"mix: expected one number per sample, \(3,\), got \(3, 1\)"):
        gradient_penalty(critic(), torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 1))


def test_wasserstein_losses() -> None:
    real, fake = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([-1.0, 5.0])
    assert wasserstein_critic_loss(real, fake).item() == pytest.approx(2.0 - 3.0)
    assert wasserstein_generator_loss(fake).item() == pytest.approx(-2.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropies(smoothing: float) -> None:
    real, fake = 3 * draw(7), 3 * draw(5, seed=1)
    p, q = real.sigmoid(), fake.sigmoid()
    expected = -((1 - smoothing) * p.log() + smoothing * (1 - p).log()).mean() - (1 - q).log().mean()
    torch.testing.assert_close(discriminator_loss(real, fake, smoothing), expected)
    torch.testing.assert_close(non_saturating_loss(fake), -q.log().mean())
    bce = F.binary_cross_entropy(p, torch.full_like(p, 1 - smoothing)) + F.binary_cross_entropy(q, torch.zeros_like(q))
    torch.testing.assert_close(discriminator_loss(real, fake, smoothing), bce)


def test_cross_entropies_of_an_undecided_and_of_a_certain_discriminator() -> None:
    zeros, large = torch.zeros(4), torch.full((4,), 1000.0)
    assert discriminator_loss(zeros, zeros, 0.1).item() == pytest.approx(2 * math.log(2))
    assert non_saturating_loss(zeros).item() == pytest.approx(math.log(2))
    assert discriminator_loss(large, -large, 0.0).item() == 0.0
    assert non_saturating_loss(-large).item() == 1000.0


def test_smoothing_moves_the_best_logit_of_real_samples_alone() -> None:
    logit = torch.tensor([math.log(9.0)], requires_grad=True)  # sigmoid 0.9
    discriminator_loss(logit, torch.zeros(1), 0.1).backward()
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(InputError, match=r"smoothing: expected a number from 0 to below 1, got 1\.0"):
        discriminator_loss(torch.zeros(1), torch.zeros(1), 1.0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: wasserstein_critic_loss(x, 2 * x),
        wasserstein_generator_loss,
        lambda x: discriminator_loss(x, 2 * x, 0.1),
        non_saturating_loss,
    ],
)
def test_scores_in_bfloat16_are_averaged_in_float32(loss: object) -> None:
    scores = draw(999, dtype=torch.float32).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(scores)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(scores.float()))
    assert torch.autograd.gradcheck(loss, draw(5).requires_grad_())


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize(("dimensions", "channels"), [(2, 1), (3, 3)])
def test_the_gradient_that_is_written_out_is_that_of_automatic_differentiation(
    dimensions: int, channels: int, spectral_norm: bool
) -> None:
    torch.manual_seed(0)
    critic = ConvolutionalCritic(
        dimensions=dimensions, in_channels=channels, size=16, features=3, max_features=6, batch_norm=False,
        spectral_norm=spectral_norm,
    ).double().eval()  # fmt: skip
    real, fake = torch.randn(2, 5, channels, *[16] * dimensions, dtype=torch.float64)
    mix = torch.rand(5, dtype=torch.float64)
    found, expected = (gradient_penalty(f, real, fake, mix) for f in (critic, lambda x: critic(x)))
    assert torch.allclose(found, expected, rtol=1e-12)
    parameters = [p for name, p in critic.named_parameters() if "bias" not in name]
    for one, other in zip(torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    x = real.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(critic(x).sum(), x)
    assert torch.allclose(input_gradient(critic, real), wanted, rtol=1e-12)


def test_batch_normalisation_has_no_gradient_of_each_sample() -> None:
    critic = ConvolutionalCritic(
        dimensions=2, in_channels=1, size=16, features=3, max_features=6, batch_norm=True, spectral_norm=False
    )
    with pytest.raises(ValueError, match="batch normalisation"):
        critic.input_gradient(torch.randn(2, 1, 16, 16))
