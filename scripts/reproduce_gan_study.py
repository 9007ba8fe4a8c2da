"""GANs judged by polytope functions, and annealing beside them (Amiri et al., Sci. Rep. 13 (2023) 1732; tables S3 and S4).

    python scripts/reproduce_gan_study.py --output DIR --images A.tif B.tif    the paper's networks, two micrographs: for a GPU
    python scripts/reproduce_gan_study.py --output DIR --quick                 two built-in micrographs: for two CPU cores

For each micrograph DCGAN and WGAN-GP learn from its crops, the step with the least S2 error being kept; annealing swaps voxels
until S2 along rows and columns is that of the held-out windows. Samples of all three are compared with these windows. DIR gets
NAME.csv and NAME.md (mean square errors of S2, of the lineal path and of the scaled autocovariances F_n of triangles, squares
and hexagons; errors of phase fraction and specific surface), NAME.png (samples of each), NAME/comparison (curves and bands),
and the runs with their own figures. The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _reproduction import report, run

import mcrgen
from mcrgen import config
from mcrgen.commands._reconstruct_config import Method
from mcrgen.data.micrographs import MediumKind, write_micrograph
from mcrgen.errors import InputError, require_file, require_positive, require_seed, require_writable
from mcrgen.io.images import read_raster
from mcrgen.plotting.grids import plot_grids

BUILT_IN = {
    "discs": (MediumKind.discs, 0.2, 5.0),
    "gaussian": (MediumKind.gaussian, 0.3, 3.0),
}
"""Name -> kind, phase fraction, length: hard discs, whose S2 tells little of them, and a medium that S2 tells all of."""
SHAPE = (1500, 2000)
SCORES = {
    "S2, MSE": ("s2", "mse"),
    "lineal path, MSE": ("lineal_path", "mse"),
    "F3H, MSE": ("p3h", "mse_scaled"),
    "F3V, MSE": ("p3v", "mse_scaled"),
    "F4, MSE": ("p4", "mse_scaled"),
    "F6, MSE": ("p6", "mse_scaled"),
}
"""Column of the table -> curve and its error in metrics.json."""
FORMATS = {"method": ""} | dict.fromkeys(SCORES, ".1e") | {"φ error": ".2%", "surface error": ".1%"}
_SHOWN = 25
_MAX_LAG = 32


@dataclass(kw_only=True)
class Options:
    """What to study, and where."""

    output: Path
    """Folder for everything; what is finished there is not made again."""
    images: tuple[Path, ...] = ()
    """Segmented micrographs; two built-in ones if not given."""
    methods: tuple[str, ...] = ("dcgan", "wgan_gp", "annealing")
    """What to compare."""
    quick: bool = False
    """The recipes wgan_gp_quick and dcgan_quick and few samples of annealing: for two CPU cores."""
    samples: int = 128
    """Images of each GAN."""
    annealed: int | None = None
    """Images of annealing; 32, with --quick 12, if not given."""
    training: tuple[str, ...] = ()
    """Settings of both GANs over those of their recipes, such as data.window=128 trainer.device=cuda:1."""
    swaps: int | None = None
    """Swaps at most of each annealed image; those of the recipe yeong_torquato if not given."""
    seed: int = 0
    """Seed of everything."""


def check(options: Options) -> dict[str, Path]:
    """Name and file of each micrograph; the built-in ones are written.

    Raises:
        InputError: bad input.
    """
    require_seed(options.seed)
    require_positive("samples", options.samples)
    require_positive("annealed", annealed(options))
    require_writable("output", options.output)
    for method in options.methods:
        if method not in ("dcgan", "wgan_gp", "annealing"):
            raise InputError(f"methods: expected dcgan, wgan_gp or annealing, got '{method}'.")
    for path in options.images:
        require_file("images", path)
    for method in ("dcgan", "wgan_gp"):
        training(options, method, Path("micrograph.tif"), options.output)  # wrong settings are to be told now
    options.output.mkdir(parents=True, exist_ok=True)
    if options.images:
        return {path.stem: path for path in options.images}
    files = {name: options.output / f"{name}.tif" for name in BUILT_IN}
    for seed, (name, path) in enumerate(files.items()):
        kind, fraction, length = BUILT_IN[name]
        if not path.exists():
            write_micrograph(path, SHAPE, medium=kind, fraction=fraction, length=length, seed=seed)
    return files


def annealed(options: Options) -> int:
    """How many images are annealed."""
    return options.annealed if options.annealed is not None else 12 if options.quick else 32


def training(options: Options, method: str, image: Path, folder: Path) -> mcrgen.GanConfig:
    """The recipe of a GAN with the options over it."""
    given = [f"data.image={image}", f"output={folder}", f"seed={options.seed}", "logging.wandb=disabled", *options.training]
    return config.load(mcrgen.GanConfig, config.recipe(f"{method}_quick" if options.quick else method), given)


def learn(options: Options, method: str, image: Path, folder: Path) -> Path:
    """Train a GAN and draw samples; returns their folder. What is there is taken."""
    if not (folder / "run" / "model.ckpt").exists():
        wanted = training(options, method, image, folder / "run")
        wanted.resume = (folder / "run" / "last.ckpt").exists()
        mcrgen.train(wanted)
    mcrgen.generate(
        mcrgen.GenerateConfig(checkpoint=folder / "run" / "model.ckpt", output=folder / "samples", count=options.samples)
    )
    return folder / "samples"


def anneal(options: Options, windows: Path, folder: Path) -> Path:
    """Anneal images to the S2 of the windows with all phases; returns their folder. What is there is taken."""
    images = {file: read_raster(file, "windows").array for file in sorted(windows.glob("*.tif"))}
    phases = np.unique(np.stack(list(images.values())))
    files = [file for file, image in images.items() if len(np.unique(image)) == len(phases)]
    size = images[files[0]].shape
    swaps = [] if options.swaps is None else [f"annealing.swaps={options.swaps}"]
    for number in range(annealed(options)):
        path = folder / "samples" / f"sample_{number:03d}.tif"
        if path.exists():
            continue
        given = [
            f"paths=[{path}]", f"data.images=[{','.join(map(str, files))}]", f"size=[{size[0]},{size[1]}]", "periodic=false",
            "descriptors.names=[s2]", "logging.wandb=disabled",
            f"seed={options.seed + number}", "overwrite=true", *swaps,
        ]  # fmt: skip
        wanted = config.load(mcrgen.ReconstructConfig, config.recipe("yeong_torquato"), given)
        assert wanted.method is Method.annealing
        mcrgen.reconstruct(wanted)
    return folder / "samples"


def study(options: Options, name: str, image: Path) -> None:
    """All methods on one micrograph."""
    folder = options.output / name
    made: dict[str, Path] = {}
    for method in ("wgan_gp", "dcgan"):
        if method in options.methods or (method == "wgan_gp" and "annealing" in options.methods):
            made[method] = learn(options, method, image, folder / method)
    windows = folder / next(iter(made)) / "run" / "held_out"
    if "annealing" in options.methods:
        made["annealing"] = anneal(options, windows, folder / "annealing")
    named = {method: made[method] for method in options.methods}
    metrics = judge(windows, named, folder / "comparison")
    rows = [row(method, metrics["candidates"][key]) for method, key in zip(named, metrics["candidates"], strict=True)]
    report(options.output / name, FORMATS, rows)
    grids = {"micrograph": pictures(windows)} | {method: pictures(path) for method, path in named.items()}
    plot_grids(options.output / f"{name}.png", grids, title=f"{name}: held-out windows and samples")


def judge(windows: Path, made: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """The content of metrics.json."""
    first = read_raster(next(iter(sorted(windows.glob("*.tif")))), "windows").array
    wanted = mcrgen.CompareConfig(
        reference=windows,
        candidates=tuple(made.values()),
        output=folder,
        gram="none",
        max_lag=min(_MAX_LAG, min(first.shape) - 1),
        overwrite=True,
    )
    return mcrgen.compare(wanted).metrics


def row(method: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    scores = {column: found["curves"][curve][error] for column, (curve, error) in SCORES.items()}
    errors = {"φ error": "phase_fraction", "surface error": "specific_surface"}
    return {"method": method} | scores | {column: found[key]["relative_error"] for column, key in errors.items()}


def pictures(folder: Path) -> Any:
    """Images of a folder, in [0, 1]."""
    images = np.stack([read_raster(file, "samples").array for file in sorted(folder.glob("*.tif"))[:_SHOWN]])
    return images / max(1, images.max())


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    files = check(options)
    (options.output / "settings.json").write_text(json.dumps(config.to_plain(options), indent=2))
    for name, image in files.items():
        study(options, name, image)


if __name__ == "__main__":
    run(main)
