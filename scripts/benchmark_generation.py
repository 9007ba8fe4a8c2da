"""Measure what generating volumes takes: the network alone, the whole command, memory, several processes.

    python scripts/benchmark_generation.py
    python scripts/benchmark_generation.py --parts large --large-size 1024      minutes to half an hour

Times depend on the machine and on what else runs on it: only the ratios, measured in one run, carry over.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from benchmark import PAPER_WIDTH, QUICK_WIDTH, best_of, network, peak_memory, run_parts, table

import mcrgen
from mcrgen import config
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._hardware import has_bf16
from mcrgen.generation.generator import Generator, noise_tensor
from mcrgen.generation.noise import Noise, gaussian_noise

PARTS = ("network", "command", "memory", "processes", "exact")
BLOCK = 256


@dataclass
class Options:
    """What to measure."""

    parts: tuple[str, ...] = PARTS
    """Any of network, command, memory, processes, exact, large."""
    size: int = 512
    """Edge of the volumes of the command and memory parts."""
    large_size: int = 1024
    """Edge of the volumes of the large part."""
    large_widths: tuple[int, ...] = (PAPER_WIDTH, QUICK_WIDTH)
    """Channels of its networks."""
    large_formats: tuple[str, ...] = (".tif", ".zarr")
    """Its formats."""


@dataclass(frozen=True)
class Work:
    """A network and its arithmetic."""

    width: int
    precision: str
    goal: str

    def __str__(self) -> str:
        return f"{self.width} channels, {self.precision}"

    @property
    def dtype(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[self.precision]


def works() -> list[Work]:
    every = [
        Work(PAPER_WIDTH, "bf16", "1.15 s"), Work(PAPER_WIDTH, "fp32", "2.2 s"), Work(QUICK_WIDTH, "bf16", "0.5 s")
    ]  # fmt: skip
    return [work for work in every if work.precision == "fp32" or has_bf16(torch.device("cpu"))]


def gflops(width: int, seconds: float) -> float:
    """Multiplications and additions of 128^3 output voxels, without the halo, per second."""
    net = network(width)
    weights = sum(block.conv.weight.numel() for block in net.blocks) + net.head.weight.numel()  # type: ignore[union-attr, operator]
    return 2 * weights * 128**3 / seconds / 1e9


def matrix_peak(dtype: torch.dtype) -> float:
    """What a product of large matrices reaches, in GFLOP/s."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / best_of(lambda: a @ b, 5) / 1e9


@torch.inference_mode()
def measure_network() -> None:
    """The network without noise and labels, per 128^3 of a block."""
    rows = []
    for work in works():
        net = network(work.width)
        plain = best_of(partial(net, torch.randn(1, 3, 144, 144, 144)), 1)
        folded = net.folded(work.dtype)
        block = torch.randn(1, BLOCK + 16, BLOCK + 16, BLOCK + 16, 3).to(work.dtype).permute(0, 4, 1, 2, 3)
        seconds = best_of(partial(folded, block), 2) * (128 / BLOCK) ** 3
        share = gflops(work.width, seconds) / matrix_peak(work.dtype)
        rows.append((str(work), f"{plain:.2f} s", f"{seconds:.2f} s", f"{plain / seconds:.1f}", f"{share:.0%}"))
    header = (
        "network alone",
        "default layout, fp32, unfolded",
        f"mcrgen, blocks of {BLOCK}³",
        "ratio",
        "of a matrix product's rate",
    )
    table(header, rows)


def checkpoint(folder: Path, width: int) -> Path:
    """A network of that width after one step: it takes as long as a trained one."""
    image = folder / "noise.npy"
    np.save(image, np.random.default_rng(0).integers(0, 2, (64, 64)))
    overrides = [
        f"data.image={image}", "logging.wandb=disabled", "trainer.max_steps=1", "trainer.slab_size=32",
        f"network.channels={width}", f"output={folder / str(width)}", "calibration.threshold_blocks=1",
        "calibration.threshold_block_size=64", "overwrite=true",
    ]  # fmt: skip
    return mcrgen.train(config.load(mcrgen.TrainConfig, config.recipe("swnn"), overrides)).checkpoint


def generate(model: Path, out: Path, *options: str) -> float:
    """Seconds of a command from the first block to the finished file, as it tells them."""
    command = [sys.executable, "-m", "mcrgen", "generate", str(model), str(out), "--overwrite", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"MiB, ([\d.]+) s,", done.stdout.replace("\n", " "))
    if found is None:
        raise SystemExit(done.stdout)
    return float(found[1])


@torch.inference_mode()
def bare_seconds(work: Work, size: int) -> tuple[float, float]:
    """The folded network alone and the noise alone, for a volume of that size in blocks."""
    net = network(work.width)
    generator = Generator(net.folded(work.dtype), net.halo, 3)
    edge, blocks = BLOCK + 2 * net.halo, (size // BLOCK) ** 3
    planes = generator.network.planes(edge, edge)
    like = next(generator.network.parameters())
    slabs = [noise_tensor(Noise(0), (z, 0, 0), (min(planes, edge - z), edge, edge), 3, like) for z in range(0, edge, planes)]
    alone = best_of(lambda: list(generator.network.slabs(slabs)), 2)
    threads = torch.get_num_threads()
    noise = best_of(lambda: gaussian_noise(0, (0, 0, 0), (edge, edge, edge), 3, threads=threads), 1)
    return alone * blocks, noise * blocks


def measure_command(size: int) -> None:
    """A whole volume with everything included, against the network alone on the same blocks."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for work in works():
            model = checkpoint(folder, work.width)
            seconds = generate(
                model, folder / "v.tif", "--size", str(size), "--block-size", str(BLOCK), "--precision", work.precision
            )
            alone, noise = bare_seconds(work, size)
            per = seconds * (128 / size) ** 3
            rows.append((str(work), f"{per:.2f} s", work.goal, f"{seconds / alone - 1:.1%}", f"{noise / seconds:.1%}"))
    header = (f"{size}³ to a compressed TIFF", "per 128³", "to reach", "over the network alone (12 %)", "noise (4 %)")
    table(header, rows)


def measure_memory(size: int) -> None:
    """Peak resident memory of the whole process."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        model = checkpoint(Path(name), PAPER_WIDTH)
        for edge in (size // 2, size):
            rows.append(volume_row(model, Path(name) / "v.tif", edge))
    table(("paper's network", "peak memory", "whole command", "file"), rows)


def volume_row(model: Path, out: Path, size: int) -> tuple[str, ...]:
    command = [sys.executable, "-m", "mcrgen", "generate", str(model), str(out), "--size", str(size), "--overwrite"]
    start = time.perf_counter()
    peak = peak_memory(command)
    seconds = time.perf_counter() - start
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    stored = sum(path.stat().st_size for path in files) / 2**20
    return f"{size}³ {out.suffix}", f"{peak / 2**20:.2f} GiB", f"{seconds:.0f} s", f"{stored:.0f} MiB"


def measure_processes() -> None:
    """Processes of one thread each against one process that has the threads."""
    rows = []
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = checkpoint(folder, QUICK_WIDTH)
        options = ("--size", "384", "--block-size", "192")
        alone = generate(model, folder / "a.npy", *options)
        shared = generate(model, folder / "b.npy", *options, "--devices", str(threads))
        same = (folder / "a.npy").read_bytes() == (folder / "b.npy").read_bytes()
        rows.append((str(threads), f"{alone:.1f} s", f"{shared:.1f} s", f"{alone / shared:.2f}", "yes" if same else "NO"))
    table(("384³, processes", "one with all threads", "with one thread each", "ratio (0.9)", "same bytes"), rows)


def measure_exact() -> None:
    """The threshold chosen in a first pass."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = checkpoint(folder, QUICK_WIDTH)
        plain = generate(model, folder / "a.npy", "--size", "256")
        exact = generate(model, folder / "b.npy", "--size", "256", "--exact")
        residual = json.loads((folder / "b.npy.json").read_text())["residual"]
        rows.append((f"{plain:.1f} s", f"{exact:.1f} s", f"{residual:.1e}"))
    table(("256³", "with --exact", "residual (1e-4)"), rows)


def measure_large(options: Options) -> None:
    """The largest volumes."""
    for width in options.large_widths:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
            model = checkpoint(Path(name), width)
            rows = [volume_row(model, Path(name) / f"v{suffix}", options.large_size) for suffix in options.large_formats]
        table((f"{width} channels", "peak memory", "whole command", "file"), rows)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    measures: dict[str, Callable[[], None]] = {
        "network": measure_network,
        "command": partial(measure_command, options.size),
        "memory": partial(measure_memory, options.size),
        "processes": measure_processes,
        "exact": measure_exact,
        "large": partial(measure_large, options),
    }
    run_parts(options.parts, measures)


if __name__ == "__main__":
    with quiet_libraries():
        main()
