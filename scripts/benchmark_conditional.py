"""Measure one conditional generator against generators of a single phase fraction, and print a Markdown table.

    python scripts/benchmark_conditional.py --image M1.bmp                            the conditional generator
    python scripts/benchmark_conditional.py --image M1.bmp --single 0.10 0.22 0.30    and one trained for each of these

For every requested fraction five fresh volumes of 128^3: the mean error of their phase fraction at the calibrated threshold,
its standard deviation between volumes, and, at the exact fraction, the relative L2 error of S2 over lags 0 to 6 against the
patterns that were learnt from, resampled to that fraction.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from benchmark import table

import mcrgen
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._generators import LoadedGenerator, load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.commands._learning import build_data
from mcrgen.descriptors.compare import relative_l2
from mcrgen.descriptors.measure import measure
from mcrgen.generation.noise import Noise

EDGE = 128
REQUESTED = (0.10, 0.13, 0.15, 0.20, 0.22, 0.25, 0.28, 0.30)


@dataclass
class Options:
    """What to measure."""

    image: Path
    """Segmented image of two phases."""
    range: tuple[float, float] = (0.10, 0.30)
    """Phase fractions of the conditional generator."""
    requested: tuple[float, ...] = REQUESTED
    """Fractions to ask it for."""
    single: tuple[float, ...] = ()
    """Fractions to train a generator of its own for, in as many steps."""
    seed: int = 0
    """Seed of training."""
    volume_seeds: tuple[int, ...] = (11, 12, 13, 14, 15)
    """Seeds of the volumes."""
    steps: int | None = None
    """Training steps; those of the recipe swnn_conditional if not given."""


@dataclass(frozen=True)
class Row:
    """What came out for one fraction."""

    fraction: float
    error: float
    deviation: float
    s2: float


def training(options: Options, folder: Path, *settings: str) -> mcrgen.TrainConfig:
    overrides = [f"data.image={options.image}", "logging.wandb=disabled", f"seed={options.seed}", *settings]
    if options.steps is not None:
        overrides.append(f"trainer.max_steps={options.steps}")
    return replace(mcrgen.load_config(mcrgen.TrainConfig, Path("swnn_conditional"), overrides), output=folder)


def judged(loaded: LoadedGenerator, fraction: float, target: np.ndarray, seeds: tuple[int, ...]) -> Row:
    """Volumes of one fraction; ``target`` is S2 from lag 0 on."""
    threshold = -loaded.calibration(fraction).bias[0]
    fractions, errors = [], []
    for seed in seeds:
        scores = loaded.generator.scores(Noise(seed), (0, 0, 0), (EDGE,) * 3)[0].cpu().numpy()
        fractions.append(float((scores > threshold).mean()))
        exact = scores > np.quantile(scores, 1.0 - fraction)
        errors.append(relative_l2(measure(exact, max_lag=len(target) - 1, curves=("s2",)).curves["s2"].mean, target))
    return Row(fraction, statistics.mean(fractions) - fraction, statistics.stdev(fractions), statistics.mean(errors))


def patterns_s2(config: mcrgen.TrainConfig, fraction: float) -> np.ndarray:
    """S2 along the axes of the patterns resampled to a fraction, averaged over section normals."""
    maps = build_data(config, read_exemplars(config.data)).pattern_covariance([fraction])[0].mean(dim=0)[0].double().numpy()
    centre = len(maps) // 2
    along: np.ndarray = (maps[centre, centre:] + maps[centre:, centre]) / 2 + fraction**2
    return along


def measure_one(options: Options, folder: Path, fractions: tuple[float, ...], setting: str) -> tuple[list[Row], float]:
    """Train once and judge each fraction; seconds of training and calibration too."""
    config = training(options, folder, setting)
    start = time.perf_counter()
    checkpoint = mcrgen.train(config).checkpoint
    seconds = time.perf_counter() - start
    loaded = load_generator(checkpoint, "auto", Precision.auto)
    rows = [judged(loaded.at(f), f, patterns_s2(config, f), options.volume_seeds) for f in fractions]
    return rows, seconds


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as name:
        low, high = options.range
        setting = f"data.phase_fraction_range=[{low},{high}]"
        rows, seconds = measure_one(options, Path(name) / "range", options.requested, setting)
        alone = {}
        for fraction in options.single:
            found, _ = measure_one(options, Path(name) / f"{fraction}", (fraction,), f"data.phase_fraction={fraction}")
            alone[fraction] = found[0].s2
    lines = [
        (
            f"{row.fraction:.2f}",
            f"{row.error:+.4f}",
            f"{row.deviation:.4f}",
            f"{row.s2:.3f}",
            f"{alone[row.fraction]:.3f} ({row.s2 / alone[row.fraction]:.2f}×)" if row.fraction in alone else "",
        )
        for row in rows
    ]
    print(f"\nconditional generator of {options.image.stem}: {seconds:.0f} s of training and calibration")
    header = (
        "requested",
        "error of the mean fraction",
        "standard deviation of volumes",
        "S2, lags 0..6",
        "trained for it alone",
    )
    table(header, lines)


if __name__ == "__main__":
    with quiet_libraries():
        main()
