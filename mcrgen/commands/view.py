"""``mcrgen view``: three sections and a rendering of a volume in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mcrgen.commands._console import console
from mcrgen.commands._media import open_media
from mcrgen.errors import InputError, require_output_file, require_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.io.label_files import LabelFile

_MOST_VOXEL_FACES = 64


@dataclass(kw_only=True)
class ViewConfig:
    """Show a segmented volume in one PNG: three orthogonal sections and an isometric rendering; no display is needed.

    Volumes of any size are read plane by plane. Needs pyvista: pip install 'mcrgen[view]'.
    """

    volume: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VOLUME")]
    """Segmented volume."""
    output: Path | None = None
    """PNG to write; beside the volume, with its name, if not given."""
    phase: int | None = None
    """Value of the phase shown as a solid in 3D; the highest if not given."""
    all_phases: bool = False
    """Show every phase in 3D: a block without voids."""
    position: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Places of the sections normal to z, y and x: fractions of the edges, 0 to 1."""
    max_edge: int = 256
    """Longest edge of what is rendered, in voxels; of a larger volume, blocks of voxels by their most frequent phase."""
    smooth: bool | None = None
    """Round the surface off, which loses single voxels; done for one phase and edges beyond 64 voxels if not given."""
    export: Path | None = None
    """Also write the volume for ParaView: .vti, compressed, phases numbered from 0; it is held in memory for that."""
    overwrite: bool = False
    """Replace the outputs if they exist."""


@dataclass(frozen=True)
class ViewResult:
    """A picture of a volume.

    Attributes:
        path: the PNG.
        export: the .vti file, or None.
    """

    path: Path
    export: Path | None


def run(config: ViewConfig) -> ViewResult:
    """Write the picture and, if asked for, the volume as .vti: cell data ``phase`` (uint8), spacing in micrometres if known.

    Raises:
        InputError: bad input, or pyvista is missing, before any work.
    """
    output = config.output or config.volume.with_suffix(".png")
    _check(config, output)
    with open_media(config.volume, (), ("volume", ""), phase=config.phase) as (medium,):
        if len(medium.shape) != 3:
            raise InputError(f"volume: expected a volume, '{config.volume}' is an image; any image viewer shows it.")
        _show(config, medium, output)
        if config.export is not None:
            _export(config.export, medium)
    console.print(f"view: {', '.join(str(path) for path in (output, config.export) if path is not None)}")
    return ViewResult(output, config.export)


def _check(config: ViewConfig, output: Path) -> None:
    require_positive("max_edge", config.max_edge)
    if len(config.position) != 3 or not all(0 <= place <= 1 for place in config.position):
        given = " ".join(map(str, config.position))
        raise InputError(f"position: expected three fractions between 0 and 1, for z, y and x, got '{given}'.")
    for name, path, suffix in (("output", output, ".png"), ("export", config.export, ".vti")):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise InputError(f"{name}: expected a name ending in {suffix}, got '{path}'.")
        require_output_file(name, path, overwrite=config.overwrite)
    _require_pyvista()


def _require_pyvista() -> None:
    """Raise unless pyvista is there."""
    try:
        import pyvista  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError("view: needs pyvista; install it with `pip install 'mcrgen[view]'`.") from error
    except ImportError as error:
        raise InputError(f"view: pyvista does not load ({error}); install what is missing.") from error


def _show(config: ViewConfig, medium: LabelFile, output: Path) -> None:
    from mcrgen.plotting.rendering import Scene
    from mcrgen.plotting.view import Section, plot_view

    places = [min(int(place * length), length - 1) for place, length in zip(config.position, medium.shape, strict=True)]
    with console.status(f"reading {medium.path.name}"):
        images, coarse = read_view(medium, places, config.max_edge)
    sections = {n: Section(image, place) for (n, image), place in zip(images.items(), places, strict=True)}
    smooth = config.smooth
    if smooth is None:
        smooth = not config.all_phases and max(coarse.shape) > _MOST_VOXEL_FACES
    phases, (depth, height, width) = medium.phases, medium.shape
    scene = Scene(coarse, (depth, height, width), phases.values, phases.phase, config.all_phases, smooth)
    output.parent.mkdir(parents=True, exist_ok=True)
    with console.status("rendering"):
        plot_view(
            output,
            sections,
            scene,
            title=medium.path.name,
            fractions=medium.fractions,
            voxel_size_um=medium.voxel_size_um,
        )


def read_view(
    medium: LabelFile, places: Sequence[int], max_edge: int
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Read a volume once, slab by slab.

    Args:
        medium: a volume.
        places: indices of the sections normal to z, y and x.
        max_edge: longest edge of the reduced volume.

    Returns:
        Labels of the sections by normal, and of the volume reduced by :func:`majority`.
    """
    import numpy as np

    z, y, x = places
    step = -(-max(medium.shape) // max_edge)
    planes, rows, columns = (block_starts(length, step) for length in medium.shape)
    across_y, across_x, coarse = [], [], []
    for start, stop in zip(planes, [*planes[1:], medium.depth], strict=True):
        slab = medium.planes(int(start), int(stop))
        if start <= z < stop:
            across_z = slab[z - start].copy()  # views would keep every slab
        across_y.append(slab[:, y].copy())
        across_x.append(slab[:, :, x].copy())
        coarse.append(majority(slab, rows, columns, medium.phases.count))
    return {"z": across_z, "y": np.concatenate(across_y), "x": np.concatenate(across_x)}, np.stack(coarse)


def block_starts(length: int, step: int) -> NDArray[np.int64]:
    """First indices of the fewest blocks of at most ``step`` voxels, as equal as can be, so that no end is drawn stretched."""
    import numpy as np

    count = -(-length // step)
    return np.arange(count) * length // count


def majority(slab: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """The most frequent label of each block of a slab, the lowest of equals.

    Args:
        slab: ``(D, H, W)`` labels 0..count-1; blocks go through all of D.
        rows: first rows of the blocks.
        columns: first columns.
        count: number of labels.

    Returns:
        ``(len(rows), len(columns))`` labels.
    """
    import numpy as np

    votes = [
        np.add.reduceat(np.add.reduceat(np.count_nonzero(slab == label, axis=0), rows, axis=0), columns, axis=1)
        for label in range(count)
    ]
    labels: NDArray[np.uint8] = np.argmax(votes, axis=0).astype(np.uint8)
    return labels


def _export(path: Path, medium: LabelFile) -> None:
    """Write the labels as ParaView's image data, complete under its name or not there at all."""
    import pyvista

    depth, height, width = medium.shape
    spacing = medium.voxel_size_um or 1.0
    image = pyvista.ImageData(dimensions=(width + 1, height + 1, depth + 1), spacing=(spacing,) * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial.vti")
    with console.status(f"writing {path.name}"):
        image.cell_data["phase"] = medium.labels().ravel()
        try:
            image.save(partial)
            if not partial.exists():  # VTK reports a full disk on stderr and goes on
                raise InputError(f"export: could not write '{path}'; free some space or choose another place.")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
