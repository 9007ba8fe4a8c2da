"""The phase fraction field that a volume has, written beside it with the one that was requested."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.commands._medium import Medium
    from mcrgen.generation.blocks import Block, Triple
    from mcrgen.generation.local_means import CellLayer, Profile
    from mcrgen.generation.noise import ScalarField

KEY = "phase_fraction_field"
"""Where the provenance has what :func:`write_achieved` tells."""


def achieved_paths(output: Path) -> tuple[Path, Path, Path]:
    """The files beside a volume with its local phase fractions, their profiles, and the figure of these."""
    cells, profiles, figure = (output.with_name(f"{output.name}.phase_fraction.{suffix}") for suffix in ("tif", "csv", "png"))
    return cells, profiles, figure


def write_achieved(
    output: Path,
    medium: Medium,
    requested: ScalarField,
    shape: Triple,
    voxel_size_um: float | None,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Compare a volume that is finished, but has not got its name, with its phase fraction field.

    Args:
        output: the volume, whose staged voxels are read box by box.
        medium: what was made: the phase of interest, and where voxels count.
        requested: its phase fraction field.
        shape: (D, H, W) in voxels.
        voxel_size_um: edge length of a voxel, or None.
        advance: called with the number of planes looked at.

    Returns:
        Plain data: the edge of the cells in voxels, and along each axis the root mean square and the largest absolute value of
        the difference between the profiles.
    """
    from mcrgen.generation.local_means import Profiles, cell_edge, cell_layers
    from mcrgen.io.provenance import sidecar
    from mcrgen.io.staging import StagedVolume, beside
    from mcrgen.io.volume_formats import header

    staged = StagedVolume(beside(output, "partial"), shape, header(output, shape))
    if not staged.path.exists():  # named by a run that was stopped after that, and had written all of this before
        return dict(json.loads(sidecar(output).read_text())[KEY])

    def phase(block: Block) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = staged.read(block.slices) == medium.source.phase
        return there

    edge = cell_edge(shape)
    profiles = Profiles(shape, edge)

    def followed() -> Iterator[CellLayer]:
        for layer in cell_layers(phase, requested, medium.inside, shape, edge):
            profiles.add(layer)
            yield layer
            advance(edge)

    cells, table, figure = achieved_paths(output)
    _write_cells(cells, followed(), shape, edge, voxel_size_um)
    found = profiles.along_axes()
    _write_table(table, found)
    _draw(figure, found, voxel_size_um)
    return {"cell_edge": edge, **_differences(found)}


def tell_achieved(output: Path, told: Mapping[str, Any]) -> None:
    """Say how far the volume is from its phase fraction field."""
    differences = ", ".join(f"{value:.4f} along {axis}" for axis, value in told["rms_difference"].items())
    name = achieved_paths(output)[0].with_suffix("").name
    console.print(f"phase fraction field: rms difference of the profiles {differences}; see {name}.tif, .csv and .png")


def _write_cells(path: Path, layers: Iterator[CellLayer], shape: Triple, edge: int, voxel_size_um: float | None) -> None:
    """Mean of each cell, a layer of cells being a page."""
    import tifffile

    from mcrgen.io.images import imagej_tags

    cells = tuple(-(-length // edge) for length in shape)
    with _complete(path) as partial:
        tifffile.imwrite(
            partial,
            (layer.fractions for layer in layers),
            shape=cells,
            dtype="float32",
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            **imagej_tags(cells, None if voxel_size_um is None else edge * voxel_size_um),
        )


def _write_table(path: Path, profiles: Mapping[str, Profile]) -> None:
    with _complete(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("axis", "position", "requested", "achieved"))
        for axis, profile in profiles.items():
            columns = (profile.position, profile.requested, profile.achieved)
            writer.writerows((axis, *row) for row in zip(*(column.tolist() for column in columns), strict=True))


def _draw(path: Path, profiles: Mapping[str, Profile], voxel_size_um: float | None) -> None:
    from mcrgen.plotting.profiles import plot_profiles

    curves = {axis: (p.position.tolist(), p.requested.tolist(), p.achieved.tolist()) for axis, p in profiles.items()}
    with _complete(path) as partial:
        plot_profiles(partial, curves, voxel_size_um=voxel_size_um)


def _differences(profiles: Mapping[str, Profile]) -> dict[str, dict[str, float]]:
    found = {axis: profile.difference for axis, profile in profiles.items()}
    return {
        "rms_difference": {axis: float((values**2).mean() ** 0.5) for axis, values in found.items()},
        "largest_difference": {axis: float(abs(values).max()) for axis, values in found.items()},
    }


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A name to write a file under that then gets its own, complete or not at all."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
