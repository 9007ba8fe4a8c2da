"""Segmented media on disk and what is measured on them, with progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mcrgen.commands._console import console, progress_bar
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.descriptors.measure import Measurement
    from mcrgen.descriptors.windows import Window
    from mcrgen.io.label_files import LabelFile
    from mcrgen.io.label_folder import LabelFolder

    Samples = LabelFile | LabelFolder

_SCALE_TOLERANCE = 0.01
_QUICK_VOXELS = 1 << 24
_QUICK_BYTES = 1 << 22
_SLAB_VOXELS = 1 << 24


@contextmanager
def open_media(first: Path, others: Iterable[Path], names: tuple[str, str], *, phase: int | None) -> Iterator[list[LabelFile]]:
    """Open a medium and more of the same phases; see :func:`open_samples`."""
    with open_samples(first, others, names, phase=phase, folders=False) as media:
        yield [cast("LabelFile", medium) for medium in media]


@contextmanager
def open_samples(
    first: Path, others: Iterable[Path], names: tuple[str, str], *, phase: int | None, folders: bool = True
) -> Iterator[list[Samples]]:
    """Open a medium and more of the same phases, each of which may be a folder of images.

    Args:
        first: the medium whose value ``phase`` is the phase of interest.
        others: media in which the same position in the order of the values is it.
        names: the arguments that named the first and the others.
        phase: value of the phase of interest; the highest if None.
        folders: whether folders are taken.

    Raises:
        InputError: a file that is no segmented medium, no such phase, or another number of phases.
    """
    from contextlib import ExitStack

    from mcrgen.io.label_folder import LabelFolder

    def opened(path: Path, name: str, phase: int | None) -> AbstractContextManager[Samples]:
        if folders and path.is_dir() and path.suffix.lower() != ".zarr":
            return LabelFolder(path, name, phase=phase, phase_name="phase")
        return open_label_file(path, name, phase)

    with ExitStack() as stack:
        media: list[Samples] = [stack.enter_context(opened(first, names[0], phase))]
        for path in others:
            found: Samples = stack.enter_context(opened(path, names[1], None))
            if found.phases.count != media[0].phases.count:
                raise InputError(
                    f"{names[1]}: expected {media[0].phases.count} phases as in '{first}', '{path}' has {found.phases.count}."
                )
            media.append(found)
        yield media


def open_label_file(path: Path, name: str, phase: int | None) -> LabelFile:
    """Open a segmented medium, with a progress bar if looking through it takes a while.

    Args:
        path: the file.
        name: the argument that named it.
        phase: value of the phase of interest; the highest if None.

    Raises:
        InputError: see :class:`~mcrgen.io.label_files.LabelFile`.
    """
    from mcrgen.io.label_files import LabelFile

    large = path.is_file() and path.stat().st_size > _QUICK_BYTES
    with _planes_bar(f"reading {path.name}", None, shown=large) as advance:
        return LabelFile(path, name, phase=phase, phase_name="phase", advance=advance)


@contextmanager
def _planes_bar(title: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over planes that disappears when it is done; gives the function that moves it."""
    if not shown:
        yield lambda planes: None
        return
    with progress_bar(transient=True) as progress:
        bar = progress.add_task(title, total=total, status="", unit="plane")
        yield lambda planes: progress.advance(bar, planes)


def warn_of_scales(media: Sequence[Samples]) -> None:
    """Say which media have voxels of another size than the first."""
    reference = media[0].voxel_size_um
    for medium in media[1:]:
        size = medium.voxel_size_um
        if reference and size and abs(size / reference - 1.0) > _SCALE_TOLERANCE:
            console.print(
                f"warning: the voxels of '{media[0].path}' are {reference:g} µm, those of '{medium.path}' {size:g} µm; "
                "descriptors are compared voxel by voxel.",
                style="yellow",
            )


def warn_of_values(media: Sequence[Samples]) -> None:
    """Say which media have other label values than the first, and that their order decides; 0 and 1, 0 and 255 go unsaid."""
    reference = media[0].phases.values
    for medium in media[1:]:
        values = medium.phases.values
        if values != reference and (len(values) > 2 or values[0] != 0 or reference[0] != 0):
            pairs = ", ".join(f"{a} with {b}" for a, b in zip(reference, values, strict=True))
            console.print(f"note: the labels of '{medium.path}' are compared in ascending order: {pairs}.", style="yellow")


def largest_lag(shapes: Iterable[tuple[int, ...]], wanted: int | None, default: int) -> int:
    """The largest lag to measure to: the one that was asked for, or the default where it fits.

    Raises:
        InputError: a lag that does not fit into every medium.
    """
    shortest = min(min(shape) for shape in shapes)
    if shortest < 2:
        raise InputError("max_lag: expected media of at least 2 voxels along every axis, got one of a single voxel.")
    if wanted is None:
        return min(default, shortest - 1)
    if not 1 <= wanted < shortest:
        raise InputError(f"max_lag: expected 1 to {shortest - 1} for a shortest edge of {shortest} voxels, got {wanted}.")
    return wanted


def measure_medium(
    medium: Samples, phase: int, *, max_lag: int, curves: Iterable[str], map_lag: int | None = None
) -> Measurement:
    """Measure phase ``phase`` of a medium slab by slab, with a progress bar if it takes a while."""
    from mcrgen.descriptors.measure import measure_planes

    large = prod(medium.shape) > _QUICK_VOXELS
    with _planes_bar(f"measuring {medium.path.name}", medium.depth, shown=large) as advance:
        return measure_planes(
            lambda start, stop: medium.planes(start, stop) == phase,
            medium.shape,
            max_lag=max_lag,
            curves=curves,
            map_lag=map_lag,
            images=medium.depth if len(medium.shape) == 2 else 1,
            advance=advance,
        )


def is_folder(medium: Samples) -> bool:
    """Whether a medium is several images."""
    return len(medium.shape) == 2 and medium.depth > 1


def sample_windows(medium: Samples, edge: int) -> list[Window]:
    """Windows of one edge length, evenly spread over a medium; of a folder its images."""
    from mcrgen.descriptors.windows import grid_windows

    if is_folder(medium):
        height, width = medium.shape
        return [(slice(i, i + 1), slice(height), slice(width)) for i in range(medium.depth)]
    return grid_windows(medium.shape, edge)


def read_window(medium: Samples, phase: int, window: Window) -> NDArray[np.bool_]:
    """Where a phase is in a window of a medium."""
    flat = len(medium.shape) == 2
    z, y, x = (slice(0, 1), *window)[-3:]
    labels = medium.part((z, y, x))
    inside: NDArray[np.bool_] = (labels[0] if flat else labels) == phase
    return inside


def read_sections(medium: Samples, count: int) -> dict[str, NDArray[np.uint8]]:
    """Labels of evenly spaced sections normal to each axis, ``(N, H, W)``, N at most ``count``; images are their own."""
    import numpy as np

    if len(medium.shape) == 2:
        return {"z": np.concatenate([medium.planes(i, i + 1) for i in _evenly(medium.depth, count)])}
    places = {n: _evenly(length, count) for n, length in zip("zyx", medium.shape, strict=True)}
    found: dict[str, list[NDArray[np.uint8]]] = {"z": [], "y": [], "x": []}
    step = max(1, _SLAB_VOXELS // prod(medium.shape[1:]))
    for start in range(0, medium.depth, step):
        slab = medium.planes(start, min(start + step, medium.depth))
        found["z"].extend(slab[z - start][None] for z in places["z"] if start <= z < start + len(slab))
        found["y"].append(slab[:, places["y"]].swapaxes(0, 1))
        found["x"].append(slab[:, :, places["x"]].transpose(2, 0, 1))
    return {"z": np.concatenate(found["z"])} | {n: np.concatenate(found[n], axis=1) for n in "yx"}


def _evenly(length: int, count: int) -> list[int]:
    """At most ``count`` places, evenly spread, none at the border."""
    count = min(count, length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def describe(medium: Samples) -> dict[str, object]:
    """What a file or a folder holds, as plain data."""
    images = {"images": medium.depth} if is_folder(medium) else {}
    return images | {
        "path": str(medium.path),
        "shape": list(medium.shape),
        "values": list(medium.phases.values),
        "voxel_size_um": medium.voxel_size_um,
        "phase_fractions": medium.fractions,
    }


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder for results; what keeps it from being written to becomes one sentence.

    Raises:
        InputError: the place cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"output: cannot write to '{folder}' ({error.strerror}); choose another folder.") from error
