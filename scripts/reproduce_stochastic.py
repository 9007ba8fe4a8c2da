"""Stochastic reconstruction (section 3.1 and fig. 4 of the SWNN paper): one model per image, volumes of fresh seeds from each.

    python scripts/reproduce_stochastic.py --output DIR --images FOLDER     the paper's network, five volumes: for a GPU
    python scripts/reproduce_stochastic.py --output DIR --quick             two built-in media, three volumes: for two CPU cores

DIR gets stochastic.png, a table of means and standard deviations over the volumes as stochastic.csv and .md, each volume's
errors in volumes.csv and .md, the models, the volumes and the comparisons. The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _exemplars import BUILT_IN, begin
from _reproduction import RESULTS, Options, compare, errors, generate, report, run, show, train
from compare_losses import can_render
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import mcrgen
from mcrgen.io.images import Medium, read_medium
from mcrgen.plotting.curves import COLOURS, plot_curve
from mcrgen.plotting.curves import Line as Curve
from mcrgen.plotting.rendering import Scene, render
from mcrgen.plotting.view import phase_colours

_CURVES = {"s2": "S2 rel. L2", "lineal_path": "lineal path rel. L2"}
_MOST_RENDERED = 256


@dataclass(frozen=True)
class Reconstruction:
    """An exemplar, volumes made after it, and how they compare."""

    name: str
    medium: Medium
    volumes: list[Path]
    seconds: float | None
    metrics: dict[str, Any]

    @property
    def errors(self) -> list[dict[str, float]]:
        """The errors of each volume."""
        return [errors(self.metrics["candidates"][path.stem]) for path in self.volumes]


def reconstruct(options: Options, name: str, image: Path) -> Reconstruction:
    """Train, generate, compare."""
    folder = options.output / name.replace(" ", "_")
    trained = train(options, image, folder / "model")
    volumes = [
        generate(
            mcrgen.GenerateConfig(
                checkpoint=trained.checkpoint,
                output=folder / f"volume_{number}.npy",
                size=(options.edge,),
                seed=options.seed + number,
            )
        )
        for number in range(1, 1 + (3 if options.quick else 5))
    ]
    medium = read_medium(image, "images", phase=None, phase_name="phase")
    return Reconstruction(name, medium, volumes, trained.seconds, compare(image, volumes, folder / "comparison"))


def tables(options: Options, made: list[Reconstruction]) -> None:
    """Each volume, and the mean and standard deviation over the volumes of each exemplar."""
    each = [
        {"exemplar": m.name, "seed": options.seed + number} | found for m in made for number, found in enumerate(m.errors, 1)
    ]
    report(options.output / "volumes", {"exemplar": "", "seed": "d"} | RESULTS, each)
    rows: list[dict[str, Any]] = []
    for m in made:
        row = {"exemplar": m.name, "φ": m.metrics["candidates"][m.volumes[0].stem]["phase_fraction"]["reference"]}
        for key in RESULTS:
            values = [found[key] for found in m.errors]
            row |= {key: np.mean(values), f"± {key}": np.std(values, ddof=1)}
        rows.append(row | {"training, s": m.seconds})
    formats = {"exemplar": "", "φ": ".4f"}
    for key, spec in RESULTS.items():
        formats |= {key: spec, f"± {key}": spec}
    report(options.output / "stochastic", formats | {"training, s": ".0f"}, rows)


def show_media(cells: list[Axes], made: Reconstruction, *, rendered: bool) -> None:
    """The exemplar, then a section of the first volume and its rendering, or three sections."""
    phases, labels = made.medium.phases, np.load(made.volumes[0])
    kind = {"phases": phases.count, "phase": phases.phase}
    edge = min(len(labels), *made.medium.labels.shape)
    show(cells[0], made.medium.labels[:edge, :edge], f"exemplar, {edge} × {edge}", **kind)
    cells[0].set_ylabel(made.name, fontsize=12, fontweight="bold")
    for axes, axis in zip(cells[1:], range(1 if rendered else 3), strict=False):
        section = labels.take(labels.shape[axis] // 2, axis=axis)[:edge, :edge]
        show(axes, section, f"volume 1, normal to {'zyx'[axis]}, {edge} × {edge}", **kind)
    if rendered:
        part = labels[(slice(_MOST_RENDERED),) * 3]
        scene = Scene(part, part.shape, phases.values, phases.phase, False, True)
        picture, extent = render(scene, {}, phase_colours(phases.count, phases.phase), pixels=900)
        cells[2].imshow(picture, extent=extent, interpolation="auto")
        cells[2].set_axis_off()
        cells[2].set_title(f"volume 1, {len(part)}³ voxels", fontsize=10)


def show_curves(cells: list[Axes], made: Reconstruction) -> None:
    """S2 and lineal path of all volumes as thin lines over the exemplar's and the band of its windows."""
    reference = made.metrics["reference"]["curves"]
    for axes, (name, column) in zip(cells, _CURVES.items(), strict=True):
        found = [made.metrics["candidates"][path.stem]["curves"][name]["candidate"] for path in made.volumes]
        lines = [Curve(reference[name]["mean"], None, "black"), *(Curve(values, None, COLOURS[0]) for values in found)]
        window = made.metrics["window"]["edge"]
        plot_curve(axes, name, lines, band=reference[name]["band"], window=window, voxel_size_um=made.medium.voxel_size_um)
        for line in axes.lines[1:]:
            line.set(linewidth=0.8, alpha=0.9)
        axes.lines[0].set(linewidth=2.2)
        error = np.mean([found[column] for found in made.errors])
        axes.set_title(f"{axes.get_title()}, error {error:.3f}", fontsize=10)


def draw(options: Options, made: list[Reconstruction]) -> None:
    """A row per exemplar."""
    rendered = can_render()
    media = 3 if rendered else 4
    figure = Figure(figsize=(3.2 * (media + 2) + 1.0, 3.3 * len(made) + 0.8), layout="constrained")
    grid = figure.subplots(len(made), media + 2, squeeze=False, width_ratios=[1.0] * media + [1.2, 1.2])
    for cells, m in zip(grid, made, strict=True):
        show_media(list(cells[:media]), m, rendered=rendered)
        show_curves(list(cells[media:]), m)
    figure.suptitle("Stochastic reconstruction; over the curves, the mean relative L2 error of the volumes", fontsize=13)
    handles = [
        Line2D([], [], color="black", lw=2.2, label="exemplar"),
        Line2D([], [], color=COLOURS[0], lw=0.8, label=f"{len(made[0].volumes)} volumes of {options.edge}³"),
        Line2D([], [], color="0.85", lw=8, label="95 % of the exemplar's windows"),
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=3, frameon=False)
    figure.savefig(options.output / "stochastic.png", dpi=140)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    images = begin(options, list(BUILT_IN)[: 2 if options.quick else None])
    made = [reconstruct(options, name, image) for name, image in images.items()]
    tables(options, made)
    draw(options, made)
    print(f"\nfigure: {options.output / 'stochastic.png'}")


if __name__ == "__main__":
    run(main)
