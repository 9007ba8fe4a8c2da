"""Sizes and rates of training against a critic, as checkpoints keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcrgen.networks.dcgan import ConvolutionalGenerator, Latent, Upsampling


@dataclass(frozen=True, kw_only=True)
class AdversarialSettings:
    """Sizes and rates of a generator and its critics.

    Attributes:
        dimensions: of the media that are generated, 2 or 3.
        channels: scores per voxel: 1 for two phases, C for C >= 3.
        size: edge length of training samples in voxels.
        latent: ``vector`` or ``field``, see :class:`~mcrgen.networks.dcgan.ConvolutionalGenerator`.
        latent_channels: latent values per cell.
        features: width of the generator's last hidden layer.
        max_features: width that no layer of either network exceeds.
        upsampling: ``transposed`` or ``resize``.
        critic_features: width of the critic's first layer.
        spectral_norm: whether the critic's layers are held to a Lipschitz constant of 1.
        judged: for each critic the kinds of sections of generated volumes that it judges, each as the axes (0 z, 1 y, 2 x) of
            its normal, its rows and its columns; empty for one critic of whole samples.
        batch: samples or sections per critic update, of all processes together.
        volumes: generated volumes that these sections are cut from, as many of each; not used for whole samples.
        critic_steps: critic updates per step.
        learning_rate: Adam's, of the generator.
        critic_learning_rate: and of the critics.
        betas: Adam's decay rates.
        averaging: decay of the average of the generator's weights; less in the first steps, (1 + n) / (10 + n) after n; 0 for
            none.
        gradient_penalty: weight lambda of the penalty (WGAN-GP).
        label_smoothing: real samples are to be judged real by one minus this (DCGAN).
        instance_noise: standard deviation of Gaussian noise on all that is judged, at the first step; it falls to 0 linearly.
        max_steps: steps of the generator.
        seed: of weights and latent values.
    """

    dimensions: int
    channels: int
    size: int
    latent: str
    latent_channels: int
    features: int
    max_features: int
    upsampling: str
    critic_features: int
    spectral_norm: bool
    judged: Sequence[Sequence[Sequence[int]]]
    batch: int
    volumes: int
    critic_steps: int
    learning_rate: float
    critic_learning_rate: float
    betas: Sequence[float]
    averaging: float
    gradient_penalty: float
    label_smoothing: float
    instance_noise: float
    max_steps: int
    seed: int

    def generator(self) -> ConvolutionalGenerator:
        """The generator, with weights from the global random state."""
        return ConvolutionalGenerator(
            dimensions=self.dimensions,
            out_channels=self.channels,
            size=self.size,
            latent=Latent(self.latent),
            latent_channels=self.latent_channels,
            features=self.features,
            max_features=self.max_features,
            upsampling=Upsampling(self.upsampling),
        )
