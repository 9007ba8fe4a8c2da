"""Tables of descriptors as targets of a reconstruction: what ``mcrgen characterize`` writes, or a table of the same form."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcrgen.errors import InputError, require_file

SUFFIXES = (".json", ".csv")
CURVES = ("s2", "lineal_path")

_LAG, _MEAN, _AXES = "lag", "mean", "zyx"
_PHASES = 2


@dataclass(frozen=True)
class Statistics:
    """Descriptors of the phase of interest of a medium of two phases.

    Attributes:
        path: the file.
        fraction: phase fraction.
        curves: name -> axis, or ``mean`` -> values over lags 0, 1, 2, ... voxels.
        interface_density: axis -> phase changes per voxel length; empty if not known.
        phase: index of the phase of interest, 0 or 1.
        voxel_size_um: edge length of a voxel in micrometres, or None.
    """

    path: Path
    fraction: float
    curves: dict[str, dict[str, list[float]]]
    interface_density: dict[str, float]
    phase: int = 1
    voxel_size_um: float | None = None

    def along(self, name: str, axis: str) -> list[float]:
        """A curve along an axis, or its mean over the axes that the medium was measured along."""
        by_axis = self.curves[name]
        return by_axis.get(axis, by_axis[_MEAN])

    def density(self, axis: str) -> float:
        """Phase changes per voxel length along an axis, or their mean."""
        known = self.interface_density
        return known.get(axis, sum(known.values()) / len(known))

    def covers(self, dimensions: int) -> bool:
        """Whether it tells every axis of a medium apart; else all of them get the mean."""
        return all(set(_AXES[-dimensions:]) <= set(curve) for curve in self.curves.values())


def read_statistics(path: Path, fraction: float | None) -> Statistics:
    """Read a table of descriptors.

    Args:
        path: ``characterization.json``; or a CSV with a column ``lag`` = 0, 1, 2, ... and columns of values by axis (z, y, x)
            or ``mean``, named ``s2.csv`` or ``lineal_path.csv``.
        fraction: phase fraction for a table that does not hold it.

    Raises:
        InputError: no such file, of another form, of another number of phases than two, or of one phase.
    """
    require_file("source", path)
    try:
        found = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path, fraction)
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"source: '{path}' is no table of descriptors ({type(error).__name__}: {error}); expected characterization.json of "
            "`mcrgen characterize`, or s2.csv or lineal_path.csv with the columns lag and mean."
        ) from error
    if not 0.0 < found.fraction < 1.0:
        raise InputError(
            f"source: expected a phase fraction between 0 and 1 (exclusive) in '{path}', got {found.fraction:g}; a medium of "
            "one phase has nothing to reconstruct."
        )
    for name, curve in found.curves.items():
        if any(not -1e-9 <= value <= 1.0 + 1e-9 for values in curve.values() for value in values):
            raise InputError(f"source: expected probabilities between 0 and 1 in '{path}', {name} has others.")
    return found


def _from_json(path: Path) -> Statistics:
    data: dict[str, Any] = json.loads(path.read_text())
    values = data["medium"]["values"]
    if len(values) != _PHASES:
        raise InputError(
            f"source: expected descriptors of a medium of two phases, '{path}' is of one with {len(values)}; give its image."
        )
    curves = {
        name: {**data["descriptors"][name][name]["parts"], _MEAN: data["descriptors"][name][name]["mean"]}
        for name in CURVES
        if name in data["descriptors"]
    }
    return Statistics(
        path,
        float(data["phase_fraction"]),
        curves,
        {axis: float(value) for axis, value in data["interface_density"].items()},
        values.index(data["phase"]),
        data["medium"].get("voxel_size_um"),
    )


def _from_csv(path: Path, fraction: float | None) -> Statistics:
    name = path.stem.replace("-", "_").lower()
    if name not in CURVES:
        raise InputError(f"source: expected a table named s2.csv or lineal_path.csv, got '{path}'; rename it by what it holds.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if [int(row[_LAG]) for row in rows] != list(range(len(rows))) or not rows:
        raise ValueError("the lags are not 0, 1, 2, ...")
    curve = {column: [float(row[column]) for row in rows] for column in (*_AXES, _MEAN) if column in rows[0]}
    if not curve:
        raise ValueError("no column is named mean, z, y or x")
    if _MEAN not in curve:
        columns = list(curve.values())
        curve[_MEAN] = [sum(values) / len(columns) for values in zip(*columns, strict=True)]
    return Statistics(path, curve[_MEAN][0] if fraction is None else fraction, {name: curve}, {})
