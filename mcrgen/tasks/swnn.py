"""Training of the SWNN generator by sliced-Wasserstein distance between local pattern distributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from mcrgen.descriptors.patterns import local_patterns
from mcrgen.losses.characteristic_distance import CharacteristicDistance
from mcrgen.losses.covariance_matching import CovarianceMatching, CovarianceTargets
from mcrgen.losses.sliced_wasserstein import SlicedWasserstein
from mcrgen.networks.swnn import SWNN
from mcrgen.tasks.base import Task

THIN_FIRST = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
THIN_LAST = ((1, 2, 0), (0, 2, 1), (0, 1, 2))


class SWNNTask(Task):
    """Fit :class:`SWNN` to the patterns of images of one medium (Ma, Teng, Yan et al.).

    Each step generates one slab of one voxel's thickness normal to z, to y and to x, each from fresh noise, and scores its
    slice against its own batch of target patterns; the three gradients are accumulated one after the other, so that only one
    slab is in memory. All randomness is a function of the seed and the step: a resumed run repeats an uninterrupted one.

    A conditional generator (``phase_fraction_range``) makes every step at the phase fraction that its batch was drawn for.

    Deviations from the paper: the scores pass through tanh before they are compared with the two-valued target (the
    threshold is on the score itself); each slice is compared with as many target patterns as it has itself, drawn anew, along
    directions drawn anew; the learning rate falls as a cosine; and the autocovariance of the slices may be matched beside
    the patterns (:class:`~mcrgen.losses.covariance_matching.CovarianceMatching`), which patterns narrower than the
    receptive field leave free.

    Attributes:
        sample_fraction: phase fraction that :meth:`sample` asks a conditional generator for; the middle of its range at first.
    """

    kind: ClassVar[str] = "swnn"

    def __init__(
        self,
        *,
        out_channels: int,
        channels: int,
        layers: int,
        noise_channels: int,
        patch_size: int,
        slab_size: int,
        loss_kind: str,
        distance: str,
        projections: int,
        exponent: float,
        covariance_weight: float,
        learning_rate: float,
        final_learning_rate: float,
        max_steps: int,
        seed: int,
        normals: Sequence[int],
        phase_fraction_range: tuple[float, float] | None,
        covariance: Sequence[CovarianceTargets],
        gram: Sequence[nn.Module] = (),
    ) -> None:
        """Build network and loss.

        Args:
            out_channels: scores per voxel: 1 for two phases, C for C >= 3.
            channels: width of the network.
            layers: depth of the network.
            noise_channels: noise values per voxel.
            patch_size: edge length T of a pattern in pixels.
            slab_size: edge length of the square slices in voxels.
            loss_kind: what of the slices is matched: ``patterns``, ``autocorrelation`` or ``gram``.
            distance: how patterns are compared: ``wasserstein`` or ``characteristic``.
            projections: random directions, or frequencies, per slice.
            exponent: p of the Wasserstein distance.
            covariance_weight: weight of the autocovariance error beside the Wasserstein distance.
            learning_rate: Adam's learning rate at the first step.
            final_learning_rate: and at the last.
            max_steps: length of the cosine schedule in steps.
            seed: seed of slab noise and directions.
            normals: section normals that there are patterns of, 0 (z), 1 (y) or 2 (x), in the order of the batches.
            phase_fraction_range: lowest and highest phase fraction of a conditional generator; None for an unconditional one.
            covariance: target autocovariances of the slices of each normal; none to match patterns alone.
            gram: a loss of slices in [0, 1] for each normal, used by the kind ``gram``; no part of checkpoints.
        """
        super().__init__(
            out_channels=out_channels,
            channels=channels,
            layers=layers,
            noise_channels=noise_channels,
            patch_size=patch_size,
            slab_size=slab_size,
            loss_kind=loss_kind,
            distance=distance,
            projections=projections,
            exponent=exponent,
            covariance_weight=covariance_weight,
            learning_rate=learning_rate,
            final_learning_rate=final_learning_rate,
            max_steps=max_steps,
            seed=seed,
            normals=list(normals),
            phase_fraction_range=None if phase_fraction_range is None else list(phase_fraction_range),
        )
        self.automatic_optimization = False
        self.latest_slices: dict[int, Tensor] = {}
        self.covariance: nn.ModuleList | None = None
        if covariance:
            self.covariance = nn.ModuleList(CovarianceMatching(targets) for targets in covariance)
        self.sample_fraction = None if phase_fraction_range is None else sum(phase_fraction_range) / 2
        self._gram = gram  # unregistered: its feature network is many times larger than the generator

    def configure_models(self) -> None:
        """Build the generator from the seed alone, whatever the global random state."""
        h = self.hparams
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(h["seed"])
            self.network = SWNN(
                out_channels=h["out_channels"],
                channels=h["channels"],
                layers=h["layers"],
                noise_channels=h["noise_channels"],
                condition_range=h["phase_fraction_range"],
            )
        self.network.to(memory_format=torch.channels_last_3d)

    def configure_losses(self) -> None:
        """Build the loss of patterns: sliced-Wasserstein distance, or that of characteristic functions."""
        h = self.hparams
        self.loss: SlicedWasserstein | CharacteristicDistance
        if h["distance"] == "characteristic":
            self.loss = CharacteristicDistance(frequencies=h["projections"], size=h["patch_size"])
        else:
            self.loss = SlicedWasserstein(projections=h["projections"], p=h["exponent"])

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Adam with a cosine schedule."""
        h = self.hparams
        optimizer = torch.optim.Adam(self.network.parameters(), lr=h["learning_rate"])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=h["max_steps"], eta_min=h["final_learning_rate"])
        return [optimizer], [schedule]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One optimiser step on one slab per section normal.

        Args:
            batch: ``(normals, M, C * T * T)`` target patterns in {-1, 1}, and the phase fraction they were drawn for.
            batch_idx: unused.
        """
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        total = torch.zeros((), device=self.device)
        self.latest_slices = {}
        targets, fraction = batch
        for place, (normal, target) in enumerate(zip(self.hparams["normals"], targets, strict=True)):
            generator = self._generator(normal)
            slice_ = self.slab(normal, generator, fraction)
            self.latest_slices[normal] = slice_.detach()
            loss = self._loss(slice_, place, target, fraction, generator).float() / len(targets)
            self.manual_backward(loss)
            total += loss.detach()
        optimizer.step()  # type: ignore[union-attr]
        self.log_dict({"train/loss": total, "train/learning_rate": schedule.get_last_lr()[0]})  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr]

    def _loss(self, slice_: Tensor, place: int, target: Tensor, fraction: Tensor, generator: torch.Generator) -> Tensor:
        """What a slice in (-1, 1) lacks, by the kind of loss; ``place`` is that of its normal in the batch."""
        h, indicator = self.hparams, (slice_ + 1.0) / 2.0
        if h["loss_kind"] == "gram":
            found: Tensor = self._gram[place].to(self.device)(indicator)
            return found
        loss = torch.zeros((), device=self.device)
        if h["loss_kind"] == "patterns":
            loss = loss + self.loss(local_patterns(slice_, h["patch_size"]), target, generator)
        if self.covariance is not None:
            weight = h["covariance_weight"] if h["loss_kind"] == "patterns" else 1.0
            loss = loss + weight * self.covariance[place](indicator, fraction)
        return loss

    def slab(self, normal: int, generator: torch.Generator, fraction: Tensor | None = None) -> Tensor:
        """Generate the slice ``(1, C, S, S)`` of a slab normal to axis ``normal``, values in (-1, 1).

        ``fraction`` is the phase fraction to make it at, if the generator is conditional.

        oneDNN's backward pass over a thin volume is up to seven times faster with the thin axis last in float32, and nearly
        twice as fast with it first in bfloat16, so the kernels are turned instead of the noise being laid out along the
        medium's axes.
        """
        size, halo = self.hparams["slab_size"], self.network.halo
        thick, thin = size + 2 * halo, 1 + 2 * halo
        first = torch.is_autocast_enabled(self.device.type)
        shape, axes = ((thin, thick, thick), THIN_FIRST[normal]) if first else ((thick, thick, thin), THIN_LAST[normal])
        noise = torch.randn(1, *shape, self.network.noise_channels, generator=generator, device=self.device)
        scores = self.network(noise.permute(0, 4, 1, 2, 3), axes, condition=fraction)
        return torch.tanh(scores.squeeze(2 if first else 4).float())

    @torch.no_grad()
    def sample(self, count: int, size: int, seed: int) -> Tensor:
        """Scores ``(count, C, size, size, size)`` of independent cubes; see :meth:`Task.sample`.

        Batch normalisation uses the statistics of the cubes themselves, as one batch: the averages kept in training belong to
        thin slabs and to older weights, and the finished model does not use them either. A conditional generator is asked for
        :attr:`sample_fraction`.
        """
        edge = size + 2 * self.network.halo
        generator = torch.Generator(self.device).manual_seed(seed)
        noise = torch.randn(count, edge, edge, edge, self.network.noise_channels, generator=generator, device=self.device)
        with _own_statistics(self.network), self._training_precision():
            scores: Tensor = self.network(noise.permute(0, 4, 1, 2, 3), condition=self.sample_fraction)
        return scores.float()

    def _training_precision(self) -> AbstractContextManager[None]:
        return nullcontext() if self._trainer is None else self.trainer.precision_plugin.train_step_context()

    def _generator(self, normal: int) -> torch.Generator:
        """Random state of one slab: a function of seed, step and normal."""
        mixed = ((self.hparams["seed"] * 1_000_003 + self.global_step) * 3 + normal) % 2**63
        return torch.Generator(self.device).manual_seed(mixed)


@contextmanager
def _own_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of its input and keep no trace of them."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    was_training = network.training
    network.train()
    for m in norms:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m in norms:
            m.track_running_stats = True
        network.train(was_training)
