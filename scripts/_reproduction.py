"""What the scripts that repeat the experiments of the SWNN paper share: options, models, volumes, tables.

Everything is kept under one folder and made once: a script that was stopped goes on from there when it is called again.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

import mcrgen
from mcrgen.cli import EXIT_BAD_INPUT, EXIT_STOPPED
from mcrgen.commands._console import quiet_libraries
from mcrgen.errors import InputError, StoppedError
from mcrgen.plotting.view import phase_colours

RESULTS = {"φ error": ".2%", "S2 rel. L2": ".4f", "lineal path rel. L2": ".4f", "2D autocov. rel. L2": ".3f"}
"""Columns of the errors in all tables, and their formats."""


@dataclass(kw_only=True)
class Options:
    """What to make and where."""

    output: Path
    """Folder for everything; what is finished there is not made again."""
    images: Path | None = None
    """Folder with segmented images, all of which are used; built-in media if not given."""
    quick: bool = False
    """The quick recipes, small volumes, fewer of them: for two CPU cores instead of a GPU."""
    seed: int = 0
    """Seed of training; the volumes have the next ones."""
    size: int | None = None
    """Edge length of the volumes, in voxels; 256, with --quick 128, if not given."""
    training: tuple[str, ...] = ()
    """Settings of training over the recipe's, such as trainer.max_steps=1000 trainer.device=cuda:1."""

    @property
    def edge(self) -> int:
        """Edge length of the volumes in voxels."""
        return self.size if self.size is not None else 128 if self.quick else 256


@dataclass(frozen=True)
class Trained:
    """A model, and how long training and calibration took; None if they were interrupted."""

    checkpoint: Path
    seconds: float | None


def training(options: Options, image: Path, folder: Path, *settings: str, quick: str = "swnn_quick") -> mcrgen.TrainConfig:
    """The recipe, that of the quick form or the paper's, with the options and more settings over it."""
    recipe, overrides = quick if options.quick else "swnn", [*options.training, *settings]
    config = mcrgen.load_config(mcrgen.TrainConfig, Path(recipe), ["logging.wandb=disabled", *overrides])
    return replace(config, output=folder, seed=options.seed, data=replace(config.data, image=image))


def train(options: Options, image: Path, folder: Path, *settings: str, quick: str = "swnn_quick") -> Trained:
    """Train on one image, or take the model that is there; an interrupted run goes on."""
    model, told = folder / "model.ckpt", folder / "seconds.json"
    if not model.exists():
        resumed = (folder / "last.ckpt").exists()
        start = time.perf_counter()
        mcrgen.train(replace(training(options, image, folder, *settings, quick=quick), resume=resumed))
        told.write_text(json.dumps(None if resumed else time.perf_counter() - start))
    return Trained(model, json.loads(told.read_text()) if told.exists() else None)


def generate(config: mcrgen.GenerateConfig) -> Path:
    """Generate a volume, or take the one that is there; an interrupted one goes on."""
    if not config.output.exists():
        config.output.parent.mkdir(parents=True, exist_ok=True)
        mcrgen.generate(config)
    return config.output


def compare(reference: Path, candidates: Sequence[Path], folder: Path) -> dict[str, Any]:
    """The content of metrics.json; Gram matrices are left out."""
    path = folder / "metrics.json"
    if path.exists():
        metrics: dict[str, Any] = json.loads(path.read_text())
        return metrics
    config = mcrgen.CompareConfig(reference=reference, candidates=tuple(candidates), output=folder, gram="none", overwrite=True)
    return mcrgen.compare(config).metrics


def errors(result: Mapping[str, Any]) -> dict[str, float]:
    """The columns ``RESULTS`` of one candidate."""
    curves = result["curves"]
    values = (
        result["phase_fraction"]["relative_error"], curves["s2"]["relative_l2"], curves["lineal_path"]["relative_l2"],
        result["autocovariance_2d"]["relative_l2"],
    )  # fmt: skip
    return dict(zip(RESULTS, values, strict=True))


def report(stem: Path, formats: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as CSV, unrounded, and as Markdown, which is printed as well.

    Args:
        stem: path without suffix.
        formats: column -> format of its values.
        rows: column -> value; None or missing is a dash.
    """
    with stem.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, formats)
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(formats) + " |", "|" + "---|" * len(formats)]
    for row in rows:
        cells = ("–" if row.get(name) is None else format(row[name], spec) for name, spec in formats.items())
        lines.append("| " + " | ".join(cells) + " |")
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n" + "\n".join(lines))


def section(volume: Path) -> NDArray[np.uint8]:
    """Central section normal to z of a .npy volume of any size."""
    labels: NDArray[np.uint8] = np.load(volume, mmap_mode="r")
    return np.array(labels[len(labels) // 2])


def show(axes: Axes, image: NDArray[np.uint8], title: str, *, phases: int, phase: int) -> None:
    """Draw the labels of a section, the phase of interest in the same colour everywhere."""
    axes.imshow(
        image,
        cmap=ListedColormap(phase_colours(phases, phase)),
        vmin=-0.5,
        vmax=phases - 0.5,
        interpolation="auto",
        interpolation_stage="rgba",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)


def run(main: Callable[[], None], *, after_stop: str = " The same call goes on.") -> None:
    """Run a script: bad input is one sentence and exit code 2, an interruption 130 with advice what to do then."""
    try:
        with quiet_libraries():
            main()
    except InputError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except (StoppedError, KeyboardInterrupt) as error:
        print(f"{Path(sys.argv[0]).stem}: {error or 'stopped.'}{after_stop}", file=sys.stderr)
        sys.exit(EXIT_STOPPED)
