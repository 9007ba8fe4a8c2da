"""``mcrgen characterize``: the statistical descriptors of an image or a volume."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._media import describe, largest_lag, open_media, output_folder
from mcrgen.commands._reports import REPORTS, STREAMED, Report, Source, check_memory
from mcrgen.commands._sections import NO_GRAM, check_gram, largest_s3_limit
from mcrgen.errors import InputError, near_name, require_output_file, require_positive

if TYPE_CHECKING:
    from mcrgen.io.label_files import LabelFile

SUMMARY = "characterization.json"

_MOST_LAGS = 128


@dataclass(kw_only=True)
class CharacterizeConfig:
    """Measure statistical descriptors of a segmented image or volume: curves as CSV and JSON, a figure per descriptor.

    Volumes of any size: s2, lineal-path, chord-length and polytopes are read slab by slab, s3 and gram look at sections.
    s2-map, c2 and minkowski hold the whole medium in memory; pores are those of an image.
    """

    medium: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MEDIUM")]
    """Segmented image or volume."""
    output: Path
    """Folder for the results."""
    descriptors: tuple[str, ...] = ("s2", "lineal-path", "chord-length", "polytopes")
    """Any of s2, lineal-path, chord-length, polytopes, s2-map, c2, s3, gram, minkowski, pores; or all."""
    phase: int | None = None
    """Value of the phase of interest; the highest if not given."""
    voxel_size_um: float | None = None
    """Edge length of a voxel in micrometres; from the file's metadata if not given."""
    max_lag: int | None = None
    """Largest lag of the curves, in voxels; half the shortest edge, at most 128, if not given."""
    sections: int = 16
    """Sections per normal of a volume for s3 and gram."""
    s3_limit: int | None = None
    """Lags of S3 stay below this, in voxels; 8 if not given, less where the medium is smaller."""
    gram: str = "random"
    """Weights of VGG-19 for gram: random (untrained filters), imagenet (downloaded) or a file."""
    overwrite: bool = False
    """Replace earlier results in the folder."""


@dataclass(frozen=True)
class CharacterizeResult:
    """A characterisation.

    Attributes:
        folder: where tables and figures are.
        data: the content of characterization.json.
    """

    folder: Path
    data: dict[str, Any]


def run(config: CharacterizeConfig) -> CharacterizeResult:
    """Measure, write ``characterization.json`` and, per descriptor, NAME.csv and NAME.png (NAME.npz for maps and matrices).

    ``characterization.json`` has the keys ``format`` (1), ``provenance``, ``medium`` (path, shape, values, voxel_size_um,
    phase_fractions), ``phase`` (value), ``max_lag``, ``phase_fraction``, ``interface_density`` (per axis),
    ``specific_surface``, ``variation``, ``autocorrelation_length`` (lag at which scaled S2 falls to 5 %, or null), and
    ``descriptors`` by name; curves have ``parts`` by axis or section normal, ``mean``, ``scaled`` and ``order`` over lags
    0, 1, 2, ... voxels.

    Raises:
        InputError: bad input, before any work.
    """
    names = _chosen(config.descriptors)
    _check(config, names)
    with open_media(config.medium, (), ("medium", ""), phase=config.phase) as (medium,):
        source = _source(config, medium, names)
        reports = {name: _measure(name, source) for name in names}
        data = _summary(config, source, {name: report.data for name, report in reports.items()})
    _write(config, reports, data)
    _tell(data, config.output)
    return CharacterizeResult(config.output, data)


def _measure(name: str, source: Source) -> Report:
    if name in STREAMED:  # which show a bar of their own
        return REPORTS[name](source)
    with console.status(f"measuring {name.replace('_', '-')}"):
        return REPORTS[name](source)


def _chosen(descriptors: Sequence[str]) -> list[str]:
    wanted = [name.replace("-", "_") for name in descriptors]
    if not wanted:
        raise InputError("descriptors: expected at least one name, got none.")
    if "all" in wanted:
        return list(REPORTS)
    for given, name in zip(descriptors, wanted, strict=True):
        if name not in REPORTS:
            known = [n.replace("_", "-") for n in REPORTS]
            raise InputError(f"descriptors: expected any of {', '.join(known)} or all, got '{given}'{near_name(given, known)}.")
    return list(dict.fromkeys(wanted))


def _products(names: Sequence[str]) -> list[str]:
    return [SUMMARY, "config.yaml", *(f"{name}.{suffix}" for name in names for suffix in ("csv", "png", "npz"))]


def _check(config: CharacterizeConfig, names: Sequence[str]) -> None:
    require_positive("sections", config.sections)
    if config.voxel_size_um is not None:
        require_positive("voxel_size_um", config.voxel_size_um)
    for product in _products(names):
        require_output_file("output", config.output / product, overwrite=config.overwrite)


def _source(config: CharacterizeConfig, medium: LabelFile, names: list[str]) -> Source:
    """Check the medium against what is asked of it, and take out what ``all`` does not mean for it."""
    shape = medium.shape
    if "pores" in names and len(shape) == 3:
        if "all" not in config.descriptors:
            raise InputError(f"descriptors: pores are those of an image, '{medium.path}' is a volume; leave them out.")
        names.remove("pores")
    default = min(_MOST_LAGS, min(shape) // 2)
    max_lag = largest_lag([shape], config.max_lag, default)
    check_memory(names, shape)
    gram = config.gram if "gram" in names else NO_GRAM
    check_gram([shape], gram)
    return Source(
        medium,
        max_lag,
        config.voxel_size_um or medium.voxel_size_um,
        config.sections,
        largest_s3_limit([shape], config.s3_limit),
        gram,
        tuple(curve for name in names for curve in STREAMED.get(name, ())),
    )


def _write(config: CharacterizeConfig, reports: dict[str, Report], data: dict[str, Any]) -> None:
    """Write all results, and take away those of an earlier run that are not asked for now."""
    import numpy as np

    from mcrgen.io.provenance import write_json

    folder = config.output
    with output_folder(folder):
        for product in _products(list(REPORTS)):
            (folder / product).unlink(missing_ok=True)
        configuration.save(config, folder / "config.yaml")
        for name, report in reports.items():
            if report.rows:
                with (folder / f"{name}.csv").open("w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(report.header)
                    writer.writerows(report.rows)
            if report.arrays:
                np.savez_compressed(folder / f"{name}.npz", **report.arrays)  # type: ignore[arg-type]
            report.draw(folder / f"{name}.png")
        write_json(folder / SUMMARY, data)


def _summary(config: CharacterizeConfig, source: Source, found: dict[str, Any]) -> dict[str, Any]:
    from mcrgen.io.provenance import provenance

    measured = source.measured
    return {
        "format": 1,
        "medium": describe(source.medium) | {"voxel_size_um": source.voxel_size_um},
        "phase": source.medium.phases.values[source.phase],
        "max_lag": source.max_lag,
        "phase_fraction": measured.fraction,
        "interface_density": measured.interface_density,
        "specific_surface": measured.specific_surface,
        "variation": measured.variation,
        "autocorrelation_length": _autocorrelation_length(source),
        "descriptors": found,
        "provenance": provenance("characterize", configuration.to_plain(config), {"medium": config.medium}),
    }


def _autocorrelation_length(source: Source) -> int | None:
    """Lag at which S2 has lost its memory; None where S2 was not asked for, or does not lose it within its lags."""
    import torch

    from mcrgen.descriptors.compare import scaled
    from mcrgen.descriptors.correlation_length import DECAY, autocorrelation_length

    measured = source.measured
    if "s2" not in measured.curves or scaled(measured, "s2").min() > DECAY:
        return None
    return autocorrelation_length(torch.from_numpy(measured.curves["s2"].mean), measured.fraction)


def _tell(data: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    medium = data["medium"]
    table = Table("quantity", "value")
    table.add_row("size", " x ".join(map(str, medium["shape"])) + " voxels")
    if medium["voxel_size_um"]:
        table.add_row("voxel", f"{medium['voxel_size_um']:g} µm")
    for value, fraction in zip(medium["values"], medium["phase_fractions"], strict=True):
        mark = " (measured)" if value == data["phase"] else ""
        table.add_row(f"phase fraction of {value}{mark}", f"{fraction:.4f}")
    table.add_row("specific surface", f"{data['specific_surface']:.4f} / voxel")
    table.add_row("normalised variation", f"{data['variation']:.4f} / voxel")
    if data["autocorrelation_length"] is not None:
        table.add_row("autocorrelation length (5 %)", f"{data['autocorrelation_length']} voxels")
    console.print(table)
    console.print(f"written: {folder} ({', '.join(name.replace('_', '-') for name in data['descriptors'])})")
