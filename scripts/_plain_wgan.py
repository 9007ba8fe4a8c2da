"""A training step of WGAN-GP as one writes it first, and as it is found in many places."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mcrgen.networks.critic import ConvolutionalCritic
from mcrgen.networks.dcgan import ConvolutionalGenerator
from mcrgen.tasks.adversarial_settings import AdversarialSettings


class PlainWGAN:
    """WGAN-GP (Gulrajani et al., NeurIPS 2017, algorithm 1) on two-phase samples, in float32, without anything around it.

    Generated samples stay attached to the generator while the critic learns, and their graph is kept; real and generated
    samples pass the critic one after the other. There is no averaging of weights and no look for values that are not finite.
    """

    def __init__(
        self, generator: ConvolutionalGenerator, critic: ConvolutionalCritic, settings: AdversarialSettings, *, fresh: bool
    ) -> None:
        """Take networks, which are trained in place.

        Args:
            generator: of one channel.
            critic: of as many.
            settings: rates and weights.
            fresh: whether the generator learns from samples of its own, as published, or from those that the critic saw last,
                as some write it; that is cheaper.
        """
        self.generator, self.critic, self.settings, self.fresh = generator, critic, settings, fresh
        s, betas = settings, (settings.betas[0], settings.betas[1])
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), lr=s.learning_rate, betas=betas)
        self.critic_optimizer = torch.optim.Adam(critic.parameters(), lr=s.critic_learning_rate, betas=betas)

    def step(self, real: Tensor, draws: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Update the critic with each of the batches, and the generator once.

        Args:
            real: ``(critic_steps, B, 1, *spatial)`` crops in {-1, 1}.
            draws: latent values and mixtures of each update; one more (with any mixtures) for fresh samples.

        Returns:
            Mean loss of the critic, and loss of the generator.
        """
        losses = []
        for crops in real:
            latent, mix = next(draws)
            fake = torch.tanh(self.generator(latent))
            loss = self._critic_loss(crops, fake, mix)
            self.critic.zero_grad()
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            self.critic_optimizer.step()
            losses.append(loss.detach())
        if self.fresh:
            fake = torch.tanh(self.generator(next(draws)[0]))
        loss = -self.critic(fake).mean()
        self.generator.zero_grad()
        loss.backward()
        self.generator_optimizer.step()
        return torch.stack(losses).mean(), loss.detach()

    def _critic_loss(self, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        of_real, of_fake = self.critic(real), self.critic(fake)
        loss: Tensor = of_fake.mean() - of_real.mean() + self.settings.gradient_penalty * self._penalty(real, fake, mix)
        return loss

    def _penalty(self, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        weight = mix.reshape(-1, *[1] * (real.ndim - 1)).expand_as(real)
        between = weight * real + (1 - weight) * fake
        scores = self.critic(between)
        (gradient,) = torch.autograd.grad(
            scores, between, grad_outputs=torch.ones_like(scores), create_graph=True, retain_graph=True
        )
        penalty: Tensor = ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
        return penalty
