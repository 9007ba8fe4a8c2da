"""What ``mcrgen characterize`` measures and writes for each descriptor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._media import measure_medium, read_sections
from mcrgen.commands._sections import load_features, section_descriptors
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.descriptors.measure import Measurement
    from mcrgen.io.label_files import LabelFile

STREAMED: dict[str, tuple[str, ...]] = {
    "s2": ("s2",),
    "lineal_path": ("lineal_path",),
    "chord_length": ("chord_length",),
    "polytopes": ("p3h", "p3v", "p4", "p6"),
}
BYTES_PER_VOXEL = {"s2_map": 80, "c2": 40, "minkowski": 60}

_MAP_LAG = 32
_DILATIONS = range(-6, 7)


@dataclass(frozen=True)
class Report:
    """Results of one descriptor.

    Attributes:
        data: plain data for the JSON file.
        header: columns of the CSV file.
        rows: its rows; no file without any.
        draw: writes the figure.
        arrays: larger results for an NPZ file; no file without any.
    """

    data: dict[str, Any]
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    draw: Callable[[Path], None]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass
class Source:
    """A medium and the settings it is measured with; what several descriptors need is measured once."""

    medium: LabelFile
    max_lag: int
    voxel_size_um: float | None
    sections: int
    s3_limit: int
    gram: str
    curves: tuple[str, ...]

    def __post_init__(self) -> None:
        self.phase = self.medium.phases.phase
        self.features = load_features(self.gram)

    @cached_property
    def measured(self) -> Measurement:
        """Curves and scalars, streamed."""
        return measure_medium(self.medium, self.phase, max_lag=self.max_lag, curves=self.curves)

    @cached_property
    def indicator(self) -> Tensor:
        """The phase of interest in memory, ``(1, 1, *shape)`` booleans."""
        import torch

        return torch.from_numpy(self.medium.labels() == self.phase)[None, None]

    @cached_property
    def section_labels(self) -> dict[str, NDArray[np.uint8]]:
        """Evenly spaced sections."""
        return read_sections(self.medium, self.sections)


def check_memory(names: Sequence[str], shape: tuple[int, ...]) -> None:
    """Raise where a descriptor that needs the whole medium at once would not fit into memory.

    Raises:
        InputError: which one, what it needs and what there is.
    """
    import psutil

    available = psutil.virtual_memory().available
    for name in names:
        needed = BYTES_PER_VOXEL.get(name, 0) * prod(shape)
        if needed > available:
            raise InputError(
                f"descriptors: {name.replace('_', '-')} needs about {needed / 2**30:.0f} GiB for a medium of "
                f"{' x '.join(map(str, shape))} voxels, {available / 2**30:.0f} GiB are free; leave it out or crop the medium."
            )


def curve_report(source: Source, name: str) -> Report:
    """Streamed curves: S2, lineal path, chord lengths or the four polytope functions."""
    from mcrgen.descriptors.compare import scaled
    from mcrgen.plotting.characterization import plot_curves

    measured = source.measured
    curves = {key: measured.curves[key] for key in STREAMED[name]}
    scaled_curves = {key: scaled(measured, key).tolist() for key in curves}
    columns: dict[str, list[float]] = {}
    for key, curve in curves.items():
        prefix = f"{key}_" if len(curves) > 1 else ""
        parts = {f"{prefix}{part}": values.tolist() for part, values in curve.parts.items()}
        columns |= parts | {f"{prefix}mean": curve.mean.tolist(), f"{prefix}scaled": scaled_curves[key]}
    data = {
        key: {
            "order": curve.order,
            "parts": {part: values.tolist() for part, values in curve.parts.items()},
            "mean": curve.mean.tolist(),
            "scaled": scaled_curves[key],
        }
        for key, curve in curves.items()
    }
    header, rows = _lag_table(columns, source.voxel_size_um)
    parts = {key: {p: v.tolist() for p, v in curve.parts.items()} for key, curve in curves.items()}
    return Report(data, header, rows, lambda path: plot_curves(path, parts, voxel_size_um=source.voxel_size_um))


def _lag_table(columns: dict[str, list[float]], voxel_size_um: float | None) -> tuple[list[str], list[list[Any]]]:
    """Columns over lags, empty where one ends before the others."""
    length = max(map(len, columns.values()))
    header = ["lag", *(["lag_um"] if voxel_size_um else []), *columns]
    rows: list[list[Any]] = []
    for lag in range(length):
        place = [lag, lag * voxel_size_um] if voxel_size_um else [lag]
        rows.append([*place, *(c[lag] if lag < len(c) else "" for c in columns.values())])
    return header, rows


def map_report(source: Source) -> Report:
    """The full map of S2 and its radial average."""
    from mcrgen.descriptors.two_point_map import radial_average, two_point_map
    from mcrgen.plotting.characterization import plot_map

    lag = min(source.max_lag, _MAP_LAG)
    found = two_point_map(source.indicator.float(), lag)
    radii, average = radial_average(found)
    values = found[0, 0].numpy()
    radial = average[0, 0].tolist()
    header, rows = _lag_table({"radial_mean": radial}, source.voxel_size_um)
    return Report(
        {"max_lag": lag, "radial_mean": radial, "radii": radii.tolist()},
        header,
        rows,
        lambda path: plot_map(path, values, radial, voxel_size_um=source.voxel_size_um),
        {"map": values},
    )


def cluster_report(source: Source) -> Report:
    """The two-point cluster function along the axes."""
    from mcrgen.descriptors.cluster import two_point_cluster
    from mcrgen.descriptors.measure import AXES
    from mcrgen.plotting.characterization import plot_curves

    names = AXES[len(source.medium.shape)]
    parts = {n: two_point_cluster(source.indicator, source.max_lag, i)[0, 0].tolist() for i, n in enumerate(names)}
    mean = [sum(values) / len(parts) for values in zip(*parts.values(), strict=True)]
    header, rows = _lag_table(parts | {"mean": mean}, source.voxel_size_um)
    return Report(
        {"c2": {"order": None, "parts": parts, "mean": mean}},
        header,
        rows,
        lambda path: plot_curves(path, {"c2": parts}, voxel_size_um=source.voxel_size_um),
    )


def three_point_report(source: Source) -> Report:
    """S3 of sections, averaged over the sections of each normal."""
    from mcrgen.descriptors.three_point import half_window
    from mcrgen.plotting.characterization import plot_three_point

    found = section_descriptors(source.section_labels, source.phase, s3_limit=source.s3_limit, features=None)["s3"]
    arrays = {normal: tensors[0].numpy() for normal, tensors in found.items()}
    lags = half_window(source.s3_limit).tolist()
    return Report(
        {"limit": source.s3_limit, "normals": list(arrays), "file": "s3.npz"},
        ["dy", "dx", *(f"s2_{normal}" for normal in arrays)],
        [[*lag, *(float(a[i, i]) for a in arrays.values())] for i, lag in enumerate(lags)],
        lambda path: plot_three_point(path, arrays, source.s3_limit),
        arrays | {"lags": half_window(source.s3_limit).numpy()},
    )


def gram_report(source: Source) -> Report:
    """Gram matrices of sections."""
    from mcrgen.plotting.characterization import plot_gram

    found = section_descriptors(source.section_labels, source.phase, s3_limit=1, features=source.features)["gram"]
    arrays = {f"{normal}_{i}": t.numpy() for normal, tensors in found.items() for i, t in enumerate(tensors, 1)}
    return Report(
        {"weights": source.gram, "normals": list(found), "file": "gram.npz"},
        ["normal", "layer", "filters", "norm"],
        [[key[0], key[2:], len(a), float((a**2).sum() ** 0.5)] for key, a in arrays.items()],
        lambda path: plot_gram(path, {key: a for key, a in arrays.items() if key[0] == next(iter(found))}),
        arrays,
    )


def minkowski_report(source: Source) -> Report:
    """Minkowski functionals of the phase and of its parallel bodies: dilated, and eroded, by up to 6 voxels."""
    import torch
    from scipy.ndimage import distance_transform_edt

    from mcrgen.descriptors.minkowski import minkowski_functionals
    from mcrgen.plotting.characterization import plot_minkowski

    phase = source.indicator[0, 0].numpy()
    outside = distance_transform_edt(~phase) - distance_transform_edt(phase)
    columns = ("distance", "fraction", "boundary", "mean_curvature", "euler")
    rows: list[list[Any]] = []
    for distance in _DILATIONS:
        body = torch.from_numpy(outside <= distance if distance >= 0 else outside < distance)[None, None]
        found = minkowski_functionals(body.float())
        values = (found.fraction, found.boundary, found.mean_curvature, found.euler)
        rows.append([distance, *("" if v is None else float(v) for v in values)])
    undilated = next(row for row in rows if row[0] == 0)
    own = dict(zip(columns[1:], undilated[1:], strict=True))
    data = {name: value for name, value in own.items() if value != ""}
    return Report(data, columns, rows, lambda path: plot_minkowski(path, rows, voxel_size_um=source.voxel_size_um))


def pore_report(source: Source) -> Report:
    """Areas and orientations of the connected parts of the phase in an image."""
    from dataclasses import fields

    from mcrgen.descriptors.pores import pore_distributions, pore_table
    from mcrgen.plotting.characterization import plot_pores

    table = pore_table(source.indicator)
    distributions = pore_distributions(table)
    names = [f.name for f in fields(table) if f.name not in ("image", "channel")]
    rows = list(zip(*(getattr(table, name).tolist() for name in names), strict=True))
    data = {f.name: getattr(distributions, f.name) for f in fields(distributions)}
    plain = {name: value if isinstance(value, int) else value.tolist() for name, value in data.items()}
    return Report(plain, names, rows, lambda path: plot_pores(path, plain, voxel_size_um=source.voxel_size_um))


REPORTS: dict[str, Callable[[Source], Report]] = {
    "s2": lambda source: curve_report(source, "s2"),
    "lineal_path": lambda source: curve_report(source, "lineal_path"),
    "chord_length": lambda source: curve_report(source, "chord_length"),
    "polytopes": lambda source: curve_report(source, "polytopes"),
    "s2_map": map_report,
    "c2": cluster_report,
    "s3": three_point_report,
    "gram": gram_report,
    "minkowski": minkowski_report,
    "pores": pore_report,
}
