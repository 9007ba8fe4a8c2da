"""Trains a tiny GAN in two processes: CASE FILE; the weights go to FILE."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).parent))
from tiny_adversarial import settings, train

from mcrgen.tasks.adversarial import AdversarialTask
from mcrgen.tasks.dcgan import DCGANTask
from mcrgen.tasks.wgan_gp import WGANGPTask

STEPS = 3
CASES = ("images", "sections")


def task(case: str) -> AdversarialTask:
    """The discriminator's batch normalisation, or sections and the penalty."""
    if case == "images":
        return DCGANTask(settings(instance_noise=0.1))
    return WGANGPTask(settings(dimensions=3, latent="field", judged=(((0, 1, 2), (1, 0, 2), (2, 0, 1)),)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained = task(sys.argv[1])
    strategy = DDPStrategy(process_group_backend="gloo", find_unused_parameters=True)
    trainer = train(trained, STEPS, devices=2, strategy=strategy, use_distributed_sampler=False)
    if trainer.is_global_zero:
        torch.save({"step": trainer.global_step, "state": trained.state_dict()}, sys.argv[2])
