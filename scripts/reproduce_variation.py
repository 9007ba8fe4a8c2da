"""Total variation matched against minimised (figures 6 and 7 of Seibert et al., Acta Mater. 227 (2022) 117667).

    python scripts/reproduce_variation.py --output DIR --image IMAGE     64² and 64³ after an image: for a GPU
    python scripts/reproduce_variation.py --output DIR --quick           48² and 32³ after a built-in one: for two CPU cores

Media with the recipe dmcr_sv, whose total variation is held to that of the image, or made as small as S2 and S3 allow; and one
without it, over its weight. Errors are |D - D*| / |D*| of S2, S3 and variation. Noise is the share of pixels in sections that
differ from all four neighbours. DIR gets variation.csv and .md, curves over the weight in variation.png, sections in
variation_media.png, and the media. The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from _exemplars import BUILT_IN
from _reconstructions import ERRORS, Options, Reconstruction, begin, configured, measured_goal, reconstruct, relative_errors
from _reproduction import report, run, show
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mcrgen.descriptors.variation import normalised_variation
from mcrgen.errors import InputError, require_positive
from mcrgen.io.images import Medium, read_medium
from mcrgen.io.phases import Phases, indicators
from mcrgen.plotting.curves import COLOURS
from mcrgen.reconstruction.sections import normals_of, sections

MODES = ("matched", "minimised")
NOISE = "noise"
RATIO = "V / V*"
COLUMNS = {ERRORS[name]: ".4f" for name in ("s2", "s3", "variation")} | {NOISE: ".3%"}
PANELS = {"E(S2)": "E(S2)", "E(S3)": "E(S3)", RATIO: "variation / that of the image", NOISE: "share of isolated pixels"}
_QUICK = ("descriptors.limit=8", "optimization.max_steps=120", "optimization.coarse_steps=60")


@dataclass(kw_only=True)
class Variations(Options):
    """What to make and where."""

    image: Path | None = None
    """Segmented 2D image; a level cut of a Gaussian field if not given."""
    size: tuple[int, ...] = ()
    """Edge lengths of the 2D and of the 3D medium in voxels; 64 64, with --quick 48 32, if not given."""
    weights: tuple[float, ...] = ()
    """Weights of the variation; 0.001 to 10, with --quick 0.01 to 1, if not given."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the media by their dimensions."""
        flat, deep = self.size or ((48, 32) if self.quick else (64, 64))
        return {"2D": (flat,) * 2, "3D": (deep,) * 3}

    @property
    def all_weights(self) -> tuple[float, ...]:
        """In ascending order."""
        return tuple(sorted(self.weights)) or ((0.01, 0.1, 1.0) if self.quick else (0.001, 0.01, 0.1, 1.0, 10.0))


@dataclass(frozen=True)
class Point:
    """A medium with its mode ("" without variation) and weight, and what was measured."""

    dimensions: str
    mode: str
    weight: float
    made: Reconstruction
    values: dict[str, float]


def isolated_share(labels: NDArray[np.uint8]) -> float:
    """Share of the inner pixels of all sections that differ from all four neighbours in their section."""
    axes = range(labels.ndim)
    planes = [(a, b) for a in axes for b in axes if a < b]
    return float(np.mean([_isolated(np.moveaxis(labels, plane, (-2, -1))).mean() for plane in planes]))


def _isolated(sections: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inner = sections[..., 1:-1, 1:-1]
    across = (sections[..., :-2, 1:-1], sections[..., 2:, 1:-1], sections[..., 1:-1, :-2], sections[..., 1:-1, 2:])
    isolated: NDArray[np.bool_] = np.logical_and.reduce([inner != neighbour for neighbour in across])
    return isolated


def variation(labels: NDArray[np.uint8], *, periodic: bool) -> float:
    """Mean normalised variation of all sections, averaged over their normals and phases."""
    phases = Phases(tuple(range(int(labels.max()) + 1)), int(labels.max()))
    medium = torch.from_numpy(indicators(labels, phases))
    of_normals = [normalised_variation(sections(medium, normal), periodic=periodic).mean() for normal in normals_of(medium)]
    return float(torch.stack(of_normals).mean())


def start(options: Variations) -> Path:
    """Check the options, and return the image.

    Raises:
        InputError: options out of range, or a volume.
    """
    if options.size and len(options.size) != 2:
        raise InputError(f"size: expected an edge in 2D and one in 3D, got {len(options.size)} numbers.")
    for name, values in (("size", options.size), ("weights", options.weights)):
        for value in values:
            require_positive(name, value)
    if options.image is not None and read_medium(options.image, "image", phase=None, phase_name="phase").labels.ndim != 2:
        raise InputError(f"image: expected a 2D image, '{options.image}' is a volume.")
    begin(options)
    if options.image is not None:
        return options.image
    image = options.output / "exemplar.tif"
    BUILT_IN["level_cut"](image)
    return image


def make(options: Variations, image: Path, dimensions: str) -> list[Point]:
    """The medium without variation, and those of both modes with all weights."""
    shape, folder, quick = options.shapes[dimensions], options.output / dimensions, _QUICK if options.quick else ()
    plain = configured(options, "dmcr_sv", image, folder / "plain.npy", shape, *quick)
    goal, points = measured_goal(plain), []
    wanted = variation(read_medium(image, "image", phase=None, phase_name="phase").labels, periodic=False)
    without = "descriptors.names=[s2,s3,phase-fraction]"
    runs = [("", 0.0, [without])] + [
        (mode, weight, [f"descriptors.variation={mode}", f"descriptors.weights.variation={weight}"])
        for mode in MODES
        for weight in options.all_weights
    ]
    for mode, weight, own in runs:
        output = folder / (f"{mode}_{weight:g}.npy" if mode else "without.npy")
        made = reconstruct(configured(options, "dmcr_sv", image, output, shape, *quick, *own))
        errors = relative_errors(made.labels, plain, goal)
        values = {ERRORS[name]: value for name, value in errors.items()}
        values |= {RATIO: variation(made.labels, periodic=plain.periodic) / wanted, NOISE: isolated_share(made.labels)}
        points.append(Point(dimensions, mode, weight, made, values))
    return points


def draw(path: Path, points: dict[str, list[Point]], exemplar: Medium) -> None:
    """Errors over the weight, a row for each number of dimensions."""
    figure = Figure(figsize=(3.4 * len(PANELS), 3.0 * len(points) + 0.5), layout="constrained")
    grid = figure.subplots(len(points), len(PANELS), squeeze=False)
    for row, (dimensions, found) in zip(grid, points.items(), strict=True):
        for axes, (name, label) in zip(row, PANELS.items(), strict=True):
            draw_panel(axes, found, name)
            axes.set_xlabel("weight of the variation")
            axes.set_ylabel(label)
            axes.set_title(dimensions, fontsize=10)
            if name == NOISE:
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
                axes.axhline(isolated_share(exemplar.labels), color="black", lw=1.0, label="image")
            elif name == RATIO:
                axes.axhline(1.0, color="black", lw=1.0, label="image")
    handles, labels = grid[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=140)


def draw_panel(axes: Axes, points: list[Point], name: str) -> None:
    """One quantity: both modes over the weight, and the medium without variation as a line across."""
    for mode, colour, style in zip(MODES, COLOURS, ("o-", "s--"), strict=False):
        of_mode = [point for point in points if point.mode == mode]
        axes.plot([p.weight for p in of_mode], [p.values[name] for p in of_mode], style, color=colour, ms=4, label=mode)
    axes.axhline(points[0].values[name], color="0.6", ls=":", label="without variation")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)


def draw_media(path: Path, points: dict[str, list[Point]], exemplar: Medium) -> None:
    """Central sections: a row for each number of dimensions and mode, a column for each weight."""
    rows = [(dimensions, mode) for dimensions in points for mode in MODES]
    columns = 2 + sum(point.mode == MODES[0] for point in next(iter(points.values())))
    figure = Figure(figsize=(1.9 * columns, 2.15 * len(rows)), layout="constrained")
    kind = {"phases": exemplar.phases.count, "phase": exemplar.phases.phase}
    for cells, (dimensions, mode) in zip(figure.subplots(len(rows), columns), rows, strict=True):
        found = points[dimensions]
        edge = found[0].made.labels.shape[-1]
        show(cells[0], exemplar.labels[:edge, :edge], f"image, {edge}²", **kind)
        cells[0].set_ylabel(f"{dimensions}, {mode}", fontsize=10, fontweight="bold")
        for axes, point in zip(cells[1:], [found[0], *(p for p in found if p.mode == mode)], strict=True):
            labels = point.made.labels
            middle = labels if labels.ndim == 2 else labels[len(labels) // 2]
            show(axes, middle, f"weight {point.weight:g}" if point.mode else "without", **kind)
    figure.savefig(path, dpi=140)


def main() -> None:
    options = tyro.cli(Variations, description=__doc__)
    image = start(options)
    exemplar = read_medium(image, "image", phase=None, phase_name="phase")
    points = {dimensions: make(options, image, dimensions) for dimensions in options.shapes}
    rows: list[dict[str, Any]] = [
        {"medium": p.dimensions, "variation": p.mode or "without", "weight": p.weight if p.mode else None}
        | {"steps": p.made.steps, "s": p.made.seconds} | p.values
        for found in points.values() for p in found
    ]  # fmt: skip
    formats = {"medium": "", "variation": "", "weight": "g"} | COLUMNS | {RATIO: ".3f", "steps": "d", "s": ".1f"}
    report(options.output / "variation", formats, rows)
    print(f"\nnoise of the image: {isolated_share(exemplar.labels):.3%}")
    draw(options.output / "variation.png", points, exemplar)
    draw_media(options.output / "variation_media.png", points, exemplar)
    print(f"figures: {options.output / 'variation*.png'}")


if __name__ == "__main__":
    run(main)
