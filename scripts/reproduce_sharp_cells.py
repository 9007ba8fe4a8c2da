"""Sharp, regular cells, like those of superalloys: what brings back the edges that a trained generator leaves blunt.

    python scripts/reproduce_sharp_cells.py --output DIR             the full recipe, 96³: for a GPU
    python scripts/reproduce_sharp_cells.py --output DIR --quick     the quick recipe, 48³: for two CPU cores

The exemplar is a section of a built-in medium of cuboids. Volumes of it: from a generator; the same with its voxels moved until
the local patterns are the exemplar's (dmcr_patterns); from noise by patterns alone; from noise by correlations and variation
(dmcr_sv). DIR gets sharp_cells.csv and .md, sharp_cells.png, the model and the volumes. S2 hardly sees how sharp cells are; the
share of corners among the blocks of 2 x 2 voxels at interfaces and the fourfold order of their normals do. The same call goes
on where an earlier one stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from _exemplars import begin
from _reconstructions import reconstruct
from _reproduction import Options, compare, generate, report, run, show, train
from matplotlib.figure import Figure
from numpy.typing import NDArray

import mcrgen
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.descriptors.bit_quads import bit_quads
from mcrgen.descriptors.interface_orientation import fourfold_order
from mcrgen.errors import InputError
from mcrgen.io.images import read_medium
from mcrgen.reconstruction.sections import normals_of, sections

FORMATS = {
    "volume": "", "S2 rel. L2": ".3f", "lineal path rel. L2": ".3f", "surface": ".1%", "corners": ".2f",
    "fourfold order": ".2f", "s": ".0f",
}  # fmt: skip
_CELLS = "cells"
_LIMIT = 16


@dataclass(kw_only=True)
class Cells(Options):
    """What to make and where."""

    reconstruction: tuple[str, ...] = ()
    """Settings of the reconstructions over the recipes', such as optimization.max_steps=100 optimization.device=cuda:1."""

    @property
    def edge(self) -> int:
        """Edge length of the volumes in voxels."""
        return self.size if self.size is not None else 48 if self.quick else 96


def sharpness(labels: NDArray[np.uint8]) -> dict[str, float]:
    """Share of corners at interfaces and fourfold order of their normals, means over all sections."""
    phase = torch.from_numpy((labels > 0).astype(np.float32))[None]
    slices = torch.cat([sections(phase, normal) for normal in normals_of(phase)])
    corners = bit_quads(slices)[:, 0, 1]
    return {"corners": float(corners.mean()), "fourfold order": float(fourfold_order(slices).mean())}


def reconstructed(options: Cells, recipe: str, image: Path, output: Path, start: Path | None = None) -> float | None:
    """Reconstruct a volume, and return the seconds that took."""
    steps = ["optimization.max_steps=80", "optimization.coarse_steps=100"] if options.quick else []
    required = [f"size=[{options.edge},{options.edge},{options.edge}]", "paths=[a,b]", f"seed={options.seed}"]
    limit = f"descriptors.limit={min(_LIMIT, options.edge // 4)}"  # leaves correlations a coarser level, as patterns have one
    overrides = [*required, limit, "logging.wandb=disabled", *steps, *options.reconstruction]
    config = mcrgen.load_config(ReconstructConfig, recipe, overrides)
    config.paths, config.start = (image, output), start
    return reconstruct(config).seconds


def make(options: Cells, image: Path) -> dict[str, tuple[Path, float | None]]:
    """All volumes, and the seconds that each took beside the training."""
    folder, edge = options.output, options.edge
    model = train(options, image, folder / "model")
    blunt = generate(
        mcrgen.GenerateConfig(
            checkpoint=model.checkpoint,
            output=folder / "generated.npy",
            size=(edge,),
            seed=options.seed + 1,
            exact=True,
            periodic="zyx",
        )
    )
    sharp, own, plain = (folder / f"{name}.npy" for name in ("generated_patterns", "patterns", "correlations"))
    return {
        "generator": (blunt, model.seconds),
        "generator, then patterns": (sharp, reconstructed(options, "dmcr_patterns", image, sharp, blunt)),
        "patterns, from noise": (own, reconstructed(options, "dmcr_patterns", image, own)),
        "S2, S3 and variation, from noise": (plain, reconstructed(options, "dmcr_sv", image, plain)),
    }


def row(name: str, path: Path, seconds: float | None, result: dict[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    errors = {"S2 rel. L2": result["curves"]["s2"]["relative_l2"]}
    errors |= {"lineal path rel. L2": result["curves"]["lineal_path"]["relative_l2"]}
    errors |= {"surface": result["specific_surface"]["relative_error"], "s": seconds}
    return {"volume": name} | errors | sharpness(np.load(path))


def draw(path: Path, image: NDArray[np.uint8], volumes: dict[str, NDArray[np.uint8]]) -> None:
    """A window of the exemplar, and the central sections of all volumes normal to z and to x, in one scale."""
    figure = Figure(figsize=(2.6 * (1 + len(volumes)), 5.6), layout="constrained")
    cells = figure.subplots(2, 1 + len(volumes))
    edge = len(next(iter(volumes.values())))
    for axes, start in zip(cells[:, 0], (0, edge), strict=True):
        window = image[start : start + edge, start : start + edge]
        show(axes, window, f"exemplar, {edge} × {edge}" if start == 0 else "another window", phases=2, phase=1)
    for column, (name, labels) in zip(cells[:, 1:].T, volumes.items(), strict=True):
        show(column[0], labels[edge // 2], name, phases=2, phase=1)
        show(column[1], labels[:, :, edge // 2], "normal to x", phases=2, phase=1)
    figure.savefig(path, dpi=120)


def main() -> None:
    options = tyro.cli(Cells, description=__doc__)
    if options.images is not None:
        raise InputError("images: the medium of this experiment is built in; leave it out.")
    (image,) = begin(options, (_CELLS,)).values()
    made = make(options, image)
    metrics = compare(image, [path for path, _ in made.values()], options.output / "comparison")
    labels = read_medium(image, "images", phase=None, phase_name="phase").labels
    rows = [{"volume": "exemplar"} | sharpness(labels)]
    rows += [row(name, path, seconds, metrics["candidates"][path.stem]) for name, (path, seconds) in made.items()]
    report(options.output / "sharp_cells", FORMATS, rows)
    draw(options.output / "sharp_cells.png", labels, {name: np.load(path) for name, (path, _) in made.items()})
    print(f"figure: {options.output / 'sharp_cells.png'}")


if __name__ == "__main__":
    run(main)
