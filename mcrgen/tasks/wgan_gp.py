"""Training of a generator by the Wasserstein distance with gradient penalty."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mcrgen.losses.adversarial import gradient_penalty, wasserstein_critic_loss, wasserstein_generator_loss
from mcrgen.tasks.adversarial import AdversarialTask


class WGANGPTask(AdversarialTask):
    """WGAN-GP (Gulrajani et al., NeurIPS 2017), the GAN that Amiri et al. (Sci. Rep. 13 (2023) 1732) choose.

    The critic has no batch normalisation, since the penalty is of each sample alone; real and generated samples pass it as one
    batch.
    """

    kind: ClassVar[str] = "wgan_gp"

    def critic_loss(self, critic: nn.Module, real: Tensor, fake: Tensor, draw: torch.Generator) -> Tensor:
        """Mean score of generated less that of real samples, and the weighted penalty (Gulrajani et al., eq. 3)."""
        of_real, of_fake = critic(torch.cat([real, fake])).chunk(2)
        mix = self._share(torch.rand(len(real) * self._processes, generator=draw, device=draw.device))
        penalty = gradient_penalty(critic, real, fake, mix)
        return wasserstein_critic_loss(of_real, of_fake) + self.settings.gradient_penalty * penalty

    def generator_loss(self, critic: nn.Module, fake: Tensor) -> Tensor:
        """Minus the mean score."""
        return wasserstein_generator_loss(critic(fake))
