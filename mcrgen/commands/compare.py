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
    is_folder,
    largest_lag,
    measure_medium,
    open_samples,
    output_folder,
    read_sections,
    read_window,
    sample_windows,
    warn_of_scales,
    warn_of_values,
)
from mcrgen.commands._sections import (
    Sections,
    check_gram,
    largest_s3_limit,
    load_features,
    pattern_distances,
    section_descriptors,
)
from mcrgen.errors import InputError, require_output_file, require_positive
from mcrgen.plotting.names import CURVE_NAMES, SECTION_NAMES

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from mcrgen.commands._media import Samples
    from mcrgen.descriptors.measure import Measurement
    from mcrgen.descriptors.windows import Band

PRODUCTS = ("metrics.json", "errors.csv", "comparison.png", "config.yaml")
_LARGEST_WINDOW = 128
_CAPTION = "error: relative; MSE: of the scaled curve; band: share of lags within 95 % of the reference's windows"


@dataclass(kw_only=True)
class CompareConfig:
    """Measure volumes or images against their reference: one table, one figure.

    Phase fraction, two-point correlation, lineal path, chord lengths, polytope functions, 2D autocovariance, three-point
    correlation, variation, straights, corners and normals of the interface, Gram matrices, specific surface, local patterns,
    and the scatter of the reference's own windows.
    """

    reference: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REFERENCE")]
    """Segmented image or volume to compare with, or a folder of images of one size, which are taken together."""
    candidates: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CANDIDATE [CANDIDATE ...]")]
    """Segmented volumes, images, or folders of images of one size (`generate --count`) to judge: one or more."""
    output: Path
    """Folder for metrics.json, errors.csv and comparison.png."""
    phase: int | None = None
    """Value of the phase of interest in the reference; the highest if not given."""
    max_lag: int | None = None
    """Largest lag of the curves, in voxels; 63 if not given, or half the shortest edge of a smaller medium."""
    window: int | None = None
    """Edge of the reference's sub-windows for the 95 % band, in voxels; half its shortest edge, at most 128, if not given."""
    sections: int = 8
    """Sections per normal of a volume for S3, variation, Gram matrices and local patterns."""
    s3_limit: int | None = None
    """Lags of S3 stay below this, in voxels; 8 if not given, less where a medium is smaller."""
    gram: str = "random"
    """Weights of VGG-19 for Gram matrices: random (untrained filters), imagenet (downloaded), a file; none leaves them out."""
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
    ``variation``, ``bit_quads``, ``interface_orientation`` and ``gram`` by
    :func:`mcrgen.descriptors.compare.section_errors`, and ``pattern_distance``, the mean over the normals of
    :func:`mcrgen.descriptors.pattern_distance.pattern_distance` between patterns of 7 x 7 voxels.

    Raises:
        InputError: bad input, before any work.
    """
    if not config.candidates:
        raise InputError("candidates: expected at least one volume or image to judge, got none.")
    require_positive("sections", config.sections)
    for product in PRODUCTS:
        require_output_file("output", config.output / product, overwrite=config.overwrite)
    names = _names(config.candidates)
    with open_samples(config.reference, config.candidates, ("reference", "candidates"), phase=config.phase) as media:
        shapes = [medium.shape for medium in media]
        check_gram(shapes, config.gram)
        s3_limit = largest_s3_limit(shapes, config.s3_limit)
        max_lag, map_lag = _lags(config, media)
        window = _window(config, media[0])
        features = load_features(config.gram)
        warn_of_scales(media)
        warn_of_values(media)
        comparison = _Comparison(config, media[0], max_lag, map_lag, s3_limit, window, features)
        judged = {name: comparison.judge(medium) for name, medium in zip(names, media[1:], strict=True)}
    metrics = comparison.metrics({name: result for name, (result, _) in judged.items()})
    _write(config, comparison, metrics, {name: sections for name, (_, sections) in judged.items()})
    for table in _tables(metrics["candidates"]):
        console.print(table)
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


def _lags(config: CompareConfig, media: list[Samples]) -> tuple[int, int]:
    from mcrgen.descriptors.compare import MAP_LAG, S2_LAG

    shapes = [medium.shape for medium in media]
    # few pairs are farther apart than half an edge, and of a medium that wraps around they are near again
    usual = min(S2_LAG, max(1, min(map(min, shapes)) // 2))
    return largest_lag(shapes, config.max_lag, usual), largest_lag(shapes, None, MAP_LAG)


def _window(config: CompareConfig, reference: Samples) -> int:
    shortest = min(reference.shape)
    if is_folder(reference):
        if config.window is not None:
            raise InputError("window: expected no window for a reference that is a folder of images, which are the windows.")
        return shortest
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
        reference: Samples,
        max_lag: int,
        map_lag: int,
        s3_limit: int,
        window: int,
        features: nn.Module | None,
    ) -> None:
        from mcrgen.descriptors.compare import scaled
        from mcrgen.descriptors.measure import CURVES
        from mcrgen.descriptors.windows import bands, measure_windows

        self.config, self.features = config, features
        self.phase = reference.phases.phase
        self.phase_value = reference.phases.values[self.phase]
        self.voxel_size_um = reference.voxel_size_um
        self.description = describe(reference)
        self.lags = {"max_lag": max_lag, "map_lag": map_lag}
        self.s3_limit = s3_limit
        measured = measure_medium(reference, self.phase, curves=CURVES, **self.lags)
        self.curves = tuple(name for name, curve in measured.curves.items() if curve.mean.any())
        self.measured = measured
        with console.status("measuring windows of the reference"):
            self.windows = sample_windows(reference, window)
            lag = min(max_lag, window - 1)
            parts = measure_windows(lambda w: read_window(reference, self.phase, w), self.windows, self.curves, lag)
            self.bands = bands(parts, lambda m, name: m.curves[name].mean)
            varied = [m for m in parts if 0.0 < m.fraction < 1.0]
            self.scaled_bands = bands(varied, scaled) if len(varied) > 1 else {}
        self.window = window
        self.sections, self.descriptors = self._of_sections(reference)

    def _of_sections(self, medium: Samples) -> tuple[Sections, dict[str, Any]]:
        sections = read_sections(medium, self.config.sections)
        with console.status("measuring sections"):
            return sections, section_descriptors(sections, self.phase, s3_limit=self.s3_limit, features=self.features)

    def judge(self, candidate: Samples) -> tuple[dict[str, Any], Sections]:
        """Errors of a candidate, and sections of it to look at."""
        from mcrgen.descriptors.compare import compare, section_errors

        measured = measure_medium(candidate, self.phase, curves=self.curves, **self.lags)
        sections, found = self._of_sections(candidate)
        both = [name for name in found if name in self.descriptors]
        errors = {name: section_errors(self.descriptors[name], found[name]) for name in both}
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
            "s3_limit": self.s3_limit,
            "gram": self.config.gram,
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

    with output_folder(config.output):
        configuration.save(config, config.output / "config.yaml")
        write_json(config.output / "metrics.json", metrics)
    with (config.output / "errors.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("candidate", *_COLUMNS))
        writer.writeheader()
        for name, result in metrics["candidates"].items():
            writer.writerows({"candidate": name} | row for row in _rows(result))
    plot_comparison(
        config.output / "comparison.png",
        comparison.sections,
        sections,
        metrics,
        errors={
            name: {row["descriptor"]: row["relative_error"] for row in _rows(result)[:-1]}
            for name, result in metrics["candidates"].items()
        },
        voxel_size_um=comparison.voxel_size_um,
    )


_COLUMNS = ("descriptor", "relative_error", "squared_error", "mse", "mse_scaled", "max_error", "inside_band", "distance")


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The errors of a candidate: relative ones and their squares, of curves three more, and the distance of local patterns."""

    def row(label: str, relative: float, squared: float | None = None) -> dict[str, Any]:
        values = {"relative_error": relative, "squared_error": relative**2 if squared is None else squared}
        return dict.fromkeys(_COLUMNS) | {"descriptor": label} | values

    rows = [row("phase fraction", result["phase_fraction"]["relative_error"])]
    for name, curve in result["curves"].items():
        more = {key: curve[key] for key in ("mse", "mse_scaled", "max_error", "inside_band")}
        rows.append(row(CURVE_NAMES[name], curve["relative_l2"]) | more)
    rows.append(row("2D autocovariance", result["autocovariance_2d"]["relative_l2"]))
    rows += [row(SECTION_NAMES[name], e["relative"], e["squared"]) for name, e in result["sections"].items()]
    rows.append(row("specific surface", result["specific_surface"]["relative_error"]))
    distance = {"descriptor": "local patterns", "distance": result["pattern_distance"]}
    return [*rows, dict.fromkeys(_COLUMNS) | distance]


def _tables(candidates: Mapping[str, Any]) -> list[Table]:
    """One candidate: a table of all errors; several: relative errors side by side, and the MSE of curves and scaled curves."""
    from rich.table import Table

    results = {name: _rows(result) for name, result in candidates.items()}
    first = next(iter(results.values()))
    if len(results) == 1:
        formats = {
            "relative_error": ".2%",
            "squared_error": ".1e",
            "mse_scaled": ".1e",
            "max_error": ".4f",
            "inside_band": ".0%",
        }
        table = Table("descriptor", "error", "error²", "MSE", "largest", "band", caption=_CAPTION)
        for row in first[:-1]:
            table.add_row(row["descriptor"], *("" if row[c] is None else format(row[c], f) for c, f in formats.items()))
        table.add_row("local patterns, distance", f"{first[-1]['distance']:.4f}")
        return [table]
    kinds = {"mse": "MSE of the curve", "mse_scaled": "MSE of the scaled curve"}
    tables = [Table("relative error", *results), *(Table(title, *results) for title in kinds.values())]
    for i, label in enumerate(row["descriptor"] for row in first[:-1]):
        tables[0].add_row(label, *(f"{rows[i]['relative_error']:.2%}" for rows in results.values()))
        for table, kind in zip(tables[1:], kinds, strict=True):
            if first[i][kind] is not None:
                table.add_row(label, *(f"{rows[i][kind]:.1e}" for rows in results.values()))
    tables[0].add_row("local patterns, distance", *(f"{rows[-1]['distance']:.4f}" for rows in results.values()))
    return tables
