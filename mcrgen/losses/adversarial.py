"""Losses of a generator and its critic or discriminator; all in float32 at least, whatever autocast says."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mcrgen.errors import InputError
from mcrgen.networks.critic import ConvolutionalCritic


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    r"""Distance of the critic's slopes from 1 (Gulrajani et al., NeurIPS 2017, eq. 3, without its weight :math:`\lambda`).

    .. math:: \frac{1}{B} \sum_i \left( \lVert \nabla_{\hat x} f(\hat x_i) \rVert_2 - 1 \right)^2,
        \qquad \hat x_i = m_i x_i + (1 - m_i) \tilde x_i

    Differentiable with respect to the critic's parameters; ``real`` and ``fake`` are taken as constants. Where a gradient is
    exactly zero, that of its norm is taken as zero. The critic runs without autocast: a second derivative in bfloat16 has
    too few digits.

    Args:
        critic: maps ``(B, ...)`` to one score each, ``(B,)``, of each sample alone (no batch normalisation).
        real: samples ``(B, ...)``.
        fake: generated samples of the same shape.
        mix: ``(B,)`` in [0, 1], how much of the real sample; uniform random numbers in the paper.

    Returns:
        A scalar; float64 for float64 samples, else float32.

    Raises:
        InputError: the shapes do not fit.
    """
    if fake.shape != real.shape:
        raise InputError(f"fake: expected the shape of real, {tuple(real.shape)}, got {tuple(fake.shape)}; make as many.")
    if mix.shape != real.shape[:1]:
        raise InputError(f"mix: expected one number per sample, ({len(real)},), got {tuple(mix.shape)}; draw as many.")
    with torch.autocast(real.device.type, enabled=False):
        weight = _precise(mix.detach()).reshape(-1, *[1] * (real.ndim - 1))
        real, fake = _precise(real.detach()), _precise(fake.detach())
        gradient = input_gradient(critic, weight * real + (1.0 - weight) * fake)
        # vector_norm, unlike a square root of a sum, has a finite derivative (zero) at zero
        slopes: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return (slopes - 1.0).square().mean()


def input_gradient(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradients of scores with respect to their samples, differentiable with respect to the critic's parameters.

    Written out where the critic can, otherwise by automatic differentiation.

    Args:
        critic: maps ``(B, ...)`` to one score each, of each sample alone.
        x: samples ``(B, ...)``.

    Returns:
        ``(B, ...)``.
    """
    if isinstance(critic, ConvolutionalCritic):
        return critic.input_gradient(x)
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def wasserstein_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean score of generated less that of real samples (Arjovsky et al., ICML 2017); minus it estimates their distance.

    Args:
        real: scores ``(B,)`` of real samples.
        fake: scores ``(B,)`` of generated samples.
    """
    return _precise(fake).mean() - _precise(real).mean()


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    """Minus the mean score ``(B,)`` of generated samples."""
    return -_precise(fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy of real samples as real plus that of generated ones as generated (Goodfellow et al., 2014, eq. 1).

    Args:
        real: logits ``(B,)`` of real samples.
        fake: logits ``(B,)`` of generated samples.
        smoothing: real samples have the target ``1 - smoothing``, generated ones 0 (one-sided label smoothing; Salimans et
            al., NeurIPS 2016, section 3.4, with 0.1 for images).

    Raises:
        InputError: ``smoothing`` is not in [0, 1).
    """
    if not 0.0 <= smoothing < 1.0:
        raise InputError(f"smoothing: expected a number from 0 to below 1, got {smoothing}; 0 turns it off.")
    return _cross_entropy(real, 1.0 - smoothing) + _cross_entropy(fake, 0.0)


def non_saturating_loss(fake: Tensor) -> Tensor:
    """Binary cross-entropy of logits ``(B,)`` of generated samples as real (Goodfellow et al., 2014, section 3)."""
    return _cross_entropy(fake, 1.0)


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    logits = _precise(logits)
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _precise(x: Tensor) -> Tensor:
    """In float32, unless it has more digits already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
