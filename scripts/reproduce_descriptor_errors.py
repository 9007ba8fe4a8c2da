"""Errors of the descriptors of reconstructed volumes (table 2 of Seibert et al., Acta Mater. 227 (2022) 117667).

    python scripts/reproduce_descriptor_errors.py --output DIR --images FOLDER     64³ with limit 16: for a GPU
    python scripts/reproduce_descriptor_errors.py --output DIR --quick             32³ of two built-in media: for two CPU cores

A volume after each image with the recipes dmcr_sv (S2, S3, variation) and dmcr_sgv (Gram matrices as well). All are measured
alike, whatever they were made with. DIR gets descriptor_errors.csv and .md with the published errors of the images that have
some (alloy, carbonate, copolymer, composite), descriptor_errors.png, and the volumes. The same call goes on where an earlier
one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _exemplars import BUILT_IN, _images
from _reconstructions import ERRORS, Options, Reconstruction, begin, configured, measured_goal, reconstruct, relative_errors
from _reproduction import report, run, show
from matplotlib.figure import Figure

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.errors import require_positive
from mcrgen.io.images import Medium, read_medium, write_labels

RECIPES = ("dmcr_sv", "dmcr_sgv")
PUBLISHED = {
    "alloy": (4.6, 0.052),
    "carbonate": (0.092, 0.016),
    "copolymer": (0.33, 0.038),
    "composite": (0.77, 0.0046),
}
"""Errors in per cent of S and G of the volumes of the paper's table 2."""
NOTE = """
E(D) = |D - D*| / |D*| in per cent of the mean descriptor D of all sections normal to an axis, D* being that of the image (not
wrapped around); the mean over levels of the multigrid, or layers of the network, and over the three axes. S2 and S3 are the
exact two- and three-point correlations at lags below {limit} voxels of a level, G has VGG-19 with {weights} weights, V is the
normalised variation. The square of E is the reading here of the paper's error (eq. 10), whose S are S2 and S3 at once with soft
products and whose G has weights learnt on photographs: compare orders of magnitude.
"""
_QUICK = {
    "dmcr_sv": ("descriptors.limit=8", "optimization.max_steps=200"),
    "dmcr_sgv": ("descriptors.limit=8", "optimization.max_steps=60", "optimization.coarse_steps=40"),  # 20 times as slow
}


@dataclass(kw_only=True)
class Volumes(Options):
    """What to make and where."""

    images: Path | None = None
    """Folder with segmented images, all of which are used; level cuts of two and three phases if not given."""
    size: int | None = None
    """Edge length of the volumes in voxels; 64, with --quick 32, if not given."""

    @property
    def edge(self) -> int:
        """Edge length of the volumes in voxels."""
        return self.size if self.size is not None else 32 if self.quick else 64


@dataclass(frozen=True)
class Measured:
    """An image, a volume made after it with a recipe, and its errors."""

    name: str
    recipe: str
    exemplar: Medium
    made: Reconstruction
    errors: dict[str, float]


def start(options: Volumes) -> dict[str, Path]:
    """Check the options, and return the images by name."""
    require_positive("size", options.edge)
    images = _images(options.images) if options.images is not None else {}
    begin(options)
    if images:
        return images
    two, three = options.output / "two_phases.tif", options.output / "three_phases.tif"
    BUILT_IN["level_cut"](two)
    write_labels(three, gaussian_level_cut((256, 256), (0.5, 0.3, 0.2), 4.0, seed=0), None)
    return {"two phases": two, "three phases": three}


def make(options: Volumes, name: str, image: Path) -> list[Measured]:
    """A volume with each recipe, measured."""
    found, folder = [], options.output / name.replace(" ", "_")
    exemplar, shape = read_medium(image, "images", phase=None, phase_name="phase"), (options.edge,) * 3
    runs = {}
    for recipe in RECIPES:
        quick = _QUICK[recipe] if options.quick else ()
        runs[recipe] = configured(options, recipe, image, folder / f"{recipe}.npy", shape, *quick)
    yardstick = runs["dmcr_sgv"]
    goal = measured_goal(yardstick)
    for recipe, config in runs.items():
        made = reconstruct(config)
        found.append(Measured(name, recipe, exemplar, made, relative_errors(made.labels, yardstick, goal)))
    return found


def row(measured: Measured) -> dict[str, Any]:
    """A line of the table."""
    fractions = measured.made.record["errors"]["phase_fractions"]
    differences = [abs(found - wanted) for found, wanted in zip(fractions["found"], fractions["wanted"], strict=True)]
    percent = {name: 100.0 * value for name, value in measured.errors.items()}
    published = PUBLISHED.get(measured.name, (None, None))
    return (
        {"image": measured.name, "recipe": measured.recipe}
        | {ERRORS[name]: value for name, value in percent.items()}
        | {f"{ERRORS[name]}²": value**2 / 100.0 for name, value in percent.items()}
        | {"paper, S": published[0], "paper, G": published[1]}
        | {"φ": " ".join(f"{value:.4f}" for value in fractions["found"]), "largest φ error": max(differences)}
        | {"steps": measured.made.steps, "s": measured.made.seconds}
    )


def write_table(options: Volumes, table: list[Measured]) -> None:
    """The table, and how its errors are defined."""
    formats = {"image": "", "recipe": ""} | dict.fromkeys(ERRORS.values(), ".2f")
    formats |= dict.fromkeys((f"{name}²" for name in ERRORS.values()), ".4f") | {"paper, S": ".3g", "paper, G": ".3g"}
    formats |= {"φ": "", "largest φ error": ".1e", "steps": "d", "s": ".0f"}
    report(options.output / "descriptor_errors", formats, [row(measured) for measured in table])
    settings = table[0].made.record["config"]["descriptors"]
    note = NOTE.format(limit=settings["limit"], weights=settings["vgg_weights"])
    with (options.output / "descriptor_errors.md").open("a") as file:
        file.write(note)
    print(note)


def draw(path: Path, media: dict[str, list[Measured]]) -> None:
    """A row for each image: the image, and three sections of each volume."""
    columns = 1 + 3 * len(RECIPES)
    figure = Figure(figsize=(2.1 * columns, 2.4 * len(media)), layout="constrained")
    for cells, (name, found) in zip(figure.subplots(len(media), columns, squeeze=False), media.items(), strict=True):
        exemplar = found[0].exemplar
        kind = {"phases": exemplar.phases.count, "phase": exemplar.phases.phase}
        edge = len(found[0].made.labels)
        show(cells[0], exemplar.labels[:edge, :edge], f"image, {edge} × {edge}", **kind)
        cells[0].set_ylabel(name, fontsize=11, fontweight="bold")
        pairs = [(measured, axis) for measured in found for axis in range(3)]
        for axes, (measured, axis) in zip(cells[1:], pairs, strict=True):
            show(
                axes, np.take(measured.made.labels, edge // 2, axis=axis), f"{measured.recipe}, normal to {'zyx'[axis]}", **kind
            )
    figure.savefig(path, dpi=140)


def main() -> None:
    options = tyro.cli(Volumes, description=__doc__)
    media = {name: make(options, name, image) for name, image in start(options).items()}
    write_table(options, [measured for found in media.values() for measured in found])
    draw(options.output / "descriptor_errors.png", media)
    print(f"figure: {options.output / 'descriptor_errors.png'}")


if __name__ == "__main__":
    run(main)
