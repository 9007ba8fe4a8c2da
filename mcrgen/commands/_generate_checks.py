"""What ``mcrgen generate`` checks before any work."""

from __future__ import annotations

import shutil
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._achieved import achieved_paths
from mcrgen.commands._extent import Extent, parse_extent
from mcrgen.commands._fields import field_file
from mcrgen.commands._generate_record import scores_path
from mcrgen.commands._medium import phase_fraction_text
from mcrgen.commands._processes import Processes
from mcrgen.commands._regions import parse_regions
from mcrgen.errors import InputError, require_file, require_fraction, require_output_file, require_positive, require_seed

if TYPE_CHECKING:
    from mcrgen.commands.generate import GenerateConfig

_LARGEST_LABEL = 255
_WIDEST = {"smoothing": 50.0, "transition": 500.0}  # voxels; beyond, the surroundings of a block outgrow any memory


def check(config: GenerateConfig, place: Processes) -> tuple[Extent, dict[str, Path]]:
    """What can be said against the options before anything is loaded; else the extent and the files that are read.

    Raises:
        InputError: something can.
    """
    from mcrgen.io.volume_formats import require_addressable, require_pyramid
    from mcrgen.io.volume_output import require_volume_suffix

    extent = parse_extent(config.size, config.box, config.periodic)
    if config.block_size is not None:
        require_positive("block_size", config.block_size)
    require_seed(config.seed)
    if config.phase_fraction is not None:
        require_fraction("phase_fraction", config.phase_fraction)
    _check_options(config)
    require_volume_suffix(config.output)
    require_addressable(config.output, extent.shape)
    if config.pyramid:
        require_pyramid(config.output)
    inputs = _inputs(config)
    for name, path in inputs.items():
        if path.suffix.lower() != ".zarr":
            require_file(name.partition(" ")[0], path)
        if path.resolve() in {output.resolve() for output in (config.output, *_beside(config))}:
            raise InputError(f"output: expected a file of its own, '{path}' is the {name}; choose another name.")
    if place.rank == 0:
        _check_output(config, extent)
    return extent, inputs


def _check_options(config: GenerateConfig) -> None:
    """Raise where options exclude or need each other, before any file is read."""
    if config.regions is not None:
        alone = {"phase_fraction": config.phase_fraction, "phase_fraction_field": config.phase_fraction_field}
        alone |= {"exact": config.exact or None, "keep_scores": config.keep_scores or None}
        for name in (name for name, value in alone.items() if value is not None):
            raise InputError(f"{name}: expected with one generator, not with one for each region; leave one of the two out.")
    elif config.region or config.transition:
        raise InputError("regions: expected a map beside --region and --transition, got none; add --regions MAP.")
    _check_phase_fraction_field(config)
    if config.smoothing and config.keep_scores:
        raise InputError("keep_scores: expected without smoothing, whose labels are not those of the scores; leave one out.")
    for name, widest in _WIDEST.items():
        if not 0.0 <= getattr(config, name) <= widest:
            raise InputError(f"{name}: expected from 0, for none, to {widest:g} voxels, got {getattr(config, name):g}.")
    if config.mask is None and (config.mask_weights or config.outside is not None):
        raise InputError("mask: expected a file beside --mask-weights and --outside, got none; add --mask FILE.")
    if config.outside is not None and not 0 <= config.outside <= _LARGEST_LABEL:
        raise InputError(f"outside: expected a label from 0 to {_LARGEST_LABEL}, got {config.outside}.")


def _check_phase_fraction_field(config: GenerateConfig) -> None:
    text = phase_fraction_text(config)
    if text is not None and config.phase_fraction is not None:
        raise InputError(
            "phase_fraction_field: expected without a phase fraction, which it replaces; leave one of the two out."
        )
    if config.resample_field and (text is None or field_file(text) is None):
        got = "none" if text is None else f"'{text}'"
        raise InputError(f"resample_field: expected beside a file as --phase-fraction-field, got {got}; leave it out.")


def _inputs(config: GenerateConfig) -> dict[str, Path]:
    """The files that the labels depend on."""
    named = {"checkpoint": config.checkpoint, "mask": config.mask, "regions": config.regions}
    for spec in parse_regions(config.region):
        named[f"region {spec.value}"] = spec.checkpoint
    for name in ("phase_fraction_field", "noise_mean", "noise_deviation"):
        text = getattr(config, name)
        path = None if text is None else field_file(text)
        if path is not None and text.strip() and path.exists():
            named[name] = path
    return {name: path for name, path in named.items() if path is not None}


def _check_output(config: GenerateConfig, extent: Extent) -> None:
    from mcrgen.io.volume_output import interrupted_run, require_volume_output

    if interrupted_run(config.output) is not None:
        return
    require_volume_output(config.output, overwrite=config.overwrite)
    for path in _beside(config):
        require_output_file("output", path, overwrite=config.overwrite)
    _check_space(config, extent)


def _beside(config: GenerateConfig) -> list[Path]:
    """The files that are written beside the volume."""
    from mcrgen.io.provenance import sidecar

    scores = [scores_path(config.output)] if config.keep_scores else []
    achieved = [] if config.phase_fraction_field is None else achieved_paths(config.output)
    return [sidecar(config.output), *scores, *achieved]


def _check_space(config: GenerateConfig, extent: Extent) -> None:
    folder = next(p for p in (config.output.absolute().parent, *config.output.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    voxel = 1 + 2 * config.keep_scores
    if voxel * prod(extent.shape) > free:
        need, left = (f"{amount / 2**30:.2f} GiB" for amount in (voxel * prod(extent.shape), free))
        size, fitting = " x ".join(map(str, extent.shape)), int((free / voxel) ** (1 / 3)) // 8 * 8
        raise InputError(
            f"size: {size} voxels take {need} while they are written, {left} are free in '{folder}'; "
            f"choose another place or --size {fitting}."
        )
