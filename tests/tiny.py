"""A training run small enough for tests."""

from __future__ import annotations

from pathlib import Path

import mcrgen
from mcrgen import config

TINY = [
    "network.channels=4",
    "network.layers=2",
    "loss.projections=8",
    "trainer.slab_size=16",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "trainer.max_steps=6",
    "trainer.checkpoint_every=2",
    "monitor.every=3",
    "monitor.samples=2",
    "monitor.sample_size=12",
    "calibration.batchnorm_blocks=2",
    "calibration.batchnorm_block_size=12",
    "calibration.threshold_blocks=2",
    "calibration.threshold_block_size=24",
    "logging.wandb=disabled",
]


def tiny_config(image: Path, output: Path, *overrides: str) -> mcrgen.TrainConfig:
    """A training run of a second."""
    return config.load(mcrgen.TrainConfig, None, [f"data.image={image}", f"output={output}", *TINY, *overrides])
