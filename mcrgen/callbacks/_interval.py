"""When a callback's turn has come."""

from __future__ import annotations

from pytorch_lightning import Trainer


class Interval:
    """True once in so many steps and at the last; a task that takes several steps at a time skips none of them."""

    def __init__(self, every: int) -> None:
        """Every ``every`` steps."""
        self.every = every
        self._seen = 0

    def start(self, trainer: Trainer) -> None:
        """Count from the trainer's step on."""
        self._seen = trainer.global_step

    def due(self, trainer: Trainer) -> bool:
        """Ask after each batch, once."""
        step = trainer.global_step
        crossed = step // self.every > self._seen // self.every
        self._seen = step
        return crossed or 0 < trainer.max_steps <= step
