"""Change one thing of the recipe swnn_quick at a time, and print what that does to the errors and to the training time.

    python scripts/ablation_swnn.py --images FOLDER --output DIR
    python scripts/ablation_swnn.py --images FOLDER --output DIR --variants recipe exponent_2 --train-seeds 0 1 2 3 4
    python scripts/ablation_swnn.py --output DIR --table --columns s2 lineal_path autocovariance_2d surface

Each variant is trained with several seeds on FOLDER/M1.bmp and FOLDER/M3.bmp (training images of the SWNN authors' code
repository, MIT) and judged on volumes of exactly the image's phase fraction. DIR/runs.csv gets a row as soon as a run has
ended; runs that are in it are not repeated: the script can be stopped and started again, and calls with other variants, seeds
or images add up. Times are those of the training steps alone and depend on the machine: only their ratios carry over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import tyro
from _ablation_runs import Judge, Options, Run
from _ablation_table import COLUMNS, KEY, append_row, read_rows, tables
from _ablation_variants import VARIANTS
from _reproduction import run

from mcrgen.errors import InputError, near_name, require_file, require_positive, require_seed, require_writable


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
    require_known("variants", options.variants, VARIANTS)
    images = [options.images / f"{name}.bmp" for name in options.image_names]
    for image in images:
        require_file("images", image)
    runs = [
        Run(variant, image, seed, options)
        for seed, image, variant in product(options.train_seeds, images, options.variants or VARIANTS)
    ]
    for one in runs:
        one.config(options.output)  # wrong overrides are to be told now, not in an hour
    return runs


def require_known(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise unless all that is given is known.

    Raises:
        InputError: it is not.
    """
    for value in given:
        if value not in known:
            raise InputError(f"{name}: expected any of {', '.join(known)}, got '{value}'{near_name(value, known)}.")


def perform(runs: Sequence[Run], path: Path) -> None:
    """Train and judge what is not in runs.csv yet."""
    done = {tuple(row[name] for name in KEY) for row in read_rows(path)}
    missing = [one for one in runs if one.key not in done]
    judges = {image: Judge.of(image, one.options) for image, one in {one.image: one for one in missing}.items()}
    for number, one in enumerate(missing, 1):
        print(f"\nrun {number} of {len(missing)}: {one.variant}, {one.image.stem}, seed {one.seed}", flush=True)
        append_row(path, one.key, one.perform(judges[one.image]))


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    path = options.output / "runs.csv"
    require_known("columns", options.columns, COLUMNS)
    if options.table and not path.exists():
        raise InputError(f"output: no runs.csv in '{options.output}'; run without --table first.")
    if not options.table:
        runs = chosen(options)
        options.output.mkdir(parents=True, exist_ok=True)
        perform(runs, path)
    print("\n".join(tables(read_rows(path), options.columns or tuple(COLUMNS))))


if __name__ == "__main__":
    run(main)
