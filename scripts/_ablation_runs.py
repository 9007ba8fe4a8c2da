"""One training of scripts/ablation_swnn.py, and the judging of what came out of it."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _ablation_variants import RECIPE_FILE, VARIANTS
from numpy.typing import NDArray
from pytorch_lightning import Trainer

import mcrgen
from mcrgen import config
from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.descriptors.compare import common_lags, compare
from mcrgen.descriptors.measure import Measurement, measure
from mcrgen.descriptors.windows import Band
from mcrgen.errors import StoppedError
from mcrgen.generation.calibration import classify, solve_bias
from mcrgen.generation.noise import Noise
from mcrgen.io.images import read_medium

CURVES = ("s2", "lineal_path", "p3h", "p4")


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
    columns: tuple[str, ...] = ()
    """Columns of the table, by their names in runs.csv; all if not given."""


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
            "monitor.every=0", "logging.wandb=disabled", *self.options.overrides, *VARIANTS[self.variant].overrides,
        ]  # fmt: skip
        return config.load(mcrgen.TrainConfig, RECIPE_FILE, overrides)

    def perform(self, judge: Judge) -> dict[str, float]:
        """Train, calibrate and judge: a value for each column of runs.csv.

        Raises:
            StoppedError: interrupted; nothing is kept of this run.
        """
        with tempfile.TemporaryDirectory() as folder, timed() as seconds:
            try:
                with VARIANTS[self.variant].in_effect():
                    checkpoint = mcrgen.train(self.config(Path(folder) / "run")).checkpoint
            except StoppedError as stopped:  # its advice is about a folder that goes with this one
                raise StoppedError("stopped; the runs that have ended are kept.") from stopped
            return judge.errors(checkpoint) | seconds


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds that the steps of a training take, without calibration: a dictionary that fills when they have ended."""
    spent: dict[str, float] = {}
    fit = Trainer.fit

    def measured(self: Trainer, *args: Any, **kwargs: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        fit(self, *args, **kwargs)
        spent["cpu_seconds"] = (time.process_time() - cpu) / torch.get_num_threads()
        spent["wall_seconds"] = time.perf_counter() - wall

    with patch.object(Trainer, "fit", measured):
        yield spent


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

    def _volumes(self, checkpoint: Path) -> Iterator[tuple[NDArray[np.bool_], float]]:
        """Where the phase is at its exact fraction, and its fraction at the calibrated threshold."""
        loaded = load_generator(checkpoint, "auto", Precision.auto)
        fractions, phase, calibrated = loaded.fractions(None), loaded.phase, loaded.calibration(None).bias
        for seed in self.options.volume_seeds:
            scores = loaded.generator.scores(Noise(seed), (0, 0, 0), (self.options.size,) * 3).float().cpu()
            exact = solve_bias(scores.flatten(1).numpy(), fractions if len(scores) > 1 else (fractions[phase],))
            at_exact, at_calibrated = (classify(scores, bias, phase).numpy() == phase for bias in (exact, calibrated))
            yield at_exact, float(at_calibrated.mean())
