"""Measure training of WGAN-GP: a step against a plain one, the wait for crops, what monitor and pictures take.

    python scripts/benchmark_gan.py                             the recipe wgan_gp_quick
    python scripts/benchmark_gan.py --full --steps 20           the sizes of the recipe wgan_gp: for a GPU

Times depend on the machine and on what else runs on it: only the ratios, measured in one run, carry over.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, cast
from unittest.mock import patch

import torch
import tyro
from _plain_wgan import PlainWGAN
from benchmark import run_parts, table
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

import mcrgen
from mcrgen import config
from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
from mcrgen.callbacks.loss_curves import LossCurves
from mcrgen.callbacks.sample_grid import SampleGrid
from mcrgen.commands._adversarial import build_gan
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._hardware import Precision, has_bf16, resolve_device
from mcrgen.commands._micrographs import open_micrographs
from mcrgen.data.crops import Crops
from mcrgen.data.micrographs import MediumKind, write_micrograph
from mcrgen.networks.critic import ConvolutionalCritic
from mcrgen.tasks.adversarial import AdversarialTask, normal

PARTS = ("step", "training")
PLAIN, THRIFTY = "plain", "plain, no fresh samples for the generator"


@dataclass
class Options:
    """What to measure."""

    parts: tuple[str, ...] = PARTS
    """Any of step, training."""
    full: bool = False
    """The sizes of the recipe wgan_gp instead of those of wgan_gp_quick."""
    repeats: int = 15
    """Steps of each kind of which the shortest counts."""
    steps: int | None = None
    """Steps of the training part; twice the longest interval of the recipe if not given, else intervals are at most half."""
    shape: tuple[int, int] = (4000, 5000)
    """Height and width of the synthetic micrograph, in pixels."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    settings: tuple[str, ...] = ()
    """Settings of training over the recipe's, such as trainer.batch_size=32."""


def recipe(options: Options, folder: Path, *settings: str) -> mcrgen.GanConfig:
    """The recipe with the options and more settings over it, for the micrograph in a folder."""
    overrides = [
        f"data.image={folder / 'micrograph.tif'}", f"output={folder / 'run'}", f"trainer.device={options.device}",
        "logging.wandb=disabled", *options.settings, *settings,
    ]  # fmt: skip
    return config.load(mcrgen.GanConfig, config.recipe("wgan_gp" if options.full else "wgan_gp_quick"), overrides)


class Interleaved(Callback):
    """Does other steps after each one of the training, and notes how long they take; the training's with the loop around it."""

    def __init__(self, others: Mapping[str, Callable[[Tensor], object]]) -> None:
        self.others = others
        self.seconds: dict[str, list[float]] = {name: [] for name in ("mcrgen", *others)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        self._note("mcrgen", batch)
        for name, other in self.others.items():
            other(batch[0])
            self._note(name, batch)

    def _note(self, name: str, batch: Tensor) -> None:
        if batch.is_cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[name].append(now - self.start)
        self.start = now

    def best(self, name: str) -> float:
        """Shortest time but for the first step, which warms up."""
        return min(self.seconds[name][1:])

    def ratio(self, name: str) -> float:
        """How much longer that takes than our step: the median over steps that were done one after the other."""
        pairs = zip(self.seconds[name][1:], self.seconds["mcrgen"][1:], strict=True)
        return median(theirs / ours for theirs, ours in pairs)


def draws(task: AdversarialTask, draw: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Latent values and mixtures, update by update, of a task with critics of whole samples and without instance noise."""
    s = task.settings
    shape = task.generator.latent_shape((s.size,) * s.dimensions)
    while True:
        latent = normal(draw, s.batch, s.latent_channels, *shape)
        yield latent, torch.rand(s.batch, generator=draw, device=draw.device)


def plain_step(task: AdversarialTask, device: torch.device, *, fresh: bool) -> Callable[[Tensor], object]:
    """The plain step with copies of a task's networks, in the default memory layout whatever ours is."""
    generator, critic = copy.deepcopy(task.generator), cast("ConvolutionalCritic", copy.deepcopy(task.critics[0]))
    for network in (generator, critic):
        network.to(device).to(memory_format=torch.contiguous_format)
    draw = torch.Generator(device).manual_seed(0)
    plain = PlainWGAN(generator, critic, task.settings, fresh=fresh)
    return lambda real: plain.step(real, draws(task, draw))


def interleaved(configured: mcrgen.GanConfig, precision: Precision, repeats: int) -> Interleaved:
    """Our step and plain ones in turn, on batches that are there already."""
    with open_micrographs(configured) as micrographs:
        task = build_gan(configured, micrographs)
    s, device = task.settings, resolve_device(configured.trainer.device)
    draw = torch.Generator().manual_seed(0)
    shape = (1, s.critic_steps, s.batch, s.channels, *[s.size] * s.dimensions)
    batches = [torch.randn(shape, generator=draw).sign()] * (repeats + 1)
    clock = Interleaved({name: plain_step(task, device, fresh=name == PLAIN) for name in (PLAIN, THRIFTY)})
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu", devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if precision is Precision.bf16 else "32-true", max_steps=repeats + 1, max_epochs=-1,
        logger=False, callbacks=[clock], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return clock


def measure_step(options: Options, folder: Path) -> None:
    """A step of WGANGPTask in a training loop against plain ones in float32, in turn."""
    configured = recipe(options, folder, "trainer.max_steps=100000")
    precisions = [Precision.fp32, Precision.bf16]
    rows: list[tuple[str, ...]] = []
    for precision in precisions if has_bf16(resolve_device(options.device)) else precisions[:1]:
        clock = interleaved(configured, precision, options.repeats)
        rows.append((f"mcrgen, {precision.value}", f"{1e3 * clock.best('mcrgen'):.0f} ms", "1", "1", ""))
        for name in clock.others:
            seconds, ratio = clock.best(name), clock.best(name) / clock.best("mcrgen")
            goal = "1.3" if (name, precision) == (PLAIN, Precision.fp32) else ""
            rows.append((f"{name}, fp32", f"{1e3 * seconds:.0f} ms", f"{ratio:.2f}", f"{clock.ratio(name):.2f}", goal))
    size, batch, updates = configured.network.size, configured.trainer.batch_size, configured.loss.critic_steps
    header = f"step of WGAN-GP, {size}², batches of {batch}, {updates} updates of the critic"
    table((header, "best of several", "relative", "relative, median of pairs", "to reach"), rows)


class Waited:
    """Batches of a loader; notes how long each is waited for."""

    def __init__(self, loader: Iterable[Tensor], seconds: list[float]) -> None:
        self.loader, self.seconds = loader, seconds

    def __iter__(self) -> Iterator[Tensor]:
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self.seconds.append(time.perf_counter() - start)
            yield batch


@contextmanager
def clocked(owner: type, name: str) -> Iterator[list[float]]:
    """How long each call of a method takes."""
    method, seconds = getattr(owner, name), []

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = method(self, *args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    with patch.object(owner, name, timed):
        yield seconds


@dataclass(frozen=True)
class Course:
    """What a training took, in seconds: all in all, each crop batch, each wait for one, and each call of the callbacks."""

    config: mcrgen.GanConfig
    fit: float
    made: list[float]
    waits: list[float]
    hooks: dict[type[Callback], list[float]]


HOOKS: tuple[type[Callback], ...] = (DescriptorMonitor, SampleGrid, LossCurves)


def course(configured: mcrgen.GanConfig) -> Course:
    """Train by the command itself, with clocks in it."""
    waits: list[float] = []
    load = Crops.train_dataloader
    with ExitStack() as stack:
        stack.enter_context(patch.object(Crops, "train_dataloader", lambda crops: Waited(load(crops), waits)))
        made, fits = (stack.enter_context(clocked(*method)) for method in ((Crops, "batch"), (Trainer, "fit")))
        hooks = {hook: stack.enter_context(clocked(hook, "on_train_batch_end")) for hook in HOOKS}
        mcrgen.train(configured)
    return Course(configured, fits[0], made, waits, hooks)


def measure_training(options: Options, folder: Path) -> None:
    """The recipe as shipped, for some steps."""
    shipped = recipe(options, folder)
    intervals = {"monitor.every": shipped.monitor.every, "trainer.preview_every": shipped.trainer.preview_every}
    steps = options.steps or 2 * max(intervals.values())
    settings = [f"trainer.max_steps={steps}", *(f"{key}={min(every, steps // 2)}" for key, every in intervals.items())]
    found = course(recipe(options, folder, *settings))
    report_callbacks(found, shipped)
    report_waits(found)


def step_seconds(found: Course) -> float:
    """Of the training alone."""
    return (found.fit - sum(map(sum, found.hooks.values()))) / found.config.trainer.max_steps


def report_callbacks(found: Course, shipped: mcrgen.GanConfig) -> None:
    """Shares of the training time at the recipe's intervals, from the mean time of a turn."""
    now, then = ({DescriptorMonitor: c.monitor.every, SampleGrid: c.trainer.preview_every} for c in (found.config, shipped))
    turns = {hook: found.config.trainer.max_steps // now.get(hook, now[SampleGrid]) for hook in HOOKS}
    each = {hook: sum(found.hooks[hook]) / turns[hook] for hook in HOOKS}
    every = {hook: then.get(hook, then[SampleGrid]) for hook in HOOKS}
    step = step_seconds(found)
    whole = step + sum(each[hook] / every[hook] for hook in HOOKS)
    rows: list[tuple[str, ...]] = [
        (
            hook.__name__, f"{every[hook]}", f"{turns[hook]}", f"{each[hook]:.2f} s", f"{max(found.hooks[hook]):.2f} s",
            f"{each[hook] / every[hook] / whole:.1%}", "5 %" if hook is DescriptorMonitor else "",
        )
        for hook in HOOKS
    ]  # fmt: skip
    header = (f"steps of {1e3 * step:.0f} ms", "every", "turns", "per turn", "longest call", "share of training", "to reach")
    table(header, rows)


def report_waits(found: Course) -> None:
    """The first batch is waited for before there is a step that it could be made in."""
    step, waits = step_seconds(found), found.waits[1:]
    row = (
        f"{1e3 * median(found.made):.1f} ms", f"{1e3 * median(waits):.2f} ms", f"{1e3 * mean(waits):.2f} ms",
        f"{mean(waits) / step:.1%}", "5 %",
    )  # fmt: skip
    settings = found.config
    header = f"{settings.loss.critic_steps} x {settings.trainer.batch_size} crops of {settings.network.size}² for a step"
    table((header, "made in", "waited for, median", "mean", "share of a step", "to reach"), [("", *row)])


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "micrograph.tif"
        write_micrograph(path, options.shape, medium=MediumKind.gaussian, fraction=0.4, length=4.0, seed=0)
        measures: dict[str, Callable[[], None]] = {
            "step": partial(measure_step, options, Path(name)),
            "training": partial(measure_training, options, Path(name)),
        }
        run_parts(options.parts, measures)


if __name__ == "__main__":
    with quiet_libraries():
        main()
