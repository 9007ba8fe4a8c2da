"""What training against a critic is made of, whatever its loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mcrgen.networks.critic import ConvolutionalCritic
from mcrgen.networks.dcgan import ConvolutionalGenerator
from mcrgen.networks.synchronised import synchronise
from mcrgen.tasks.adversarial_settings import AdversarialSettings
from mcrgen.tasks.base import Task
from mcrgen.tasks.critic_sections import random_planes, sections

_STREAMS = 1009
"""More streams of random numbers than any step draws from."""
_VOXELS_AT_ONCE = 1 << 20
_MOST_OVERFLOWS = 50

_Tensors = tuple[Tensor, ...] | list[Tensor]


class AdversarialTask(Task):
    """A generator of images or volumes against critics of them, or of their sections.

    One step is ``critic_steps`` updates of the critics, each on crops of its own, and one of the generator. Sections of
    generated volumes are judged by 2D critics, one for each kind of section (SliceGAN: Kench and Cooper, Nature Machine
    Intelligence 3 (2021) 299); each update takes a random choice of their planes, where SliceGAN takes them all.

    Latent values, planes and mixtures are functions of the seed and the step, and each process takes its share of what one
    alone would draw: a resumed run repeats an uninterrupted one, and several processes do what one does. The trainer's step
    counts updates of the generator.

    Subclasses say what the critics and the generator are to make small.

    Attributes:
        failed: whether a loss or a gradient was not a number; the update it belongs to was not made, and the trainer is asked
            to stop.
    """

    batch_norm = False
    """Whether the critic has batch normalisation."""

    def __init__(self, settings: AdversarialSettings) -> None:
        """Build networks and average."""
        super().__init__(**asdict(settings))
        self.automatic_optimization = False
        self._overflows = 0

    @cached_property
    def settings(self) -> AdversarialSettings:
        """The settings, as a checkpoint has them."""
        return AdversarialSettings(**self.hparams)

    def configure_models(self) -> None:
        """Build generator and critics from the seed alone, whatever the global random state."""
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            self.generator = s.generator()
            self.critics = nn.ModuleList(self._critic() for _ in s.judged or [()])
        for network in (self.generator, *self.critics):
            if network.dimensions == 2:
                network.to(memory_format=torch.channels_last)
        self.averaged: AveragedModel | None = None
        if s.averaging:
            self.averaged = AveragedModel(self.generator, multi_avg_fn=_average(s.averaging), use_buffers=True)
            self.averaged.requires_grad_(False)

    def _critic(self) -> ConvolutionalCritic:
        s = self.settings
        return ConvolutionalCritic(
            dimensions=2 if s.judged else s.dimensions,
            in_channels=s.channels,
            size=s.size,
            features=s.critic_features,
            max_features=s.max_features,
            batch_norm=self.batch_norm,
            spectral_norm=s.spectral_norm,
        )

    def setup(self, stage: str) -> None:
        """With several processes, let batch normalisation see the batches of all."""
        if self._processes > 1:
            synchronise(self)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and Adam for all critics."""
        s, betas = self.settings, (self.settings.betas[0], self.settings.betas[1])
        return [
            torch.optim.Adam(self.generator.parameters(), lr=s.learning_rate, betas=betas),
            torch.optim.Adam(self.critics.parameters(), lr=s.critic_learning_rate, betas=betas),
        ]

    def critic_loss(self, critic: nn.Module, real: Tensor, fake: Tensor, draw: torch.Generator) -> Tensor:
        """What a critic is to make small.

        Args:
            critic: the critic.
            real: ``(B, C, *spatial)`` crops in [-1, 1].
            fake: as many samples or sections of them.
            draw: random numbers.
        """
        raise NotImplementedError

    def generator_loss(self, critic: nn.Module, fake: Tensor) -> Tensor:
        """What the generator is to make small, for one critic and what it is shown."""
        raise NotImplementedError

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Update the critics ``critic_steps`` times and the generator once.

        Args:
            batch: ``(critics, critic_steps, B, C, *spatial)`` crops in {-1, 1}, of this process.
            batch_idx: unused.
        """
        losses = []
        for update in range(self.settings.critic_steps):
            losses.append(self._update_critics(batch[:, update], update))
            if self.failed:
                return
        loss = self._update_generator()
        if not self.failed:
            self.log_dict({"train/generator_loss": loss, "train/critic_loss": torch.stack(losses).mean()})

    def _update_critics(self, real: Tensor, update: int) -> Tensor:
        _, optimizer = self.optimizers()  # type: ignore[attr-defined]
        draw = self._stream(update)
        with torch.no_grad():
            fake = self._samples(draw)
        total = torch.zeros((), device=self.device)
        optimizer.zero_grad()
        for critic, shown, crops in zip(self.critics, self._shown(fake, draw), real, strict=True):
            total = total + self.critic_loss(critic, self._noisy(crops, draw), self._noisy(shown, draw), draw)
        self.manual_backward(total)
        if self._finite(total, self.critics):
            # past Lightning's wrapper, which would count this as a step of the training
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None, model=self)
        return total.detach()

    def _update_generator(self) -> Tensor:
        optimizer, _ = self.optimizers()  # type: ignore[attr-defined]
        draw = self._stream(self.settings.critic_steps)
        optimizer.zero_grad()
        self.critics.requires_grad_(False)
        shown = self._shown(self._samples(draw), draw)
        pairs = zip(self.critics, shown, strict=True)
        loss = torch.stack([self.generator_loss(critic, self._noisy(fake, draw)) for critic, fake in pairs]).mean()
        self.manual_backward(loss)
        self.critics.requires_grad_(True)
        if self._finite(loss, self.generator):
            optimizer.step()
            if self.averaged is not None:
                self.averaged.update_parameters(self.generator)
        return loss.detach()

    def _finite(self, loss: Tensor, module: nn.Module) -> bool:
        """Whether loss and gradients are numbers; if not, nothing is changed any more."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
        if math.isfinite(float(loss.detach())) and math.isfinite(float(norm)):
            self._overflows = 0
            return True
        self._overflows += 1
        # in half precision gradients may overflow now and then: the scaler skips such a step and lowers its factor
        scaled = self.trainer.precision == "16-mixed" and math.isfinite(float(loss.detach()))
        self.failed = not scaled or self._overflows > _MOST_OVERFLOWS
        if self.failed:
            self.trainer.should_stop = True
            for norm_layer in (m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
                if not all(torch.isfinite(buffer).all() for buffer in norm_layer.buffers()):
                    norm_layer.reset_running_stats()  # they have seen what was no number
        return not self.failed

    def _samples(self, draw: torch.Generator) -> Tensor:
        """Fresh samples ``(B, C, *spatial)`` in (-1, 1), this process's share of them."""
        s = self.settings
        shape = self.generator.latent_shape((s.size,) * s.dimensions)
        latent = self._share(normal(draw, s.volumes if s.judged else s.batch, s.latent_channels, *shape))
        return indicator(self.generator(latent).float())

    def _shown(self, samples: Tensor, draw: torch.Generator) -> list[Tensor]:
        """What each critic judges: the samples, or random sections of them."""
        s = self.settings
        if not s.judged:
            return [samples]
        planes = [random_planes(s.volumes, s.size * len(kinds), s.batch // s.volumes, draw) for kinds in s.judged]
        return [sections(samples, kinds, self._share(p)) for kinds, p in zip(s.judged, planes, strict=True)]

    def _noisy(self, shown: Tensor, draw: torch.Generator) -> Tensor:
        """With the instance noise of this step (Arjovsky and Bottou, ICLR 2017)."""
        s = self.settings
        deviation = s.instance_noise * max(0.0, 1.0 - self.global_step / s.max_steps)
        if deviation == 0.0:
            return shown
        noise = self._share(normal(draw, len(shown) * self._processes, *shown.shape[1:]))
        return shown + deviation * noise

    @torch.no_grad()
    def sample(self, count: int, size: int, seed: int) -> Tensor:
        """Scores ``(count, C, *spatial)`` of the averaged generator; see :meth:`Task.sample`."""
        generator = self.finished
        was_training = generator.training
        shape = generator.latent_shape((size,) * self.settings.dimensions)
        draw = torch.Generator(self.device).manual_seed(seed)
        latent = normal(draw, count, self.settings.latent_channels, *shape)
        at_once = max(1, _VOXELS_AT_ONCE // size**self.settings.dimensions)
        generator.eval()
        parts = torch.split(latent, at_once)
        scores = torch.cat([generator(part).float() for part in parts])
        generator.train(was_training)
        window = [slice(size)] * self.settings.dimensions
        return scores[:, :, *window]

    @property
    def finished(self) -> ConvolutionalGenerator:
        """The generator to keep: the average, if there is one."""
        return self.generator if self.averaged is None else cast("ConvolutionalGenerator", self.averaged.module)

    def _stream(self, number: int) -> torch.Generator:
        """Random state of one update: a function of seed, step and its number in the step."""
        mixed = ((self.settings.seed * 1_000_003 + self.global_step) * _STREAMS + number) % 2**63
        return torch.Generator(self.device).manual_seed(mixed)

    @property
    def _processes(self) -> int:
        return 1 if self._trainer is None else self.trainer.world_size

    def _share(self, drawn: Tensor) -> Tensor:
        """This process's part of what was drawn for all."""
        return drawn if self._processes == 1 else drawn.chunk(self._processes)[self.trainer.global_rank]


def _average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential moving average that soon forgets the first weights, for :class:`AveragedModel`."""

    def update(averages: _Tensors, values: _Tensors, count: Tensor | int) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        get_ema_multi_avg_fn(now)(averages, values, count)  # type: ignore[no-untyped-call]

    return update


def normal(draw: torch.Generator, *shape: int) -> Tensor:
    """Standard normal values, on the device of the random numbers."""
    return torch.randn(*shape, generator=draw, device=draw.device)


def indicator(scores: Tensor) -> Tensor:
    """Differentiable phase indicators in (-1, 1) of scores ``(B, C, *spatial)``: tanh of one channel, softmax of several."""
    return torch.tanh(scores) if scores.shape[1] == 1 else 2.0 * scores.softmax(dim=1) - 1.0
