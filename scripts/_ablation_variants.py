"""What scripts/ablation_swnn.py changes of the recipe, one thing at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor

import mcrgen
from mcrgen import config
from mcrgen.descriptors.pattern_characteristic import pattern_frequencies
from mcrgen.descriptors.sliced_wasserstein import random_directions, wasserstein_1d
from mcrgen.generation import calibration
from mcrgen.losses import sliced_wasserstein
from mcrgen.losses.sliced_wasserstein import SlicedWasserstein
from mcrgen.tasks.swnn import SWNNTask

BASE = "recipe"
"""The variant that changes nothing."""
RECIPE_FILE = config.recipe("swnn_quick")
RECIPE = config.load(mcrgen.TrainConfig, RECIPE_FILE)


@dataclass(frozen=True)
class Variant:
    """One change of the recipe.

    Attributes:
        overrides: options of the training.
        patched: place, name and replacement, for what is no option.
    """

    overrides: tuple[str, ...] = ()
    patched: tuple[Any, str, Callable[..., Any]] | None = None

    @contextmanager
    def in_effect(self) -> Iterator[None]:
        """Replace what is no option, and put it back."""
        if self.patched is None:
            yield
        else:
            with patch.object(*self.patched):
                yield


def one_cycle(self: SWNNTask) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
    """Warm-up over 30 % of the steps, then the cosine (Smith and Topin, 2018), between the recipe's learning rates."""
    high, low, steps = (self.hparams[name] for name in ("learning_rate", "final_learning_rate", "max_steps"))
    optimizer = torch.optim.Adam(self.network.parameters(), lr=high)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, high, steps + 1, div_factor=high / low, final_div_factor=1.0, cycle_momentum=False
    )
    return [optimizer], [schedule]


def weight_averaging(self: SWNNTask) -> list[EMAWeightAveraging]:
    """Average over about the last 50 steps: the usual decay of 0.999 would reach back to the first of a short training."""
    return [EMAWeightAveraging(decay=0.98)]


def orthogonal_directions(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Blocks of orthonormal directions (Rowland et al., AISTATS 2019); without the signs of R, which the loss is blind to."""
    raw = torch.randn(-(-count // dimension), dimension, dimension, generator=generator, device=generator.device)
    directions: Tensor = torch.linalg.qr(raw).Q.mT.flatten(0, 1)
    return directions[:count]


def largest_quarter(self: SlicedWasserstein, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Mean over the quarter of the directions with the largest distances (after Deshpande et al., CVPR 2019)."""
    directions = random_directions(self.projections, x.shape[1], generator)
    with torch.autocast(x.device.type, enabled=False):
        distances = wasserstein_1d(directions @ x.T, directions @ y.T, self.p)
    return distances.topk(self.projections // 4).values.mean()


def directions_in_windows(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Directions through the pixels of a random square window of 3 x 3 pixels and more of the patterns of two phases."""
    return torch.nn.functional.normalize(pattern_frequencies(count, 1, math.isqrt(dimension), generator).flatten(1))


_ONE_SCALE = SlicedWasserstein.forward


def two_scales(self: SlicedWasserstein, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of the distances between the central patterns and between those of dilation 2, cut from the same larger windows."""
    pairs = zip(both_scales(x), both_scales(y), strict=True)
    return torch.stack([_ONE_SCALE(self, *pair, generator) for pair in pairs]).mean()


def both_scales(windows: Tensor) -> tuple[Tensor, Tensor]:
    """The central pattern, and every other pixel, of windows ``(N, C * E * E)`` with E = 2 T - 1: each ``(N, C * T * T)``."""
    size = RECIPE.data.patch_size
    edge = 2 * size - 1
    square = windows.reshape(len(windows), -1, edge, edge)
    centre = slice(size // 2, size // 2 + size)
    return square[:, :, centre, centre].flatten(1), square[:, :, ::2, ::2].flatten(1)


def _learning_rates(factor: float) -> tuple[str, ...]:
    """Learning rates of the first and the last step."""
    rates = RECIPE.optimizer
    first, last = factor * rates.learning_rate, factor * rates.final_learning_rate
    return f"optimizer.learning_rate={first}", f"optimizer.final_learning_rate={last}"


VARIANTS = {
    BASE: Variant(),
    "constant_learning_rate": Variant((f"optimizer.final_learning_rate={RECIPE.optimizer.learning_rate}",)),
    "one_cycle": Variant(patched=(SWNNTask, "configure_optimizers", one_cycle)),
    "learning_rate_x2.5": Variant(_learning_rates(2.5)),
    "learning_rate_/2.5": Variant(_learning_rates(1 / 2.5)),
    "weight_averaging": Variant(patched=(SWNNTask, "configure_callbacks", weight_averaging)),
    "exponent_2": Variant(("loss.exponent=2",)),
    "no_autocovariance": Variant(("loss.covariance_weight=0",)),
    "autocovariance_x5": Variant((f"loss.covariance_weight={5 * RECIPE.loss.covariance_weight}",)),
    "orthogonal_directions": Variant(patched=(sliced_wasserstein, "random_directions", orthogonal_directions)),
    "directions_in_windows": Variant(patched=(sliced_wasserstein, "random_directions", directions_in_windows)),
    "characteristic_function": Variant(("loss.distance=characteristic", f"loss.projections={2 * RECIPE.loss.projections}")),
    "max_sliced": Variant(patched=(SlicedWasserstein, "forward", largest_quarter)),
    "projections_256": Variant(("loss.projections=256",)),
    "dilated_patterns": Variant(
        (f"data.patch_size={2 * RECIPE.data.patch_size - 1}",), (SlicedWasserstein, "forward", two_scales)
    ),
    "no_symmetry": Variant(("data.symmetry=none",)),
    "linear_output": Variant(patched=(torch, "tanh", lambda scores: scores)),  # the only tanh of a training is the task's
    "training_statistics": Variant(patched=(calibration, "reestimate_batchnorm", lambda *args: None)),
    "slab_48": Variant(("trainer.slab_size=48",)),
    "slab_64": Variant(("trainer.slab_size=64",)),
    "patch_5": Variant(("data.patch_size=5",)),
    "patch_11": Variant(("data.patch_size=11",)),
    "layers_12": Variant(("network.layers=12",)),
}
"""All that is known, in the order of the table."""
