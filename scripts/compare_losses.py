"""Train one network three times on one image, with another loss each time, and compare what comes out: a figure and a table.

    python scripts/compare_losses.py IMAGE --output DIR
    python scripts/compare_losses.py IMAGE --output DIR --quick        a minute or two, to see that it runs

The losses are the autocovariance of sections, Gram matrices of their VGG-19 features, and the sliced-Wasserstein distance of
their local patterns (after fig. A.6 of the SWNN paper: Ma, Teng, Yan et al.). Recipe, seed and number of steps are the same,
nothing but the named loss is minimised, and the model is the last step's. DIR gets losses.png, losses.csv, the run folders,
the volumes and the whole comparison. Times depend on the machine and on what else runs on it: only their ratios carry over.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from _reproduction import run

import mcrgen
from mcrgen.errors import InputError, require_file, require_output_file, require_positive, require_seed
from mcrgen.io.images import Medium, read_medium
from mcrgen.plotting.rendering import Scene, render
from mcrgen.plotting.side_by_side import Column, Curves, plot_side_by_side
from mcrgen.plotting.view import phase_colours

LOSSES = {
    "autocorrelation": "autocorrelation loss",
    "gram": "Gram-matrix loss (VGG-19)",
    "patterns": "sliced-Wasserstein loss",
}
SHOWN = ("s2", "lineal_path")
QUICK = (
    "trainer.max_steps=30", "calibration.batchnorm_blocks=2", "calibration.threshold_blocks=2",
    "calibration.threshold_block_size=64",
)  # fmt: skip
ONLY = {"patterns": ("loss.covariance_weight=0",)}
"""Settings that leave the named loss alone."""


@dataclass(kw_only=True)
class Options:
    """What to train on and for how long."""

    image: Annotated[Path, tyro.conf.Positional]
    """Segmented image."""
    output: Path
    """Folder for everything."""
    recipe: str = "swnn_quick"
    """Recipe of all runs."""
    steps: int | None = None
    """Optimiser steps of each run; the recipe's if not given."""
    seed: int = 0
    """Seed of training; the volumes have the next one."""
    size: int | None = None
    """Edge length of the volumes, in voxels; 128, with --quick 64, if not given."""
    vgg_weights: Path | None = None
    """File with trained weights of VGG-19; random filters if not given."""
    training: tuple[str, ...] = ()
    """Settings of all trainings over the recipe's, such as trainer.device=cuda:1."""
    quick: bool = False
    """30 steps if none are given, small volumes."""
    overwrite: bool = False
    """Replace an earlier comparison in the folder."""


@dataclass(frozen=True)
class Trained:
    """One run: its volume, and how long training and calibration took."""

    volume: Path
    seconds: float


def train(options: Options, kind: str) -> Trained:
    """Train with one loss and generate a volume of the exemplar's phase fraction."""
    overrides = [
        f"data.image={options.image}", f"output={options.output / kind}", f"seed={options.seed}", f"loss.kind={kind}",
        "monitor.every=0", "logging.wandb=disabled", f"overwrite={options.overwrite}", *ONLY.get(kind, ()),
        *(QUICK if options.quick else ()), *options.training,
    ]  # fmt: skip
    if options.steps is not None:
        overrides.append(f"trainer.max_steps={options.steps}")
    if kind == "gram" and options.vgg_weights is not None:
        overrides.append(f"loss.vgg_weights={options.vgg_weights}")
    config = mcrgen.load_config(mcrgen.TrainConfig, Path(options.recipe), overrides)
    start = time.perf_counter()
    trained = mcrgen.train(config)
    seconds = time.perf_counter() - start
    volume = options.output / f"{kind}.npy"
    mcrgen.generate(
        mcrgen.GenerateConfig(
            checkpoint=trained.checkpoint,
            output=volume,
            size=(options.size or (64 if options.quick else 128),),
            seed=options.seed + 1,
            exact=True,
            overwrite=options.overwrite,
        )
    )
    return Trained(volume, seconds)


def judge(options: Options, volumes: Mapping[str, Path]) -> dict[str, Any]:
    """The content of metrics.json, with Gram matrices by the network of the Gram-matrix loss."""
    config = mcrgen.CompareConfig(
        reference=options.image, candidates=tuple(volumes.values()), output=options.output / "comparison",
        gram=str(options.vgg_weights or "random"), overwrite=options.overwrite,
    )  # fmt: skip
    return mcrgen.compare(config).metrics


def rows(metrics: Mapping[str, Any], seconds: Mapping[str, float]) -> list[tuple[str, str, list[float]]]:
    """Name, format and a value per run of each line of the table."""
    results = [metrics["candidates"][kind] for kind in seconds]

    def curve(name: str, key: str) -> list[float]:
        return [r["curves"][name][key] for r in results]

    polytopes = {"p3h": "F3 of horizontal triangles", "p3v": "F3 of vertical triangles", "p4": "F4", "p6": "F6"}
    return [
        ("phase fraction, rel. error", ".2%", [r["phase_fraction"]["relative_error"] for r in results]),
        ("S2, rel. L2", ".4f", curve("s2", "relative_l2")),
        ("lineal path, rel. L2", ".4f", curve("lineal_path", "relative_l2")),
        ("2D autocovariance, rel. L2", ".3f", [r["autocovariance_2d"]["relative_l2"] for r in results]),
        ("F2, MSE", ".1e", curve("s2", "mse_scaled")),
        *((f"{polytopes[n]}, MSE", ".1e", curve(n, "mse_scaled")) for n in polytopes if n in results[0]["curves"]),
        ("Gram matrices, rel. error", ".3f", [r["sections"]["gram"]["relative"] for r in results]),
        ("local patterns, distance", ".4f", [r["pattern_distance"] for r in results]),
        ("specific surface, rel. error", ".2%", [r["specific_surface"]["relative_error"] for r in results]),
        ("training and calibration, s", ".0f", list(seconds.values())),
    ]


def report(path: Path, table: Sequence[tuple[str, str, list[float]]], kinds: Sequence[str]) -> None:
    """Markdown to the console, unrounded numbers to a CSV file."""
    print("\n| | " + " | ".join(LOSSES[kind] for kind in kinds) + " |\n|" + "---|" * (1 + len(kinds)))
    for name, pattern, values in table:
        print(f"| {name} | " + " | ".join(format(value, pattern) for value in values) + " |")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["", *kinds], *([name, *values] for name, _, values in table)])


def can_render() -> bool:
    """Whether pyvista and OpenGL are there; to know before training."""
    corner = np.indices((4, 4, 4)).sum(axis=0) < 4
    try:
        render(Scene(corner.astype(np.uint8), (4, 4, 4), (0, 1), 1, False, False), {}, phase_colours(2, 1), pixels=50)
    except InputError:
        return False
    return True


def column(title: str, volume: Path, medium: Medium, *, rendered: bool) -> Column:
    """A volume's central section and rendering, or where that cannot be its three central sections."""
    labels = np.load(volume)
    sections = {f"normal to {n}": labels.take(labels.shape[i] // 2, axis=i) for i, n in enumerate("zyx")}
    if not rendered:
        return Column(title, sections)
    scene = Scene(labels, labels.shape, medium.phases.values, medium.phases.phase, False, True)
    return Column(title, {"section normal to z": sections["normal to z"]}, scene)


def curves(metrics: Mapping[str, Any], name: str, kinds: Sequence[str]) -> Curves:
    """One descriptor of the exemplar and of the volumes."""
    reference, found = metrics["reference"]["curves"][name], {k: metrics["candidates"][k]["curves"][name] for k in kinds}
    return Curves(
        reference["mean"],
        {LOSSES[k]: f["candidate"] for k, f in found.items()},
        {LOSSES[k]: list(f["candidate_per_part"].values()) for k, f in found.items()},
        reference["band"],
        metrics["window"]["edge"],
    )


def draw(path: Path, medium: Medium, metrics: Mapping[str, Any], volumes: Mapping[str, Path], *, rendered: bool) -> None:
    """The figure."""
    phases = medium.phases
    plot_side_by_side(
        path,
        Column("exemplar", {"image": medium.labels}),
        [column(LOSSES[kind], volume, medium, rendered=rendered) for kind, volume in volumes.items()],
        {name: curves(metrics, name, list(volumes)) for name in SHOWN},
        phases=[f"phase {v}" + " (of interest)" * (i == phases.phase) for i, v in enumerate(phases.values)],
        phase=phases.phase,
        voxel_size_um=medium.voxel_size_um,
    )


def check(options: Options) -> None:
    """Raise before any work.

    Raises:
        InputError: bad input.
    """
    require_file("image", options.image)
    require_seed(options.seed)
    for name, number in (("steps", options.steps), ("size", options.size)):
        if number is not None:
            require_positive(name, number)
    if options.vgg_weights is not None:
        require_file("vgg_weights", options.vgg_weights)
    for product in ("losses.png", "losses.csv", *(f"{kind}.npy" for kind in LOSSES)):
        require_output_file("output", options.output / product, overwrite=options.overwrite)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    check(options)
    medium = read_medium(options.image, "image", phase=None, phase_name="phase")
    rendered = can_render()
    trained = {kind: train(options, kind) for kind in LOSSES}
    volumes = {kind: run.volume for kind, run in trained.items()}
    metrics = judge(options, volumes)
    report(options.output / "losses.csv", rows(metrics, {kind: run.seconds for kind, run in trained.items()}), list(LOSSES))
    draw(options.output / "losses.png", medium, metrics, volumes, rendered=rendered)
    print(f"\nfigure: {options.output / 'losses.png'}")


if __name__ == "__main__":
    run(main, after_stop="")
