"""``mcrgen compare``: how close candidates are to their reference."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._media import (
    describe,
    largest_lag,
    measure_medium,
    open_media,
    read_sections,
    read_window,
    warn_of_scales,
)
from mcrgen.commands._sections import Sections, check_sections, load_features, pattern_distances, section_descriptors
from mcrgen.errors import InputError, require_output_file, require_positive
from mcrgen.plotting.names import CURVE_NAMES, SECTION_NAMES

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from mcrgen.descriptors.measure import Measurement
    from mcrgen.descriptors.windows import Band
    from mcrgen.io.label_files import LabelFile

PRODUCTS = ("metrics.json", "errors.csv", "comparison.png", "config.yaml")
_LARGEST_WINDOW = 128


@dataclass(kw_only=True)
class CompareConfig:
    """Measure volumes or images against their reference: one table, one figure.

    Phase fraction, two-point correlation, lineal path, chord lengths, polytope functions, 2D autocovariance, three-point
    correlation, variation, specific surface, and the 95 % band of the reference's own scatter.
    """

    reference: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REFERENCE")]
    """Segmented image or volume to compare with."""
    candidates: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CANDIDATE [CANDIDATE ...]")]
    """Segmented volumes or images to judge: one or more."""
    output: Path
    """Folder for metrics.json, errors.csv and comparison.png."""
    phase: int | None = None
    """Value of the phase of interest in the reference; its highest value if not given."""
    max_lag: int | None = None
    """Largest lag of the curves, in voxels; 63 if not given, less where a medium is smaller."""
    window: int | None = None
    """Edge of the reference's sub-windows for the 95 % band, in voxels; half its shortest edge, at most 128, if not given."""
    sections: int = 16
    """Sections per normal of a volume for S3, variation and Gram matrices."""
    s3_limit: int = 8
    """Lags of S3 stay below this, in voxels."""
    gram: str | None = None
    """Compare Gram matrices of VGG-19 too: random (untrained filters), imagenet (downloaded) or a file with its weights."""
    overwrite: bool = False
    """Replace an earlier comparison in the folder."""


@dataclass(frozen=True)
class CompareResult:
    """A comparison.

    Attributes:
        folder: where the figure and the numbers are.
        metrics: the content of metrics.json.
    """

    folder: Path
    metrics: dict[str, Any]


def run(config: CompareConfig) -> CompareResult:
    """Measure all media, write ``metrics.json``, ``errors.csv`` and ``comparison.png``, print a table.

    ``metrics.json`` has the keys ``format`` (2), ``provenance``, ``phase`` (value in the reference), ``reference`` (path,
    shape, values, voxel_size_um, phase_fractions, curves with mean, parts, scaled and band) and ``candidates``: by name, the
    same description, what :func:`mcrgen.descriptors.compare.compare` returns, and ``sections`` with the errors of ``s3``,
    ``variation`` and ``gram`` by :func:`mcrgen.descriptors.compare.section_errors`, and ``pattern_distance``, the mean over
    the normals of :func:`mcrgen.descriptors.pattern_distance.pattern_distance` between patterns of 7 x 7 voxels.

    Raises:
        InputError: bad input, before any work.
    """
    if not config.candidates:
        raise InputError("candidates: expected at least one volume or image to judge, got none.")
    for name in ("sections", "s3_limit"):
        require_positive(name, getattr(config, name))
    for product in PRODUCTS:
        require_output_file("output", config.output / product, overwrite=config.overwrite)
    names = _names(config.candidates)
    with open_media(config.reference, config.candidates, ("reference", "candidates"), phase=config.phase) as media:
        check_sections(media, config.s3_limit, config.gram)
        max_lag, map_lag = _lags(config, media)
        window = _window(config, media[0])
        features = load_features(config.gram)
        warn_of_scales(media)
        comparison = _Comparison(config, media[0], max_lag, map_lag, window, features)
        judged = {name: comparison.judge(medium) for name, medium in zip(names, media[1:], strict=True)}
    metrics = comparison.metrics({name: result for name, (result, _) in judged.items()})
    _write(config, comparison, metrics, {name: sections for name, (_, sections) in judged.items()})
    for table in _tables(metrics["candidates"]):
        console.print(table)
    for name, result in metrics["candidates"].items():
        console.print(f"distance of local patterns, {name}: {result['pattern_distance']:.4f}")
    console.print(f"figure: {config.output / 'comparison.png'}")
    return CompareResult(config.output, metrics)


def _names(paths: tuple[Path, ...]) -> list[str]:
    """File names without suffix; with the folder where that is not enough, and a number where even that is not."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.absolute().parent.name}/{path.stem}" for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, 1)]
    return names


def _lags(config: CompareConfig, media: list[LabelFile]) -> tuple[int, int]:
    from mcrgen.descriptors.compare import MAP_LAG, S2_LAG

    shapes = [medium.shape for medium in media]
    return largest_lag(shapes, config.max_lag, S2_LAG), largest_lag(shapes, None, MAP_LAG)


def _window(config: CompareConfig, reference: LabelFile) -> int:
    shortest = min(reference.shape)
    if config.window is None:
        return max(2, min(_LARGEST_WINDOW, shortest // 2))
    if not 2 <= config.window <= shortest // 2:
        raise InputError(
            f"window: expected 2 to {shortest // 2}, half the shortest edge of the reference, got {config.window}."
        )
    return config.window


class _Comparison:
    """The reference, measured once, and what candidates are judged by."""

    def __init__(
        self,
        config: CompareConfig,
        reference: LabelFile,
        max_lag: int,
        map_lag: int,
        window: int,
        features: nn.Module | None,
    ) -> None:
        from mcrgen.descriptors.compare import scaled
        from mcrgen.descriptors.measure import CURVES
        from mcrgen.descriptors.windows import bands, grid_windows, measure_windows

        self.config, self.features = config, features
        self.phase = reference.phases.phase
        self.phase_value = reference.phases.values[self.phase]
        self.voxel_size_um = reference.voxel_size_um
        self.description = describe(reference)
        self.lags = {"max_lag": max_lag, "map_lag": map_lag}
        measured = measure_medium(reference, self.phase, curves=CURVES, **self.lags)
        self.curves = tuple(name for name, curve in measured.curves.items() if curve.mean.any())
        self.measured = measured
        with console.status("measuring windows of the reference"):
            self.windows = grid_windows(reference.shape, window)
            lag = min(max_lag, window - 1)
            parts = measure_windows(lambda w: read_window(reference, self.phase, w), self.windows, self.curves, lag)
            self.bands = bands(parts, lambda m, name: m.curves[name].mean)
            varied = [m for m in parts if 0.0 < m.fraction < 1.0]
            self.scaled_bands = bands(varied, scaled) if len(varied) > 1 else {}
        self.window = window
        self.sections, self.descriptors = self._of_sections(reference)

    def _of_sections(self, medium: LabelFile) -> tuple[Sections, dict[str, Any]]:
        sections = read_sections(medium, self.config.sections)
        with console.status("measuring sections"):
            return sections, section_descriptors(sections, self.phase, s3_limit=self.config.s3_limit, features=self.features)

    def judge(self, candidate: LabelFile) -> tuple[dict[str, Any], Sections]:
        """Errors of a candidate, and sections of it to look at."""
        from mcrgen.descriptors.compare import compare, section_errors

        measured = measure_medium(candidate, self.phase, curves=self.curves, **self.lags)
        if not 0.0 < measured.fraction < 1.0:
            raise InputError(f"candidates: '{candidate.path}' has none of the phase of interest, or nothing else.")
        sections, found = self._of_sections(candidate)
        errors = {name: section_errors(self.descriptors[name], found[name]) for name in found}
        patterns = pattern_distances(self.sections, sections, self.phase)
        return (
            describe(candidate)
            | compare(self._reference(), measured, self.bands)
            | {"sections": errors, "pattern_distance": sum(patterns.values()) / len(patterns)}
            | {"pattern_distance_per_normal": patterns},
            sections,
        )

    def _reference(self) -> Measurement:
        from dataclasses import replace

        return replace(self.measured, curves={name: self.measured.curves[name] for name in self.curves})

    def metrics(self, candidates: dict[str, Any]) -> dict[str, Any]:
        """The content of metrics.json."""
        from mcrgen.descriptors.compare import scaled
        from mcrgen.io.provenance import provenance

        inputs = {"reference": self.config.reference} | {
            f"candidate {name}": path for name, path in zip(candidates, self.config.candidates, strict=True)
        }
        curves = {
            name: {
                "mean": curve.mean.tolist(),
                "parts": {part: values.tolist() for part, values in curve.parts.items()},
                "scaled": scaled(self.measured, name).tolist(),
                "band": _plain_band(self.bands, name),
                "scaled_band": _plain_band(self.scaled_bands, name),
            }
            for name, curve in self._reference().curves.items()
        }
        return {
            "format": 2,
            "phase": self.phase_value,
            **self.lags,
            "window": {"edge": self.window, "count": len(self.windows)},
            "reference": self.description | {"curves": curves},
            "candidates": candidates,
            "provenance": provenance("compare", configuration.to_plain(self.config), inputs),
        }


def _plain_band(bands: Mapping[str, Band], name: str) -> dict[str, list[float]] | None:
    band = bands.get(name)
    return None if band is None else {"low": band.low.tolist(), "high": band.high.tolist()}


def _write(config: CompareConfig, comparison: _Comparison, metrics: dict[str, Any], sections: dict[str, Sections]) -> None:
    from mcrgen.io.provenance import write_json
    from mcrgen.plotting.comparison import plot_comparison

    config.output.mkdir(parents=True, exist_ok=True)
    configuration.save(config, config.output / "config.yaml")
    write_json(config.output / "metrics.json", metrics)
    with (config.output / "errors.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("candidate", *_COLUMNS))
        for name, result in metrics["candidates"].items():
            writer.writerows((name, *row) for row in _rows(result))
    plot_comparison(
        config.output / "comparison.png",
        comparison.sections,
        sections,
        metrics,
        errors={name: {row[0]: row[1] for row in _rows(result)} for name, result in metrics["candidates"].items()},
        voxel_size_um=comparison.voxel_size_um,
    )


_COLUMNS = ("descriptor", "relative_error", "mse_scaled", "max_error", "inside_band")


def _rows(result: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Rows of the table of errors: name, relative error and, for curves, MSE of the scaled curve, largest error, share."""
    rows: list[tuple[Any, ...]] = [("phase fraction", result["phase_fraction"]["relative_error"], "", "", "")]
    for name, curve in result["curves"].items():
        rows.append((CURVE_NAMES[name], curve["relative_l2"], curve["mse_scaled"], curve["max_error"], curve["inside_band"]))
    rows.append(("2D autocovariance", result["autocovariance_2d"]["relative_l2"], "", "", ""))
    rows += [(SECTION_NAMES[name], errors["relative"], "", "", "") for name, errors in result["sections"].items()]
    rows.append(("specific surface", result["specific_surface"]["relative_error"], "", "", ""))
    return rows


def _tables(candidates: Mapping[str, Any]) -> list[Table]:
    """One candidate: a table of all errors; several: the relative errors side by side, and the MSE of the scaled curves."""
    from rich.table import Table

    results = {name: _rows(result) for name, result in candidates.items()}
    if len(results) == 1:
        rows = next(iter(results.values()))
        table = Table("descriptor", "error", "MSE, scaled", "largest", "in band")
        for label, relative, mse, largest, inside in rows:
            extra = (f"{mse:.1e}", f"{largest:.4f}", f"{inside:.0%}") if mse != "" else ("", "", "")
            table.add_row(label, f"{relative:.2%}", *extra)
        return [table]
    tables = [Table("relative error", *results), Table("MSE of the scaled curve", *results)]
    for i, (label, *_) in enumerate(next(iter(results.values()))):
        per_candidate = [rows[i] for rows in results.values()]
        tables[0].add_row(label, *(f"{row[1]:.2%}" for row in per_candidate))
        if per_candidate[0][2] != "":
            tables[1].add_row(label, *(f"{row[2]:.1e}" for row in per_candidate))
    return tables
