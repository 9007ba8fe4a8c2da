"""``mcrgen segment``: a grey photograph becomes a label image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.errors import InputError, require_output_file, require_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(kw_only=True)
class SegmentConfig:
    """Segment a grey photograph into phases: crop, rescale, bilateral denoising, threshold."""

    photo: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
    """Photograph (TIFF, PNG, BMP, JPEG, NPY, NPZ); colour is turned to grey."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Label image to write (.tif, .png, .bmp or .npy); a side-by-side picture goes to OUTPUT.preview.png."""
    phases: int = 2
    """Number of phases, found by Otsu's or multi-Otsu's thresholds."""
    threshold: float | None = None
    """Grey value between 0 (black) and 1 (white) that parts two phases, instead of Otsu's."""
    crop: tuple[int, ...] = ()
    """Part of the photograph to use: top left height width, in pixels; all of it if not given."""
    scale: float = 1.0
    """Factor on the edge lengths after cropping; below 1 for phases many pixels wide."""
    invert: bool = False
    """Number the phases from bright to dark, so that the dark one is the highest label."""
    denoise: bool = True
    """Bilateral denoising."""
    sigma_grey: float = 0.1
    """Its standard deviation in grey values (0 to 1): smaller contrasts are smoothed away."""
    sigma_space: float = 2.0
    """Its standard deviation in pixels."""
    overwrite: bool = False
    """Replace the output if it exists."""


@dataclass(frozen=True)
class SegmentResult:
    """A written label image.

    Attributes:
        path: the file.
        phase_fractions: share of each label.
        thresholds: grey values in [0, 1] between the phases.
    """

    path: Path
    phase_fractions: tuple[float, ...]
    thresholds: tuple[float, ...]


def run(config: SegmentConfig) -> SegmentResult:
    """Segment a photograph and write the labels with a picture and provenance.

    Raises:
        InputError: bad input, before any work.
    """
    _check(config)
    from mcrgen.data.segmentation import segment_grey, to_unit_grey
    from mcrgen.io.images import read_raster, write_labels
    from mcrgen.io.phases import phase_fractions
    from mcrgen.io.provenance import provenance, sidecar, write_json
    from mcrgen.plotting.slices import plot_slices

    raster = read_raster(config.photo, "photo", photograph=True)
    grey = to_unit_grey(raster.array, f"photo '{config.photo}'", colour=raster.colour)
    top, left, height, width = config.crop or (0, 0, *grey.shape)
    if top + height > grey.shape[0] or left + width > grey.shape[1]:
        raise InputError(
            f"crop: expected a part of the {grey.shape[0]} x {grey.shape[1]} photograph, "
            f"got {height} x {width} at {top}, {left}."
        )
    result = segment_grey(
        grey[top : top + height, left : left + width],
        phases=config.phases,
        threshold=config.threshold,
        denoise=config.denoise,
        sigma_grey=config.sigma_grey,
        sigma_space=config.sigma_space,
        scale=config.scale,
        invert=config.invert,
    )
    count = 2 if config.threshold is not None else config.phases
    fractions = tuple(phase_fractions(result.labels, count).tolist())
    if min(fractions) == 0:
        raise InputError(f"threshold: a phase came out empty at {result.thresholds}; choose a value between the grey levels.")
    voxel_size_um = None if raster.voxel_size_um is None else raster.voxel_size_um / config.scale
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_labels(config.output, result.labels, voxel_size_um)
    panels: dict[str, NDArray[Any]] = {"photograph": result.grey, "labels": result.labels / (count - 1)}
    plot_slices(_preview(config.output), panels, title=config.photo.name)
    record = provenance("segment", configuration.to_plain(config), {"photo": config.photo})
    write_json(
        sidecar(config.output),
        record | {"voxel_size_um": voxel_size_um, "phase_fractions": list(fractions), "thresholds": list(result.thresholds)},
    )
    shares = ", ".join(f"{i}: {f:.4f}" for i, f in enumerate(fractions))
    console.print(f"segmented: {config.output}  {' x '.join(map(str, result.labels.shape))} pixels, phase fractions {shares}")
    return SegmentResult(config.output, fractions, result.thresholds)


def _preview(output: Path) -> Path:
    """The side-by-side picture beside an output."""
    return output.with_name(output.name + ".preview.png")


def _check(config: SegmentConfig) -> None:
    from mcrgen.data.segmentation import MAX_OTSU_PHASES
    from mcrgen.io.images import NUMPY_SUFFIXES, TIFF_SUFFIXES
    from mcrgen.io.provenance import sidecar

    suffixes = (*TIFF_SUFFIXES, ".png", ".bmp", NUMPY_SUFFIXES[0])
    if config.output.suffix.lower() not in suffixes:
        raise InputError(f"output: expected a name ending in {', '.join(suffixes)}, got '{config.output}'.")
    for path in (config.output, _preview(config.output), sidecar(config.output)):
        require_output_file("output", path, overwrite=config.overwrite)
    if not 2 <= config.phases <= MAX_OTSU_PHASES:
        raise InputError(f"phases: expected 2 to {MAX_OTSU_PHASES}, got {config.phases}.")
    if config.threshold is not None:
        if config.phases != 2:
            raise InputError(
                f"threshold: expected with two phases only, got it with {config.phases}; leave one of the two out."
            )
        if not 0 < config.threshold < 1:
            raise InputError(f"threshold: expected a grey value between 0 and 1 (exclusive), got {config.threshold}.")
    if config.crop and (len(config.crop) != 4 or min(config.crop) < 0 or min(config.crop[2:]) == 0):
        given = " ".join(map(str, config.crop))
        raise InputError(f"crop: expected four numbers, top left height width, with a size greater than 0, got '{given}'.")
    for name in ("scale", "sigma_grey", "sigma_space"):
        require_positive(name, getattr(config, name))
