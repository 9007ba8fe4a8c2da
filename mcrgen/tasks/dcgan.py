"""Training of a generator against a discriminator that tells real from generated."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mcrgen.losses.adversarial import discriminator_loss, non_saturating_loss
from mcrgen.tasks.adversarial import AdversarialTask


class DCGANTask(AdversarialTask):
    """DCGAN (Radford, Metz and Chintala, ICLR 2016), the baseline of Amiri et al. (Sci. Rep. 13 (2023) 1732).

    Real and generated samples pass the discriminator as batches of their own, because its batch normalisation would mix them.
    """

    kind: ClassVar[str] = "dcgan"
    batch_norm = True

    def critic_loss(self, critic: nn.Module, real: Tensor, fake: Tensor, draw: torch.Generator) -> Tensor:
        """Binary cross-entropy, with smoothed labels of the real samples if asked for."""
        return discriminator_loss(critic(real), critic(fake), self.settings.label_smoothing)

    def generator_loss(self, critic: nn.Module, fake: Tensor) -> Tensor:
        """Binary cross-entropy of generated samples with the label of real ones (Goodfellow et al., 2014, section 3)."""
        return non_saturating_loss(critic(fake))
