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
from _reproduction import run
from benchmark import table

import mcrgen
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._generators import LoadedGenerator, load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.commands._learning import build_data
from mcrgen.descriptors.compare import relative_l2
from mcrgen.descriptors.measure import measure
from mcrgen.errors import InputError, StoppedError, require_file
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
    """Fractions, of those requested, to train a generator of its own for, in as many steps."""
    seed: int = 0
    """Seed of training."""
    volume_seeds: tuple[int, ...] = (11, 12, 13, 14, 15)
    """Seeds of the volumes."""
    training: tuple[str, ...] = ()
    """Settings of training over those of the recipe swnn_conditional, such as trainer.max_steps=250."""


@dataclass(frozen=True)
class Row:
    """What came out for one fraction: errors of the mean fraction and of S2, standard deviation of the fractions."""

    fraction: float
    error: float
    deviation: float
    s2: float


def check(options: Options) -> None:
    """Raise before any work.

    Raises:
        InputError: bad input.
    """
    require_file("image", options.image)
    low, high = options.range
    for fraction in options.requested:
        if not low <= fraction <= high:
            raise InputError(f"requested: expected fractions from {low:g} to {high:g}, got {fraction:g}; or change range.")
    for fraction in options.single:
        if fraction not in options.requested:
            raise InputError(f"single: expected fractions that are requested too, got {fraction:g}; add it to requested.")
    if len(options.volume_seeds) < 2:
        raise InputError(f"volume_seeds: expected two or more, to see a deviation, got {len(options.volume_seeds)}.")


def training(options: Options, folder: Path, setting: str) -> mcrgen.TrainConfig:
    overrides = [f"data.image={options.image}", "logging.wandb=disabled", f"seed={options.seed}", *options.training, setting]
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


def measure_one(options: Options, fractions: tuple[float, ...], setting: str) -> tuple[list[Row], float]:
    """Train once and judge each fraction; seconds of training and calibration too.

    Raises:
        StoppedError: interrupted; nothing is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = training(options, Path(folder) / "run", setting)
        start = time.perf_counter()
        try:
            checkpoint = mcrgen.train(config).checkpoint
        except StoppedError as stopped:  # its advice is about a folder that goes with this one
            raise StoppedError("stopped; nothing is kept.") from stopped
        seconds = time.perf_counter() - start
        loaded = load_generator(checkpoint, "auto", Precision.auto)
        return [judged(loaded.at(f), f, patterns_s2(config, f), options.volume_seeds) for f in fractions], seconds


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    check(options)
    low, high = options.range
    rows, seconds = measure_one(options, options.requested, f"data.phase_fraction_range=[{low},{high}]")
    alone = {f: measure_one(options, (f,), f"data.phase_fraction={f}")[0][0].s2 for f in options.single}
    header = ("requested", "error of the mean fraction", "deviation of volumes", "S2, lags 0..6", "trained for it alone")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        single = alone.get(row.fraction)
        beside = "" if single is None else f"{single:.3f} ({row.s2 / single:.2f}×)"
        lines.append((f"{row.fraction:.2f}", f"{row.error:+.4f}", f"{row.deviation:.4f}", f"{row.s2:.3f}", beside))
    print(f"\nconditional generator of {options.image.stem}: {seconds:.0f} s of training and calibration")
    table(header, lines)


if __name__ == "__main__":
    run(main, after_stop="")
