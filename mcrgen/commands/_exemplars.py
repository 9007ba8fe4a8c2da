"""What is learnt from or matched: images, or sections of a volume, for each section normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mcrgen.commands._train_config import ExemplarConfig, SymmetryChoice
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.io.images import Medium
    from mcrgen.io.phases import Phases

C = TypeVar("C", bound=ExemplarConfig)

AXES = "zyx"
_SAME_SIZE = 0.01
_VOLUME = 3


@dataclass(frozen=True)
class Exemplars:
    """Segmented images of one medium, all of the same phases.

    Attributes:
        files: option and path of each file.
        media: labels of each file, ``(H, W)`` or ``(D, H, W)``.
        normals: section normals that there are images of, 0 (z), 1 (y) or 2 (x).
        sections: 2D labels for each of these normals.
        symmetries: symmetry of the sections of each.
        phases: what the labels mean.
        voxel_size_um: edge length of a voxel, or None.
    """

    files: tuple[tuple[str, Path], ...]
    media: tuple[NDArray[np.uint8], ...]
    normals: tuple[int, ...]
    sections: tuple[Sequence[NDArray[np.uint8]], ...]
    symmetries: tuple[SymmetryChoice, ...]
    phases: Phases
    voxel_size_um: float | None

    @property
    def name(self) -> str:
        """Of the first file."""
        return self.files[0][1].stem

    @property
    def inputs(self) -> dict[str, Path]:
        """The files by the names of their options, numbered where an option has several."""
        return numbered(self.files)

    @property
    def fractions(self) -> NDArray[np.float64]:
        """Phase fractions of all files together; they sum to one."""
        import numpy as np

        counts = np.sum([np.bincount(labels.ravel(), minlength=self.phases.count) for labels in self.media], axis=0)
        fractions: NDArray[np.float64] = counts / counts.sum()
        return fractions


def numbered(files: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Files by the names of their options, numbered where an option has several."""
    names = [name.removeprefix("data.") for name, _ in files]
    numbers = [f" {names[: i + 1].count(name)}" if names.count(name) > 1 else "" for i, name in enumerate(names)]
    return {f"{name}{number}": path for name, number, (_, path) in zip(names, numbers, files, strict=True)}


def exemplar_files(data: ExemplarConfig) -> tuple[tuple[str, Path], ...]:
    """Option and path of each file, in a fixed order.

    Raises:
        InputError: none at all, more than one way of giving them, or other normals than a transverse axis needs.
    """
    by_normal = {axis: getattr(data, f"images_{axis}") for axis in AXES}
    ways = {
        "data.image": [data.image] if data.image else [],
        "data.images": data.images,
        "data.images_z, data.images_y and data.images_x": [path for paths in by_normal.values() for path in paths],
    }
    given = [name for name, paths in ways.items() if paths]
    if not given:
        raise InputError("data.image: a value is required; give --data.image, --data.images or --data.images-z, -y, -x.")
    if len(given) > 1:
        raise InputError(f"{given[1]}: expected without {given[0]}; give the exemplar in one way only.")
    _check_normals(data.transverse_axis, [axis for axis in AXES if by_normal[axis]])
    named = [("data.image", ways["data.image"]), ("data.images", data.images)]
    named += [(f"data.images_{axis}", paths) for axis, paths in by_normal.items()]
    return tuple((name, path) for name, paths in named for path in paths)


def with_absolute_paths(data: C) -> C:
    """The same files, whatever the working directory."""
    several = ("images", "images_z", "images_y", "images_x")
    files: dict[str, Any] = {name: tuple(path.resolve() for path in getattr(data, name)) for name in several}
    return replace(data, image=data.image and data.image.resolve(), **files)


def _check_normals(transverse: str | None, given: list[str]) -> None:
    if transverse is None:
        if len(given) == 1:
            raise InputError(
                f"data.images_{given[0]}: expected images of two or three section normals, got those normal to {given[0]} "
                "alone; use --data.images for an isotropic medium."
            )
        return
    if transverse not in tuple(AXES):
        raise InputError(f"data.transverse_axis: expected z, y or x, got '{transverse}'.")
    if len(given) != 2 or transverse not in given:
        raise InputError(
            f"data.transverse_axis: expected images normal to {transverse} and to one other axis, got "
            f"{' and '.join(given) or 'none with a normal'}; give --data.images-{transverse} and one of the others."
        )


def read_exemplars(data: ExemplarConfig) -> Exemplars:
    """Read all files.

    Raises:
        InputError: see :func:`exemplar_files`; a file that is no segmented image; files with other phases or voxel sizes than
            the first; a volume where sections are expected.
    """
    from mcrgen.io.images import read_medium

    files = exemplar_files(data)
    media = [read_medium(path, name, phase=None, phase_name="data.phase") for name, path in files]
    for (name, path), medium in zip(files[1:], media[1:], strict=True):
        found, first = ((m.phases, m.voxel_size_um) for m in (medium, media[0]))
        check_alike(name, path, found, files[0][1], first)
    phases = _with_phase(media[0].phases, data.phase)
    normals, sections = _by_normal(files, media, data.transverse_axis)
    sizes = [medium.voxel_size_um for medium in media if medium.voxel_size_um is not None]
    return Exemplars(
        files,
        tuple(medium.labels for medium in media),
        normals,
        sections,
        tuple(_symmetry(data, normal, media) for normal in normals),
        phases,
        data.voxel_size_um or (sizes[0] if sizes else None),
    )


def check_alike(
    name: str, path: Path, found: tuple[Phases, float | None], first: Path, expected: tuple[Phases, float | None]
) -> None:
    """Raise unless the phases and the voxel size of a file are those of the first.

    Raises:
        InputError: other phases, or voxels of another size.
    """
    (phases, size), (wanted_phases, wanted) = found, expected
    if phases.values != wanted_phases.values:
        raise InputError(
            f"{name}: expected the label values {', '.join(map(str, wanted_phases.values))} as in '{first}', '{path}' has "
            f"{', '.join(map(str, phases.values))}; all images must show the same phases."
        )
    if size is not None and wanted is not None and not math.isclose(size, wanted, rel_tol=_SAME_SIZE):
        raise InputError(
            f"{name}: expected voxels of {wanted:g} micrometres as in '{first}', '{path}' has {size:g}; scale it first."
        )


def _with_phase(phases: Phases, wanted: int | None) -> Phases:
    from mcrgen.io.phases import Phases, find_phase

    return Phases(phases.values, find_phase(phases.values, wanted, "data.phase"))


def _by_normal(
    files: Sequence[tuple[str, Path]], media: Sequence[Medium], transverse: str | None
) -> tuple[tuple[int, ...], tuple[Sequence[NDArray[np.uint8]], ...]]:
    """The normals that there are sections of, and the sections of each; the same objects where several normals share them."""
    from mcrgen.data.sections import sections_of

    if files[0][0] in ("data.image", "data.images"):
        if all(medium.labels.ndim < _VOLUME for medium in media):
            flat = [medium.labels for medium in media]
            return (0, 1, 2), (flat, flat, flat)
        for (name, path), medium in zip(files, media, strict=True):
            if medium.labels.ndim < _VOLUME:
                raise InputError(f"{name}: expected only images or only volumes, '{path}' is an image; leave one kind out.")
        cut = [[s for medium in media for s in sections_of(medium.labels, normal)] for normal in range(_VOLUME)]
        return (0, 1, 2), (cut[0], cut[1], cut[2])
    found: dict[int, list[NDArray[np.uint8]]] = {}
    for (name, path), medium in zip(files, media, strict=True):
        if medium.labels.ndim == _VOLUME:
            raise InputError(f"{name}: expected 2D sections, '{path}' is a volume of {medium.labels.shape}; use --data.image.")
        found.setdefault(AXES.index(name[-1]), []).append(medium.labels)
    if transverse is not None:
        found = _shared(found, AXES.index(transverse))
    return tuple(found), tuple(found.values())


def _shared(found: dict[int, list[NDArray[np.uint8]]], along: int) -> dict[int, list[NDArray[np.uint8]]]:
    """Sections for all normals from those normal to the transverse axis and to one other, turned where rows become columns."""
    ((source, beside),) = ((normal, sections) for normal, sections in found.items() if normal != along)
    (target,) = {0, 1, 2} - {source, along}
    in_rows = [along == min({0, 1, 2} - {normal}) for normal in (source, target)]
    shared = beside if in_rows[0] == in_rows[1] else [section.T for section in beside]
    return dict(sorted({along: found[along], source: beside, target: shared}.items()))


def _symmetry(data: ExemplarConfig, normal: int, media: Sequence[Medium]) -> SymmetryChoice:
    if data.symmetry != SymmetryChoice.auto:
        return data.symmetry
    if data.transverse_axis is not None:
        return SymmetryChoice.square if AXES[normal] == data.transverse_axis else SymmetryChoice.rectangle
    alike = (data.image is not None or data.images) and media[0].labels.ndim < _VOLUME
    return SymmetryChoice.square if alike else SymmetryChoice.none
