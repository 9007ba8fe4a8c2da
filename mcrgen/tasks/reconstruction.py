"""Reconstruction of a medium from the descriptors of its slices by gradient-based optimisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mcrgen.descriptors.variation import normalised_variation
from mcrgen.losses.slice_descriptors import Parts
from mcrgen.losses.slice_matching import SliceTarget, SliceTerm, errors_and_gradient
from mcrgen.reconstruction.adam import ProjectedAdam
from mcrgen.reconstruction.lbfgs import BoundedLBFGS
from mcrgen.reconstruction.levels import refined
from mcrgen.reconstruction.sections import normals_of, sections, some_sections
from mcrgen.reconstruction.settings import ReconstructionSettings
from mcrgen.tasks.base import Task

_START_CONTRAST = 0.8
_FRACTION_UNIT = 0.3
_LEVEL = "reconstruction_level"
_END = "reconstruction_end"


@dataclass(frozen=True)
class Matched:
    """A descriptor to match.

    Attributes:
        descriptor: of slices.
        targets: by level, 0 being the finest, and section normal.
        weight: of its error in the loss.
    """

    descriptor: Parts
    targets: Sequence[Mapping[int, SliceTarget]]
    weight: float


class Steps:
    """0, 1, 2, ... without end, which a resumed run need not go on with."""

    def __iter__(self) -> Iterator[int]:
        """From the beginning."""
        return count()

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to take up."""


class ReconstructionTask(Task):
    """Optimise the voxels of a medium until its slices have the descriptors asked for.

    The only parameter is the medium, real values in [0, 1] (Seibert et al., Acta Mater. 227 (2022) 117667). The loss is the sum
    over descriptors of weight times squared error, averaged over all slices normal to z, y and x (eq. 7) or taken of the mean
    descriptor of those normal to each axis; of a 2D medium, that of the image itself. Slices are worked through in batches
    whose gradients are gathered, so that memory stays that of a batch. It runs from coarse to fine: the coarsest level first,
    each voxel then split into the voxels of the next one.

    Three phases and more are as many indicator channels, held to a sum of one by a penalty; bounds hold them in [0, 1].

    Deviations from the paper: errors are in units of an image without structure (:class:`~mcrgen.losses.slice_matching
    .SliceTarget`); total variation may be minimised instead of matched; the phase fraction may be held by a term of its own.

    Attributes:
        level: current level; 0 is the finest.
        errors: name -> value of each term of the loss at the last step, before its weight.
        loss: value of the loss at the last step.
        failed: whether the loss was not a number; the medium is then that before.
        done: why it stopped before the last step; None if it did not.
    """

    kind: ClassVar[str] = "reconstruction"

    def __init__(
        self, settings: ReconstructionSettings, matched: Mapping[str, Matched], *, start: Tensor | None = None
    ) -> None:
        """Draw the medium to start from.

        Args:
            settings: of the medium, its loss and the optimiser; part of checkpoints.
            matched: name -> what is matched; not part of checkpoints.
            start: indicators ``(C, *shape)`` of a medium to start from on the finest, only level; random voxels if not given.
        """
        self.settings = settings
        super().__init__(**settings.plain())
        self.automatic_optimization = False
        self.matched = dict(matched)
        if start is not None:
            self.medium = nn.Parameter(self._softened(start.float()))
        self.errors: dict[str, float] = {}
        self.loss = float("nan")
        self.done: str | None = None
        self._best, self._since_best, self._in_level, self._finite = float("inf"), 0, 0, True

    def configure_models(self) -> None:
        """The medium at the coarsest level: voxels of the phases at random, nearly black and white."""
        settings = self.settings
        self.level = settings.levels - 1
        shape = [n >> self.level for n in settings.shape]
        fractions = torch.tensor(settings.fractions).reshape(-1, *[1] * len(shape))
        drawn = torch.rand(shape, generator=torch.Generator().manual_seed(settings.seed))
        above = fractions.cumsum(dim=0)
        phases = ((drawn < above) & (drawn >= above - fractions)).float()
        self.medium = nn.Parameter(self._softened(phases))

    def _softened(self, phases: Tensor) -> Tensor:
        """Indicators drawn towards the phase fractions, so that no voxel starts at a bound."""
        fractions = torch.tensor(self.settings.fractions).reshape(-1, *[1] * (phases.ndim - 1))
        return torch.lerp(fractions.expand_as(phases), phases, _START_CONTRAST)

    def configure_optimizers(self) -> Optimizer:
        """For the medium of the current level."""
        settings = self.settings
        if settings.optimizer == "lbfgs":
            return BoundedLBFGS([self.medium], low=0.0, high=1.0, history=settings.history)
        return ProjectedAdam([self.medium], lr=settings.learning_rate, low=0.0, high=1.0)

    def train_dataloader(self) -> Steps:
        """Nothing but the numbers of the steps: there is no data."""
        return Steps()

    def on_train_start(self) -> None:
        """Take no step more if a run that is resumed had come to its end."""
        self.trainer.should_stop = self.failed or self.done is not None

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One step of the optimiser, and on to the next level where that is due."""
        before = self.medium.detach().clone()
        chosen = self.choose_slices()
        optimizer = self.optimizers()
        loss = optimizer.step(closure=lambda: self.evaluate(chosen))  # type: ignore[union-attr]
        self.loss = float(loss)
        if not (self._finite and torch.isfinite(self.medium).all()) and self._stuck(optimizer, before):
            with torch.no_grad():
                self.medium.copy_(before)
            self.failed = self.trainer.should_stop = True
            return
        values = {f"train/{name}": value for name, value in self.errors.items()}
        self.log_dict({"train/loss": self.loss, "train/level": float(self.level)} | values)
        self._go_on(optimizer)

    def _stuck(self, optimizer: Any, before: Tensor) -> bool:
        """Whether a step that met no number got nowhere: a line search steps back from such places, Adam does not."""
        moved = torch.isfinite(self.medium).all() and not torch.equal(self.medium, before)
        return self.settings.optimizer == "adam" or not moved

    def evaluate(self, chosen: Mapping[int, Tensor] | None = None) -> Tensor:
        """The loss, its gradient being left in the medium; ``chosen`` are the slices to look at, all by default."""
        chosen = self.choose_slices() if chosen is None else chosen
        settings, gradient = self.settings, torch.zeros_like(self.medium)
        sums: dict[str, Tensor] = {}
        slices_in_all = sum(map(len, chosen.values()))
        for normal, numbers in chosen.items():
            share = 1.0 / len(chosen) if settings.together else len(numbers) / slices_in_all
            slices = sections(self.medium.detach(), normal)[numbers]
            terms = self._terms(normal)
            if not terms:
                continue
            errors, pull = errors_and_gradient(terms, slices, settings.slices_per_batch, together=settings.together)
            sections(gradient, normal)[numbers] += share * pull
            for name, error in errors.items():
                sums[name] = sums.get(name, torch.zeros_like(error)) + share * error
        self.medium.grad = None
        whole = self._whole_errors()
        if whole:
            torch.stack([self._weight(name) * error for name, error in whole.items()]).sum().backward()  # type: ignore[no-untyped-call]
            gradient += self.medium.grad if self.medium.grad is not None else 0.0
        self.medium.grad = gradient
        values = sums | {name: error.detach() for name, error in whole.items()}
        self.errors = {name: float(value) for name, value in values.items()}
        loss = torch.stack([self._weight(name) * value.float() for name, value in values.items()]).sum()
        self._finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(gradient).all())
        return loss

    def _terms(self, normal: int) -> dict[str, SliceTerm]:
        """What is matched in the slices normal to an axis on the current level."""
        return {name: SliceTerm(m.descriptor, m.targets[self.level][normal], m.weight) for name, m in self.matched.items()}

    def _whole_errors(self) -> dict[str, Tensor]:
        """Errors of the medium as a whole."""
        settings, errors = self.settings, {}
        flat = self.medium.flatten(1)
        if settings.fraction_weight:
            wanted = flat.new_tensor(settings.fractions)
            unit = _FRACTION_UNIT * torch.minimum(wanted, 1.0 - wanted)
            errors["phase_fraction"] = ((flat.mean(dim=1) - wanted) / unit).square().mean()
        if settings.sum_weight and len(flat) > 1:
            errors["sum"] = (flat.sum(dim=0) - 1.0).square().mean()
        if settings.minimised_variation:
            variation = normalised_variation(self.medium[None], periodic=settings.periodic)
            errors["minimised_variation"] = variation.float().mean()
        return errors

    def _weight(self, name: str) -> float:
        own = {"phase_fraction": "fraction_weight", "sum": "sum_weight", "minimised_variation": "minimised_variation"}
        weight: float = getattr(self.settings, own[name]) if name in own else self.matched[name].weight
        return weight

    def choose_slices(self) -> dict[int, Tensor]:
        """Numbers of the slices of this step by normal: a function of seed and step."""
        generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + self.global_step) % 2**63)
        wanted = self.settings.slices_per_normal
        known = [set(levels.targets[self.level]) for levels in self.matched.values()]
        normals = [n for n in normals_of(self.medium) if all(n in normals for normals in known)]
        return {normal: some_sections(self.medium, normal, wanted, generator) for normal in normals}

    def _go_on(self, optimizer: Any) -> None:
        """Stop, or split the voxels, when nothing is left to gain on this level."""
        settings = self.settings
        self._in_level += 1
        better = self.loss < 0.999 * self._best
        self._best, self._since_best = (self.loss, 0) if better else (self._best, self._since_best + 1)
        converged = getattr(optimizer, "optimizer", optimizer)
        reasons = {
            "the loss reached the tolerance": self.loss <= settings.tolerance,
            "the optimiser converged": bool(getattr(converged, "converged", False)),
            f"the loss did not fall in {settings.patience} steps": self._since_best >= settings.patience,
        }
        due = [reason for reason, holds in reasons.items() if holds]
        if self.level > 0 and (due or self._in_level >= settings.coarse_steps):
            self._refine()
        elif due:
            self.done = due[0]
            self.trainer.should_stop = True

    def _refine(self) -> None:
        self.level -= 1
        self.medium = nn.Parameter(refined(self.medium.detach()))
        self._best, self._since_best, self._in_level = float("inf"), 0, 0
        self.trainer.strategy.setup_optimizers(self.trainer)

    @property
    def latest_slices(self) -> dict[int, Tensor]:
        """The central slice ``(1, C, H, W)`` normal to each axis, in [-1, 1]."""
        medium = self.medium.detach()
        found = {normal: sections(medium, normal) for normal in normals_of(medium)}
        return {normal: 2.0 * all_of[len(all_of) // 2][None] - 1.0 for normal, all_of in found.items()}

    @torch.no_grad()
    def sample(self, count: int, size: int, seed: int) -> Tensor:
        """Scores ``(count, C, size, ...)`` of windows of the medium at random places; see :meth:`Task.sample`.

        They cross its faces if it is periodic. The voxels of a coarse level count as those of the finest that they will be
        split into.
        """
        medium = self.medium.detach()
        for _ in range(self.level):
            medium = refined(medium)
        scores = 2.0 * medium - 1.0 if len(medium) == 1 else medium
        generator = torch.Generator().manual_seed(seed)
        windows = []
        for _ in range(count):
            window = scores
            for axis, length in enumerate(medium.shape[1:], 1):
                edge = min(size, length)
                places = length if self.settings.periodic else length - edge + 1
                start = int(torch.randint(places, (), generator=generator))
                window = window.roll(-start, axis).narrow(axis, 0, edge)
            windows.append(window)
        return torch.stack(windows).float()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the level and the record."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[_LEVEL] = [self.level, self._best, self._since_best, self._in_level]
        checkpoint[_END] = [self.loss, self.failed, self.done]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the level that a run had reached, before its medium and its optimiser are loaded."""
        self.level, self._best, self._since_best, self._in_level = checkpoint[_LEVEL]
        self.loss, self.failed, self.done = checkpoint[_END]
        self.medium = nn.Parameter(torch.zeros_like(checkpoint["state_dict"]["medium"], device=self.device))
