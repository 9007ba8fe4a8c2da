"""``mcrgen representative-size``: how large a window must be to stand for the whole."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._media import describe, largest_lag, measure_medium, open_media, output_folder, read_window
from mcrgen.errors import InputError, require_output_file, require_positive, require_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.io.label_files import LabelFile

PRODUCTS = ("representative_size.json", "representative_size.csv", "representative_size.png", "config.yaml")

_SIZES = 8
_SMALLEST = 8
_KNOWN = 0.9


@dataclass(kw_only=True)
class RepresentativeSizeConfig:
    """Compare random windows of growing size with the whole medium and find the smallest size that stands for it.

    The measure is the mean square difference between the scaled autocovariance F2 of a window and that of the whole (Amiri et
    al., Sci. Rep. 13 (2023) 1732). Windows beyond half the medium's edge overlap so much that their scatter looks smaller than
    it is: a size found there asks for a larger medium.
    """

    medium: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MEDIUM")]
    """Segmented image or volume."""
    output: Path
    """Folder for the results."""
    phase: int | None = None
    """Value of the phase of interest; the highest if not given."""
    sizes: tuple[int, ...] = ()
    """Edges of the windows, in voxels; eight from an eighth of the shortest edge to three quarters, if not given."""
    windows: int = 64
    """Random windows of each size."""
    tolerance: float = 0.001
    """Mean square difference of F2 up to which a size counts as representative."""
    max_lag: int | None = None
    """Largest lag of F2, in voxels; half the smallest window if not given."""
    seed: int = 0
    """Seed of the places of the windows."""
    overwrite: bool = False
    """Replace earlier results in the folder."""


@dataclass(frozen=True)
class SizeResult:
    """Windows of one size; F2 is known only of those that hold both the phase of interest and others.

    Attributes:
        size: edge length in voxels.
        windows: number of windows of which F2 is known.
        mse: mean over them of the mean square difference of F2; None, as the rest that is made of F2, if there are none.
        mse_low: 2.5th percentile of it over the windows.
        mse_high: 97.5th percentile.
        fraction: mean phase fraction of all windows.
        fraction_low: 2.5th percentile.
        fraction_high: 97.5th percentile.
        f2_low: 2.5th percentile of F2 over the lags.
        f2_high: 97.5th percentile.
    """

    size: int
    windows: int
    mse: float | None
    mse_low: float | None
    mse_high: float | None
    fraction: float
    fraction_low: float
    fraction_high: float
    f2_low: list[float]
    f2_high: list[float]


@dataclass(frozen=True)
class RepresentativeSizeResult:
    """A representative size.

    Attributes:
        folder: where table and figure are.
        size: the smallest size from which on all sizes are within the tolerance, and F2 is known of 90 % of the windows or
            more, in voxels; None if none is.
        sizes: the results of each size.
    """

    folder: Path
    size: int | None
    sizes: tuple[SizeResult, ...]


def run(config: RepresentativeSizeConfig) -> RepresentativeSizeResult:
    """Measure random windows, write ``representative_size.json``, ``.csv`` and ``.png``, print a table.

    Raises:
        InputError: bad input, before any work.
    """
    _check(config)
    with open_media(config.medium, (), ("medium", ""), phase=config.phase) as (medium,):
        sizes = _sizes(config, medium.shape)
        max_lag = largest_lag([(sizes[0],)], config.max_lag, sizes[0] // 2)
        whole, found = _measure(config, medium, sizes, max_lag)
        description = describe(medium)
        phase = medium.phases.values[medium.phases.phase]
    size = _representative(found, config.tolerance, config.windows)
    data = {
        "format": 1,
        "medium": description,
        "phase": phase,
        "max_lag": max_lag,
        "tolerance": config.tolerance,
        "representative_size": size,
        "phase_fraction": whole[0],
        "f2": whole[1].tolist(),
        "sizes": [asdict(result) for result in found],
    }
    _write(config, data, medium.voxel_size_um)
    _tell(data)
    return RepresentativeSizeResult(config.output, size, tuple(found))


def _check(config: RepresentativeSizeConfig) -> None:
    require_seed(config.seed)
    require_positive("tolerance", config.tolerance)
    if config.windows < 2:
        raise InputError(f"windows: expected 2 or more, got {config.windows}.")
    for product in PRODUCTS:
        require_output_file("output", config.output / product, overwrite=config.overwrite)


def _sizes(config: RepresentativeSizeConfig, shape: tuple[int, ...]) -> list[int]:
    import numpy as np

    shortest = min(shape)
    if shortest <= _SMALLEST:
        raise InputError(f"medium: expected more than {_SMALLEST} voxels along every axis, got {shape}.")
    if not config.sizes:
        sizes: list[int] = np.unique(
            np.geomspace(max(_SMALLEST, shortest / 8), 0.75 * shortest, _SIZES).round().astype(int)
        ).tolist()
        return sizes
    for size in config.sizes:
        if not 2 <= size <= shortest:
            raise InputError(f"sizes: expected 2 to {shortest}, the shortest edge of the medium, got {size}.")
    return sorted(set(config.sizes))


def _measure(
    config: RepresentativeSizeConfig, medium: LabelFile, sizes: Sequence[int], max_lag: int
) -> tuple[tuple[float, NDArray[np.float64]], list[SizeResult]]:
    """Phase fraction and F2 of the whole, and the results of each size."""
    import numpy as np

    from mcrgen.descriptors.compare import scaled
    from mcrgen.descriptors.measure import measure
    from mcrgen.descriptors.windows import random_windows

    phase = medium.phases.phase
    reference = measure_medium(medium, phase, max_lag=max_lag, curves=("s2",))
    whole = scaled(reference, "s2")
    rng = np.random.default_rng(config.seed)
    results = []
    with progress_bar(transient=True) as progress:
        bar = progress.add_task("windows", total=len(sizes) * config.windows, status="", unit="window")
        for size in sizes:
            fractions, curves = [], []
            for window in random_windows(medium.shape, size, config.windows, rng):
                part = measure(read_window(medium, phase, window), max_lag=max_lag, curves=("s2",))
                fractions.append(part.fraction)
                if 0.0 < part.fraction < 1.0:
                    curves.append(scaled(part, "s2"))
                progress.update(bar, advance=1, status=f"{size} voxels")
            results.append(_summarise(size, np.array(fractions), np.array(curves), whole))
    return (reference.fraction, whole), results


def _summarise(
    size: int, fractions: NDArray[np.float64], curves: NDArray[np.float64], whole: NDArray[np.float64]
) -> SizeResult:
    import numpy as np

    fraction_low, fraction_high = np.quantile(fractions, (0.025, 0.975)).tolist()
    if len(curves) == 0:
        return SizeResult(size, 0, None, None, None, float(fractions.mean()), fraction_low, fraction_high, [], [])
    mse = np.square(curves - whole).mean(axis=1)
    low, high = np.quantile(curves, (0.025, 0.975), axis=0)
    mse_low, mse_high = np.quantile(mse, (0.025, 0.975)).tolist()
    return SizeResult(
        size, len(curves), float(mse.mean()), mse_low, mse_high, float(fractions.mean()), fraction_low, fraction_high,
        low.tolist(), high.tolist(),
    )  # fmt: skip


def _representative(results: Sequence[SizeResult], tolerance: float, windows: int) -> int | None:
    """The smallest size from which on all are within the tolerance, in windows nearly all of which hold both phases."""
    found = None
    for result in reversed(results):
        if result.mse is None or result.mse > tolerance or result.windows < _KNOWN * windows:
            break
        found = result.size
    return found


def _write(config: RepresentativeSizeConfig, data: dict[str, Any], voxel_size_um: float | None) -> None:
    from mcrgen.io.provenance import provenance, write_json
    from mcrgen.plotting.representative_size import plot_representative_size

    record = provenance("representative-size", configuration.to_plain(config), {"medium": config.medium})
    with output_folder(config.output):
        configuration.save(config, config.output / "config.yaml")
        write_json(config.output / "representative_size.json", data | {"provenance": record})
    columns = [name for name, value in data["sizes"][0].items() if not isinstance(value, list)]
    with (config.output / "representative_size.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([result[name] for name in columns] for result in data["sizes"])
    plot_representative_size(config.output / "representative_size.png", data, voxel_size_um=voxel_size_um)


def _tell(data: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("edge", "windows", "MSE of F2", "95 % of windows", "phase fraction, 95 %")
    for r in data["sizes"]:
        known = r["mse"] is not None
        table.add_row(
            str(r["size"]),
            str(r["windows"]),
            f"{r['mse']:.2e}" if known else "unknown",
            f"{r['mse_low']:.1e} to {r['mse_high']:.1e}" if known else "",
            f"{r['fraction_low']:.3f} to {r['fraction_high']:.3f}",
        )
    console.print(table)
    size = data["representative_size"]
    if size is None:
        console.print(f"no window size is within {data['tolerance']:g}: the medium is too small, or the tolerance too tight")
        return
    note = "" if 2 * size <= min(data["medium"]["shape"]) else "; beyond half the medium, so a larger medium should confirm it"
    console.print(f"representative size: {size} voxels (mean square difference of F2 within {data['tolerance']:g}){note}")
