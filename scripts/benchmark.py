"""Measure training and quality, and print them as Markdown tables beside the peer's published figures.

    python scripts/benchmark.py                           training
    python scripts/benchmark.py --images FOLDER           also quality, on FOLDER/M1.bmp and FOLDER/M3.bmp
    python scripts/benchmark.py --parts quality --images FOLDER --train-seeds 0 1 2

M1 and M3 are training images of the SWNN authors' code repository (MIT). Times depend on the machine and on what else runs on
it: only the ratios, measured in one run, carry over.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import tyro
from pytorch_lightning import Callback, Trainer
from torch import nn

import mcrgen
from mcrgen import config
from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._hardware import has_bf16
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.exemplar import Exemplar
from mcrgen.data.symmetry import Symmetry
from mcrgen.io.phases import Phases
from mcrgen.losses.covariance_matching import CovarianceTargets
from mcrgen.networks.swnn import SWNN
from mcrgen.tasks.swnn import SWNNTask

PARTS = ("help", "training", "monitor", "quality")
PAPER_WIDTH, QUICK_WIDTH, LAYERS = 24, 16, 8


@dataclass
class Options:
    """What to measure."""

    parts: tuple[str, ...] = PARTS
    """Any of help, training, monitor, quality."""
    images: Path | None = None
    """Folder with M1.bmp and M3.bmp; without it the quality part is left out."""
    recipe: str = "swnn_quick"
    """Recipe of the quality part."""
    train_seeds: tuple[int, ...] = (0,)
    """Training seeds of the quality part."""
    volume_seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Seeds of the volumes each trained model is judged on."""
    training: tuple[str, ...] = ()
    """Settings of training over the recipe's, such as trainer.max_steps=700."""


def best_of(function: Callable[[], object], repeats: int = 3) -> float:
    """Shortest time in seconds after one warm-up call; the same for every row of a table."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print("\n| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()


def network(width: int) -> SWNN:
    torch.manual_seed(0)
    return SWNN(out_channels=1, channels=width, layers=LAYERS, noise_channels=3).eval()


def measure_help() -> None:
    command = [str(Path(sys.executable).parent / "mcrgen"), "--help"]
    seconds = best_of(lambda: subprocess.run(command, check=True, capture_output=True), 5)
    table(("`mcrgen --help`", "to reach"), [(f"{seconds:.2f} s", "0.5 s")])


def plain_step(projections: int) -> Callable[[], None]:
    """The paper's training step as one writes it first: default layout, fp32, projections as a convolution, torch.sort."""
    net = network(PAPER_WIDTH).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    target = torch.sign(torch.randn(1, 1, 128, 128))
    size, halo = 128, net.halo

    def step() -> None:
        optimizer.zero_grad()
        for axis in range(3):
            shape = [1 + 2 * halo if i == axis else size + 2 * halo for i in range(3)]
            section = torch.tanh(net(torch.randn(1, 3, *shape)).squeeze(2 + axis))
            directions = nn.functional.normalize(torch.randn(projections, 49)).view(projections, 1, 7, 7)
            projected = nn.functional.conv2d(section, directions).flatten(2)
            wanted = nn.functional.conv2d(target, directions).flatten(2)
            (projected.sort().values - wanted.sort().values).abs().mean().backward()
        optimizer.step()

    return step


class Clock(Callback):
    """Notes when each training step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: object) -> None:
        self.ends.append(time.perf_counter())


def our_step_seconds() -> float:
    """Shortest time of a step of the paper's network in a real training loop, data and logging included."""
    clock, size, patch = Clock(), 128, 7
    medium = np.random.default_rng(0).integers(0, 2, (size, size)).astype(np.uint8)
    data = Exemplar(
        [[medium]] * 3, Phases((0, 1), 1), patch_size=patch, count=(size - patch + 1) ** 2, symmetry=Symmetry.square, seed=0,
        target=None,
    )  # fmt: skip
    task = SWNNTask(
        out_channels=1, channels=PAPER_WIDTH, layers=LAYERS, noise_channels=3, patch_size=patch, slab_size=size,
        distance="wasserstein", loss_kind="patterns", projections=64, exponent=1.0, covariance_weight=0.1, learning_rate=0.02,
        final_learning_rate=4e-4, max_steps=5, seed=0, normals=(0, 1, 2), phase_fraction_range=None,
        covariance=[CovarianceTargets(maps[None]) for maps in data.covariance(16)],
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", precision="bf16-mixed" if has_bf16(torch.device("cpu")) else "32-true", max_steps=5, max_epochs=-1,
        logger=False, callbacks=[clock], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, data)
    return float(np.diff(clock.ends)[1:4].min())


def measure_training() -> None:
    ours = our_step_seconds()
    rows = [("mcrgen (64 directions)", f"{ours:.2f} s", "1.0", "")]
    for projections, peer in ((64, ""), (512, "2.95 s")):
        seconds = best_of(plain_step(projections))
        rows.append(
            (f"default layout, fp32, torch.sort, {projections} directions", f"{seconds:.2f} s", f"{seconds / ours:.1f}", peer)
        )
    table(("training step, 8 x 24, 128² slabs", "time", "mcrgen is faster by", "peer's figure"), rows)


def measure_monitor() -> None:
    """What DescriptorMonitor takes of the training time of the quick recipe, at its default interval."""
    spent: list[float] = []
    look = DescriptorMonitor.on_train_batch_end

    def timed(self: DescriptorMonitor, *args: Any) -> None:
        start = time.perf_counter()
        look(self, *args)
        spent.append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as name, patch.object(DescriptorMonitor, "on_train_batch_end", timed):
        folder = Path(name)
        np.save(folder / "medium.npy", gaussian_level_cut((128, 128), (0.6, 0.4), 3.0, 0))
        overrides = [f"data.image={folder / 'medium.npy'}", f"output={folder / 'run'}"]
        recipe = config.load(mcrgen.TrainConfig, config.recipe("swnn_quick"), overrides)
        start = time.perf_counter()
        mcrgen.train(recipe)
        seconds = time.perf_counter() - start
    row = (f"{recipe.monitor.every} of {recipe.trainer.max_steps} steps", f"{sum(spent):.1f} s", f"{seconds:.0f} s")
    table(("monitor every", "monitor", "whole training", "share", "to reach"), [(*row, f"{sum(spent) / seconds:.1%}", "5 %")])


def peak_memory(command: list[str]) -> int:
    """Peak resident memory of a command in KiB, read while it runs (wait4 would count its parent's pages too)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            peak = max(peak, int(found[1]) if found else 0)
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return peak


def quality_row(image: Path, options: Options, seed: int, folder: Path) -> tuple[str, ...]:
    """Train once, judge on fresh volumes, return the means: phase fractions as they come, the rest at the exact fraction."""
    overrides = [f"data.image={image}", "logging.wandb=disabled", *options.training]
    recipe = config.load(mcrgen.TrainConfig, config.recipe(options.recipe), overrides)
    start = time.perf_counter()
    trained = mcrgen.train(replace(recipe, seed=seed, output=folder / "run"))
    seconds = time.perf_counter() - start
    fractions, results = [], []
    for volume_seed in options.volume_seeds:
        volume, exact = folder / f"v{volume_seed}.npy", folder / f"e{volume_seed}.npy"
        made = mcrgen.GenerateConfig(checkpoint=trained.checkpoint, output=volume, size=(128,), seed=volume_seed)
        fractions.append(mcrgen.generate(made).phase_fractions[1])
        mcrgen.generate(replace(made, output=exact, exact=True))
        compared = mcrgen.CompareConfig(reference=image, candidates=(exact,), output=folder / f"c{volume_seed}")
        results.append(mcrgen.compare(compared).metrics["candidates"][exact.stem])
    reference = results[0]["phase_fraction"]["reference"]
    return (
        image.stem,
        str(seed),
        f"{seconds:.0f} s",
        f"{abs(statistics.mean(fractions) / reference - 1):.2%}",
        f"{statistics.stdev(fractions) / reference:.1%}",
        f"{statistics.mean(m['curves']['s2']['relative_l2'] for m in results):.4f}",
        f"{statistics.mean(m['curves']['lineal_path']['relative_l2'] for m in results):.3f}",
        f"{statistics.mean(m['autocovariance_2d']['relative_l2'] for m in results):.3f}",
        f"{statistics.mean(m['specific_surface']['relative_error'] for m in results):.1%}",
    )


def measure_quality(options: Options) -> None:
    if options.images is None:
        print("\nquality: left out; give --images FOLDER with M1.bmp and M3.bmp")
        return
    rows = []
    for name in ("M3", "M1"):
        for seed in options.train_seeds:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(quality_row(options.images / f"{name}.bmp", options, seed, Path(folder)))
    header = ("image", "seed", "training", "φ err of the mean", "φ std", "S2 rel. L2", "lineal path", "2D autocov.", "surface")
    table(header, rows)


def run_parts(wanted: tuple[str, ...], measures: dict[str, Callable[[], None]]) -> None:
    """Run the chosen measurements in the order of the table."""
    if unknown := set(wanted) - set(measures):
        raise SystemExit(f"parts: expected any of {', '.join(measures)}, got {', '.join(unknown)}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for part, measure in measures.items():
        if part in wanted:
            measure()


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    measures: dict[str, Callable[[], None]] = {
        "help": measure_help,
        "training": measure_training,
        "monitor": measure_monitor,
        "quality": lambda: measure_quality(options),
    }
    run_parts(options.parts, measures)


if __name__ == "__main__":
    with quiet_libraries():
        main()
