"""Images to reproduce: those of a folder, or media that need no file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from _reproduction import Options, training
from PIL import Image

import mcrgen
from mcrgen.commands._media import output_folder
from mcrgen.commands.demo import PHOTO_SCALE
from mcrgen.data.examples import gaussian_level_cut, gravel, overlapping_spheres
from mcrgen.data.lattices import cuboidal_precipitates
from mcrgen.errors import InputError, require_positive, require_seed, require_writable
from mcrgen.io.images import SUFFIXES, read_medium, write_labels

_EDGE = 256


def _write_gravel(path: Path) -> None:
    """The photograph of `mcrgen demo`, segmented as there."""
    photo = path.with_suffix(".png")
    Image.fromarray(gravel()).save(photo)
    mcrgen.segment(mcrgen.SegmentConfig(photo=photo, output=path, crop=(0, 0, 480, 480), scale=PHOTO_SCALE, overwrite=True))


def _write_spheres(path: Path) -> None:
    """A section of a three-dimensional medium: a slab of one voxel, with circles of all sizes."""
    write_labels(path, overlapping_spheres((1, _EDGE, _EDGE), 6.0, 0.15, seed=1, periodic=False)[0], None)


def _write_cells(path: Path) -> None:
    """The central section of a three-dimensional medium of cuboids up to 9 voxels wide."""
    write_labels(path, cuboidal_precipitates((64, 160, 160), 9, 2, seed=0)[32], None)


def _write_level_cut(path: Path, fraction: float, correlation: float) -> None:
    write_labels(path, gaussian_level_cut((_EDGE, _EDGE), (1.0 - fraction, fraction), correlation, seed=0), None)


BUILT_IN: dict[str, Callable[[Path], None]] = {
    "gravel": _write_gravel,
    "spheres": _write_spheres,
    "cells": _write_cells,
    "level_cut": lambda path: _write_level_cut(path, 0.4, 3.0),
    "sparse_level_cut": lambda path: _write_level_cut(path, 0.1, 4.0),
}


def begin(options: Options, built_in: Sequence[str]) -> dict[str, Path]:
    """Check the options and that what is in the folder belongs to them.

    Returns:
        Name and file of each exemplar: the images of the folder, or those built-in media.

    Raises:
        InputError: an option is wrong, the folder holds something else, or there are no segmented images.
    """
    require_seed(options.seed)
    require_positive("size", options.edge)
    require_writable("output", options.output)
    path, settings = options.output / "settings.json", _settings(options)
    before = json.loads(path.read_text()) if path.exists() else settings
    for key in (key for key in settings if before.get(key) != settings[key]):
        raise InputError(
            f"output: '{options.output}' was made with {key} {before.get(key)}, not {settings[key]}; choose another folder."
        )
    training(options, path, options.output)  # says what is wrong with its settings
    images = _images(options.images) if options.images is not None else {}
    with output_folder(options.output):
        path.write_text(json.dumps(settings, indent=2))
        return images or {name.replace("_", " "): _written(options.output / "exemplars" / f"{name}.tif") for name in built_in}


def _settings(options: Options) -> dict[str, object]:
    """What settles the results, as it is read back from JSON."""
    values = {"script": Path(sys.argv[0]).stem} | asdict(options) | {"images": options.images and options.images.resolve()}
    del values["output"]
    settings: dict[str, object] = json.loads(json.dumps(values, default=str))
    return settings


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"images: expected a folder with segmented images, there is none at '{folder}'.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"images: expected files of type {', '.join(SUFFIXES)}, '{folder}' has none.")
    for path in files:
        if read_medium(path, "images", phase=None, phase_name="phase").labels.ndim != 2:
            raise InputError(f"images: expected 2D images, '{path}' is a volume; take it out of the folder.")
    stems = [path.stem for path in files]
    return {path.stem if stems.count(path.stem) == 1 else path.name: path for path in files}


def _written(path: Path) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        BUILT_IN[path.stem](path)
    return path
