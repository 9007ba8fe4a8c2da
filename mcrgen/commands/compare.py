"""``mcrgen compare``: how close a candidate medium is to its reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.errors import InputError, require_output_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from mcrgen.io.images import Medium

_SCALE_TOLERANCE = 0.01
PRODUCTS = ("metrics.json", "comparison.png", "config.yaml")


@dataclass(kw_only=True)
class CompareConfig:
    """Measure a volume (or image) against its reference: phase fractions, two-point correlation, 2D autocovariance, surface."""

    reference: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REFERENCE")]
    """Segmented image or volume to compare with."""
    candidate: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CANDIDATE")]
    """Segmented volume or image to judge."""
    output: Path
    """Folder for metrics.json and comparison.png."""
    phase: int | None = None
    """Value of the phase of interest in the reference; its highest value if not given."""
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
    """Measure both media, write ``metrics.json`` and ``comparison.png``, print a table.

    ``metrics.json`` has the keys ``format`` (1), ``provenance``, ``reference`` and ``candidate`` (shape, label values,
    voxel_size_um), ``phase`` (value in the reference), ``phase_fractions`` (reference and candidate, all phases) and those of
    :func:`mcrgen.descriptors.compare.compare`: ``phase_fraction``, ``s2``, ``autocovariance_2d``, ``specific_surface``.

    Raises:
        InputError: bad input, before any work.
    """
    from mcrgen.io.images import read_medium

    for product in PRODUCTS:
        require_output_file("output", config.output / product, overwrite=config.overwrite)
    reference = read_medium(config.reference, "reference", phase=config.phase, phase_name="phase")
    candidate = read_medium(config.candidate, "candidate", phase=None, phase_name="phase")
    if reference.phases.count != candidate.phases.count:
        raise InputError(
            f"candidate: expected {reference.phases.count} phases as in the reference, '{config.candidate}' has "
            f"{candidate.phases.count}."
        )
    _warn_scale(reference.voxel_size_um, candidate.voxel_size_um)
    metrics = _measure(config, reference, candidate)
    _write(config, reference, candidate, metrics)
    console.print(_table(metrics))
    console.print(f"figure: {config.output / 'comparison.png'}")
    return CompareResult(config.output, metrics)


def _measure(config: CompareConfig, reference: Medium, candidate: Medium) -> dict[str, Any]:
    from mcrgen.descriptors.compare import common_lags, compare, measure
    from mcrgen.io.phases import phase_fractions
    from mcrgen.io.provenance import provenance

    phase = reference.phases.phase
    lags = common_lags(reference.labels.shape, candidate.labels.shape)
    with console.status("measuring"):
        errors = compare(measure(reference.labels == phase, *lags), measure(candidate.labels == phase, *lags))
    inputs = {"reference": config.reference, "candidate": config.candidate}
    return {
        "format": 1,
        "reference": _describe(reference),
        "candidate": _describe(candidate),
        "phase": reference.phases.values[phase],
        "phase_fractions": {
            "reference": phase_fractions(reference.labels, reference.phases.count).tolist(),
            "candidate": phase_fractions(candidate.labels, reference.phases.count).tolist(),
        },
        **errors,
        "provenance": provenance("compare", configuration.to_plain(config), inputs),
    }


def _warn_scale(reference: float | None, candidate: float | None) -> None:
    if reference and candidate and abs(candidate / reference - 1.0) > _SCALE_TOLERANCE:
        console.print(
            f"warning: the reference's voxels are {reference:g} µm, the candidate's {candidate:g} µm; descriptors are compared "
            "voxel by voxel.",
            style="yellow",
        )


def _describe(medium: Medium) -> dict[str, Any]:
    return {
        "shape": list(medium.labels.shape),
        "values": list(medium.phases.values),
        "voxel_size_um": medium.voxel_size_um,
    }


def _write(config: CompareConfig, reference: Medium, candidate: Medium, metrics: dict[str, Any]) -> None:
    from mcrgen.io.provenance import write_json
    from mcrgen.plotting.comparison import plot_comparison

    config.output.mkdir(parents=True, exist_ok=True)
    configuration.save(config, config.output / "config.yaml")
    write_json(config.output / "metrics.json", metrics)
    section = reference.labels if reference.labels.ndim == 2 else reference.labels[len(reference.labels) // 2]
    plot_comparison(
        config.output / "comparison.png",
        section,
        _sections(candidate.labels),
        metrics,
        voxel_size_um=reference.voxel_size_um,
    )


def _sections(labels: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """The image itself, or the middle section normal to each axis of a volume."""
    if labels.ndim == 2:
        return {"candidate": labels}
    return {f"candidate, normal to {name}": labels.take(labels.shape[axis] // 2, axis=axis) for axis, name in enumerate("zyx")}


def _table(metrics: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("descriptor", "reference", "candidate", "relative error")
    for name, key in (("phase fraction", "phase_fraction"), ("specific surface (1/voxel)", "specific_surface")):
        row = metrics[key]
        table.add_row(name, f"{row['reference']:.4f}", f"{row['candidate']:.4f}", f"{row['relative_error']:.2%}")
    s2, maps = metrics["s2"], metrics["autocovariance_2d"]
    table.add_row(f"S2, mean of axes, r = 0..{s2['max_lag']}", "", "", f"{s2['relative_l2']:.4f}")
    for axis, error in s2["relative_l2_per_axis"].items():
        table.add_row(f"S2 along {axis}", "", "", f"{error:.4f}")
    table.add_row(f"2D autocovariance, lags ±{maps['max_lag']}", "", "", f"{maps['relative_l2']:.4f}")
    for normal, error in maps["relative_l2_per_normal"].items():
        table.add_row(f"2D autocovariance, sections normal to {normal}", "", "", f"{error:.4f}")
    return table
