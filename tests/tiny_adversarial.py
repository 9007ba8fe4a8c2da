"""Adversarial training small enough for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.tasks.adversarial import AdversarialTask
from mcrgen.tasks.adversarial_settings import AdversarialSettings

SETTINGS: dict[str, Any] = {
    "dimensions": 2, "channels": 1, "size": 16, "latent": "vector", "latent_channels": 8, "features": 4, "max_features": 16,
    "upsampling": "transposed", "critic_features": 4, "spectral_norm": False, "judged": (), "batch": 4, "volumes": 2,
    "critic_steps": 2, "learning_rate": 1e-3, "critic_learning_rate": 1e-3, "betas": (0.5, 0.9), "averaging": 0.9,
    "gradient_penalty": 10.0, "label_smoothing": 0.0, "instance_noise": 0.0, "max_steps": 6, "seed": 3,
}  # fmt: skip


def settings(**changes: Any) -> AdversarialSettings:
    """Settings of a training of a second."""
    return AdversarialSettings(**(SETTINGS | changes))


def crops(task: AdversarialTask, count: int, seed: int = 0) -> Tensor:
    """Crops ``(count, C, *spatial)`` in {-1, 1} as the task's critics see them."""
    s = task.settings
    shape = (s.size,) * (2 if s.judged else s.dimensions)
    fractions = (0.6, 0.4) if s.channels == 1 else (1 / s.channels,) * s.channels
    labels = torch.stack([torch.from_numpy(gaussian_level_cut(shape, fractions, 2.0, seed + i)) for i in range(count)]).long()
    if s.channels == 1:
        return labels[:, None] * 2.0 - 1.0
    return torch.nn.functional.one_hot(labels, s.channels).movedim(-1, 1) * 2.0 - 1.0


class TinyCrops(LightningDataModule):
    """Batches drawn from a few crops, a function of the step; each process has its share."""

    def __init__(self, task: AdversarialTask, count: int = 8) -> None:
        super().__init__()
        self.settings = task.settings
        self.pool = crops(task, count)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Tensor:
        s, draw = self.settings, torch.Generator().manual_seed(step)
        critics = max(1, len(s.judged))
        chosen = torch.randint(len(self.pool), (critics, s.critic_steps, s.batch), generator=draw)
        return self.pool[chosen.chunk(world, dim=2)[rank]]

    def train_dataloader(self) -> DataLoader[Tensor]:
        trainer = self.trainer
        assert trainer is not None
        return DataLoader(_Endless(self, trainer.global_step, trainer.global_rank, trainer.world_size), batch_size=None)


class _Endless(IterableDataset[Tensor]):
    def __init__(self, data: TinyCrops, start: int, rank: int, world: int) -> None:
        self.data, self.start, self.rank, self.world = data, start, rank, world

    def __iter__(self) -> Iterator[Tensor]:
        step = self.start
        while True:
            yield self.data.batch(step, self.rank, self.world)
            step += 1


def tiny_trainer(steps: int, **options: Any) -> Trainer:
    """A silent trainer on the CPU."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(**({"accelerator": "cpu", "devices": 1, "max_steps": steps, "max_epochs": -1} | silent | options))


def train(task: AdversarialTask, steps: int, *, resume: Any = None, **options: Any) -> Trainer:
    """Train a task to a step."""
    trainer = tiny_trainer(steps, **options)
    trainer.fit(task, TinyCrops(task), ckpt_path=resume, weights_only=True)
    return trainer
