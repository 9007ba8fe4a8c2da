"""Change one thing of the recipe swnn_quick at a time, and print what that does to the errors and to the training time.

    python scripts/ablation_swnn.py --images FOLDER --output DIR
    python scripts/ablation_swnn.py --images FOLDER --output DIR --variants recipe exponent_2 --train-seeds 0 1 2 3 4
    python scripts/ablation_swnn.py --output DIR --table

Each variant is trained with several seeds on FOLDER/M1.bmp and FOLDER/M3.bmp (training images of the SWNN authors' code
repository, MIT) and judged on volumes of exactly the image's phase fraction. DIR/runs.csv gets a row as soon as a run has
ended; runs that are in it are not repeated: the script can be stopped and started again, and calls with other variants, seeds
or images add up. Times are those of the training steps alone and depend on the machine: only their ratios carry over.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import tyro
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging
from scipy.stats import t as student
from torch import Tensor

import mcrgen
from mcrgen import config
from mcrgen.cli import EXIT_BAD_INPUT, EXIT_STOPPED
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.descriptors.compare import common_lags, compare
from mcrgen.descriptors.measure import Measurement, measure
from mcrgen.descriptors.sliced_wasserstein import random_directions, wasserstein_1d
from mcrgen.descriptors.windows import Band
from mcrgen.errors import InputError, StoppedError, near_name, require_file, require_positive, require_seed, require_writable
from mcrgen.generation import calibration
from mcrgen.generation.calibration import classify, solve_bias
from mcrgen.generation.noise import Noise
from mcrgen.io.images import read_medium
from mcrgen.losses import sliced_wasserstein
from mcrgen.losses.sliced_wasserstein import SlicedWasserstein
from mcrgen.tasks.swnn import SWNNTask

BASE = "recipe"
RECIPE = config.load(mcrgen.TrainConfig, config.recipe("swnn_quick"))
CURVES = ("s2", "lineal_path", "p3h", "p4")
COLUMNS = {
    "s2": ("S2, rel. L2", ".4f"),
    "lineal_path": ("lineal path, rel. L2", ".4f"),
    "autocovariance_2d": ("2D autocov., rel. L2", ".3f"),
    "surface": ("surface err", ".2%"),
    "p3h": ("F3H, MSE", ".1e"),
    "p4": ("F4, MSE", ".1e"),
    "fraction_error": ("φ err of the mean", ".2%"),
    "fraction_scatter": ("φ scatter", ".2%"),
    "cpu_seconds": ("CPU s / threads", ".1f"),
    "wall_seconds": ("s", ".1f"),
}
"""What a run is measured by: name in runs.csv, heading and format in the table."""
LEGEND = (
    "mean ± standard deviation over the training seeds; × ratio to the recipe's mean over the same seeds, with a * where the "
    "paired difference exceeds twice its standard error, as pure chance does in"
)
KEY = ("variant", "image", "seed", "steps", "settings")


@dataclass(kw_only=True)
class Options:
    """What to train, and how to judge it."""

    output: Path
    """Folder for runs.csv."""
    images: Path | None = None
    """Folder with the images NAME.bmp; needed unless --table is given."""
    image_names: tuple[str, ...] = ("M1", "M3")
    """Their names."""
    variants: tuple[str, ...] = ()
    """What to change of the recipe; all that is known if not given."""
    steps: int = 250
    """Optimiser steps."""
    train_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of training."""
    volume_seeds: tuple[int, ...] = (11, 12, 13, 14, 15)
    """Seeds of the volumes each trained model is judged on; two or more."""
    size: int = 128
    """Edge length of these volumes, in voxels."""
    overrides: tuple[str, ...] = ()
    """More options of `mcrgen train` for all runs, such as calibration.threshold_blocks=4."""
    table: bool = False
    """Train nothing, print the table of DIR/runs.csv."""


@dataclass(frozen=True)
class Variant:
    """One change of the recipe.

    Attributes:
        overrides: options of the training.
        patched: place and replacement, for what is no option.
    """

    overrides: tuple[str, ...] = ()
    patched: tuple[object, str, Callable[..., Any]] | None = None


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


def two_scales(self: SlicedWasserstein, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of the distances between the central patterns and between those of dilation 2, cut from the same larger windows."""
    size = RECIPE.data.patch_size
    edge = 2 * size - 1
    x, y = (patterns.reshape(len(patterns), -1, edge, edge) for patterns in (x, y))
    centre, every_other = slice(size // 2, size // 2 + size), slice(None, None, 2)
    cut = [(x[:, :, s, s].flatten(1), y[:, :, s, s].flatten(1)) for s in (centre, every_other)]
    return torch.stack([ONE_SCALE(self, *pair, generator) for pair in cut]).mean()


ONE_SCALE = SlicedWasserstein.forward


def learning_rates(first: float, last: float) -> tuple[str, ...]:
    """Learning rates of the first and the last step."""
    return f"optimizer.learning_rate={first}", f"optimizer.final_learning_rate={last}"


def variants() -> dict[str, Variant]:
    """All that is known, in the order of the table."""
    first, last = RECIPE.optimizer.learning_rate, RECIPE.optimizer.final_learning_rate
    weight, window = RECIPE.loss.covariance_weight, 2 * RECIPE.data.patch_size - 1
    return {
        BASE: Variant(),
        "constant_learning_rate": Variant(learning_rates(first, first)),
        "one_cycle": Variant(patched=(SWNNTask, "configure_optimizers", one_cycle)),
        "learning_rate_x2.5": Variant(learning_rates(2.5 * first, 2.5 * last)),
        "learning_rate_/2.5": Variant(learning_rates(first / 2.5, last / 2.5)),
        "weight_averaging": Variant(patched=(SWNNTask, "configure_callbacks", weight_averaging)),
        "exponent_2": Variant(("loss.exponent=2",)),
        "no_autocovariance": Variant(("loss.covariance_weight=0",)),
        "autocovariance_x5": Variant((f"loss.covariance_weight={5 * weight}",)),
        "orthogonal_directions": Variant(patched=(sliced_wasserstein, "random_directions", orthogonal_directions)),
        "max_sliced": Variant(patched=(SlicedWasserstein, "forward", largest_quarter)),
        "projections_256": Variant(("loss.projections=256",)),
        "dilated_patterns": Variant((f"data.patch_size={window}",), (SlicedWasserstein, "forward", two_scales)),
        "no_symmetry": Variant(("data.symmetry=none",)),
        "linear_output": Variant(patched=(torch, "tanh", lambda scores: scores)),  # the only tanh of a training is the task's
        "training_statistics": Variant(patched=(calibration, "reestimate_batchnorm", lambda *args: None)),
        "slab_48": Variant(("trainer.slab_size=48",)),
        "slab_64": Variant(("trainer.slab_size=64",)),
        "patch_5": Variant(("data.patch_size=5",)),
        "patch_11": Variant(("data.patch_size=11",)),
        "layers_12": Variant(("network.layers=12",)),
    }


@dataclass(frozen=True)
class Run:
    """One training: a variant, an image, a seed."""

    variant: str
    image: Path
    seed: int
    options: Options

    @property
    def key(self) -> tuple[str, ...]:
        """Its row in runs.csv begins with this."""
        o = self.options
        settings = " ".join([f"volumes={','.join(map(str, o.volume_seeds))}", f"size={o.size}", *o.overrides])
        return self.variant, self.image.stem, str(self.seed), str(o.steps), settings

    def config(self, output: Path) -> mcrgen.TrainConfig:
        """Options of the training; those of the variant win over those for all runs."""
        overrides = [
            f"data.image={self.image}", f"output={output}", f"seed={self.seed}", f"trainer.max_steps={self.options.steps}",
            "monitor.every=0", "logging.wandb=disabled", *self.options.overrides, *variants()[self.variant].overrides,
        ]  # fmt: skip
        return config.load(mcrgen.TrainConfig, config.recipe("swnn_quick"), overrides)


def train(run: Run, folder: Path) -> tuple[Path, dict[str, float]]:
    """Train and calibrate; returns the checkpoint and the time that the steps took."""
    spent: dict[str, float] = {}
    fit = Trainer.fit

    def timed(self: Trainer, *args: Any, **kwargs: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        fit(self, *args, **kwargs)
        spent["cpu_seconds"] = (time.process_time() - cpu) / torch.get_num_threads()
        spent["wall_seconds"] = time.perf_counter() - wall

    patched = variants()[run.variant].patched
    with ExitStack() as stack:
        stack.enter_context(patch.object(Trainer, "fit", timed))
        if patched is not None:
            stack.enter_context(patch.object(*patched))
        checkpoint = mcrgen.train(run.config(folder / "run")).checkpoint
    return checkpoint, spent


@dataclass(frozen=True)
class Judge:
    """Compares volumes of a trained model with an image.

    Attributes:
        reference: what was measured of the image.
        lags: largest lags of curves and maps.
        options: size and seeds of the volumes.
    """

    reference: Measurement
    lags: dict[str, int]
    options: Options

    @classmethod
    def of(cls, image: Path, options: Options) -> Judge:
        """Measure the image."""
        medium = read_medium(image, "images", phase=None, phase_name="phase")
        max_lag, map_lag = common_lags(medium.labels.shape, (options.size,) * 3)
        lags = {"max_lag": max_lag, "map_lag": map_lag}
        return cls(measure(medium.labels == medium.phases.phase, curves=CURVES, **lags), lags, options)

    def errors(self, checkpoint: Path) -> dict[str, float]:
        """Means over the volumes; of the phase fractions at the calibrated threshold mean error and standard deviation."""
        compared, fractions = [], []
        for volume, fraction in self._volumes(checkpoint):
            bands = {name: Band(c.mean, c.mean) for name, c in self.reference.curves.items()}  # what they tell is not used
            compared.append(compare(self.reference, measure(volume, curves=CURVES, **self.lags), bands))
            fractions.append(fraction / self.reference.fraction - 1.0)
        return {
            "s2": statistics.mean(c["curves"]["s2"]["relative_l2"] for c in compared),
            "lineal_path": statistics.mean(c["curves"]["lineal_path"]["relative_l2"] for c in compared),
            "autocovariance_2d": statistics.mean(c["autocovariance_2d"]["relative_l2"] for c in compared),
            "surface": statistics.mean(c["specific_surface"]["relative_error"] for c in compared),
            "p3h": statistics.mean(c["curves"]["p3h"]["mse_scaled"] for c in compared),
            "p4": statistics.mean(c["curves"]["p4"]["mse_scaled"] for c in compared),
            "fraction_error": statistics.mean(fractions),
            "fraction_scatter": statistics.stdev(fractions),
        }

    def _volumes(self, checkpoint: Path) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.bool_]], float]]:
        """Where the phase is at its exact fraction, and its fraction at the calibrated threshold."""
        loaded = load_generator(checkpoint, "auto", Precision.auto)
        fractions, phase, calibrated = loaded.fractions(None), loaded.phase, loaded.calibration(None).bias
        for seed in self.options.volume_seeds:
            scores = loaded.generator.scores(Noise(seed), (0, 0, 0), (self.options.size,) * 3).float().cpu()
            exact = solve_bias(scores.flatten(1).numpy(), fractions if len(scores) > 1 else (fractions[phase],))
            at_exact, at_calibrated = (classify(scores, bias, phase).numpy() == phase for bias in (exact, calibrated))
            yield at_exact, float(at_calibrated.mean())


def chosen(options: Options) -> list[Run]:
    """The runs that are asked for, all variants of one seed before the next, so that what is there compares at any time.

    Raises:
        InputError: bad input.
    """
    if options.images is None:
        raise InputError("images: a value is required; give --images FOLDER, or --table for the runs there are.")
    require_writable("output", options.output)
    require_positive("steps", options.steps)
    if options.size < 2:
        raise InputError(f"size: expected 2 voxels or more, got {options.size}.")
    for seed in (*options.train_seeds, *options.volume_seeds):
        require_seed(seed)
    if len(options.volume_seeds) < 2:
        raise InputError(f"volume_seeds: expected two or more, to see a scatter, got {len(options.volume_seeds)}.")
    known = variants()
    for name in options.variants:
        if name not in known:
            raise InputError(f"variants: expected any of {', '.join(known)}, got '{name}'{near_name(name, known)}.")
    images = [options.images / f"{name}.bmp" for name in options.image_names]
    for image in images:
        require_file("images", image)
    runs = [
        Run(variant, image, seed, options)
        for seed, image, variant in product(options.train_seeds, images, options.variants or known)
    ]
    for run in runs:
        run.config(options.output)  # wrong overrides are to be told now, not in an hour
    return runs


def read_runs(path: Path) -> list[dict[str, str]]:
    """Rows of runs.csv; none if it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def perform(runs: Sequence[Run], path: Path) -> None:
    """Train and judge what is not in runs.csv yet."""
    done = {tuple(row[name] for name in KEY) for row in read_runs(path)}
    missing = [run for run in runs if run.key not in done]
    judges = {image: Judge.of(image, run.options) for image, run in {run.image: run for run in missing}.items()}
    for number, run in enumerate(missing, 1):
        print(f"\nrun {number} of {len(missing)}: {run.variant}, {run.image.stem}, seed {run.seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, seconds = train(run, Path(folder))
            values = judges[run.image].errors(checkpoint) | seconds
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow((*KEY, *COLUMNS))
            writer.writerow((*run.key, *(f"{values[name]:.6g}" for name in COLUMNS)))


Values = dict[str, list[float]]
"""Name of a column -> one value per seed."""


def print_tables(rows: Sequence[dict[str, str]]) -> None:
    """One table for each image, number of steps and kind of volumes."""
    groups = dict.fromkeys((row["image"], row["steps"], row["settings"]) for row in rows)
    for image, steps, settings in sorted(groups):
        found: dict[str, dict[str, dict[str, float]]] = {}
        for row in rows:
            if (row["image"], row["steps"], row["settings"]) == (image, steps, settings):
                found.setdefault(row["variant"], {})[row["seed"]] = {name: abs(float(row[name])) for name in COLUMNS}
        print(f"\n### {image}, {steps} steps, {settings}\n")
        print("| variant | seeds | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " |")
        print("|---" * (2 + len(COLUMNS)) + "|")
        for name in (name for name in variants() if name in found):
            cells = [cell(found[name], found.get(BASE, {}), column) for column in COLUMNS]
            print(f"| {name} | {len(found[name])} | " + " | ".join(cells) + " |")
    chances = (f"{2 * student.sf(2, seeds - 1):.0%} with {seeds} seeds" for seeds in (3, 5, 10))
    print(f"\n{LEGEND} {', '.join(chances)}.")


def cell(found: dict[str, dict[str, float]], base: dict[str, dict[str, float]], column: str) -> str:
    """Mean and standard deviation over the seeds, and how they compare with the recipe's of the same seeds."""
    values, pattern = [v[column] for v in found.values()], COLUMNS[column][1]
    text = format(statistics.mean(values), pattern)
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):{pattern}}"
    pairs = [(v[column], base[seed][column]) for seed, v in found.items() if seed in base]
    if found is base or not pairs:
        return text
    differences = [a - b for a, b in pairs]
    ratio = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    clear = len(pairs) > 1 and abs(sum(differences)) > 2 * statistics.stdev(differences) * len(pairs) ** 0.5
    return f"{text} ×{ratio:.2f}{'*' if clear else ''}"


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    path = options.output / "runs.csv"
    try:
        if not options.table:
            runs = chosen(options)
            options.output.mkdir(parents=True, exist_ok=True)
            perform(runs, path)
        elif not path.exists():
            raise InputError(f"output: no runs.csv in '{options.output}'; run without --table first.")
    except InputError as error:
        print(f"ablation_swnn: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (StoppedError, KeyboardInterrupt):
        print("ablation_swnn: stopped; the same command goes on after the last run that has ended.", file=sys.stderr)
        return EXIT_STOPPED
    print_tables(read_runs(path))
    return 0


if __name__ == "__main__":
    with quiet_libraries():
        sys.exit(main())
