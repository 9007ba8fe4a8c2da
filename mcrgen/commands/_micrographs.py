"""What GANs learn from: segmented files read piece by piece, and how crops of them are judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._exemplars import AXES, check_alike, exemplar_files, numbered
from mcrgen.commands._gan_config import GanConfig
from mcrgen.commands._media import open_label_file
from mcrgen.commands._train_config import ExemplarConfig, SymmetryChoice
from mcrgen.errors import InputError

if TYPE_CHECKING:
    from mcrgen.io.label_files import LabelFile
    from mcrgen.io.phases import Phases

Kind = tuple[int, int, int]
"""Axes (0 z, 1 y, 2 x) of a section's normal, rows and columns."""

_VOLUME = 3
_AS_READ: tuple[Kind, ...] = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""How the sections normal to z, y and x are laid out in images."""


@dataclass(frozen=True)
class Micrographs:
    """Open files of one medium.

    Attributes:
        files: option and path of each.
        media: the files.
        dimensions: of what is generated, 2 or 3.
        crop_dimensions: of the crops, 2 or 3.
        sources: the files that each critic's crops come from.
        judged: the kinds of sections of generated volumes that each critic judges; empty where whole samples are judged.
        symmetries: of the crops of each source.
        phases: what the labels mean.
        voxel_size_um: edge length of a voxel in the files, or None.
    """

    files: tuple[tuple[str, Path], ...]
    media: tuple[LabelFile, ...]
    dimensions: int
    crop_dimensions: int
    sources: tuple[tuple[LabelFile, ...], ...]
    judged: tuple[tuple[Kind, ...], ...]
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
    def fractions(self) -> tuple[float, ...]:
        """Phase fractions of all files together; they sum to one."""
        voxels = [prod(medium.shape) for medium in self.media]
        each = zip(*(medium.fractions for medium in self.media), strict=True)
        return tuple(sum(n * f for n, f in zip(voxels, of_phase, strict=True)) / sum(voxels) for of_phase in each)


@contextmanager
def open_micrographs(config: GanConfig) -> Iterator[Micrographs]:
    """Open all files.

    Raises:
        InputError: none at all, or given in more than one way; a file that is no segmented medium; files with other phases or
            voxel sizes than the first; images and volumes mixed; dimensions that the files do not have.
    """
    from mcrgen.io.phases import Phases, find_phase

    data = config.data
    files = exemplar_files(data)
    with ExitStack() as stack:
        media = tuple(stack.enter_context(open_label_file(path, name, None)) for name, path in files)
        first = media[0]
        for (name, path), medium in zip(files[1:], media[1:], strict=True):
            check_alike(name, path, (medium.phases, medium.voxel_size_um), files[0][1], (first.phases, first.voxel_size_um))
        dimensions, of_files = _dimensions(config, files, media)
        sources, judged = _critics(data, files, media, dimensions, of_files)
        sizes = [medium.voxel_size_um for medium in media if medium.voxel_size_um is not None]
        yield Micrographs(
            files,
            media,
            dimensions,
            min(dimensions, of_files),
            sources,
            judged,
            tuple(_symmetry(data, kinds, of_files) for kinds in judged or [()]),
            Phases(first.phases.values, find_phase(first.phases.values, data.phase, "data.phase")),
            data.voxel_size_um or (sizes[0] if sizes else None),
        )


def _dimensions(config: GanConfig, files: Sequence[tuple[str, Path]], media: Sequence[LabelFile]) -> tuple[int, int]:
    """Dimensions of what is generated, and of the files."""
    of_files = len(media[0].shape)
    for (name, path), medium in zip(files, media, strict=True):
        if len(medium.shape) != of_files:
            raise InputError(f"{name}: expected only images or only volumes, '{path}' is another kind; leave one kind out.")
    by_normal = files[0][0] not in ("data.image", "data.images")
    if by_normal and of_files == _VOLUME:
        raise InputError(f"{files[0][0]}: expected 2D sections, '{files[0][1]}' is a volume; use --data.image.")
    wanted = config.network.dimensions or (_VOLUME if by_normal else of_files)
    if wanted not in (2, _VOLUME):
        raise InputError(f"network.dimensions: expected 2, 3 or 0 (those of the data), got {wanted}.")
    if by_normal and wanted != _VOLUME:
        raise InputError(f"network.dimensions: expected 3 for images of section normals, got {wanted}; use --data.images.")
    return wanted, of_files


def _critics(
    data: ExemplarConfig, files: Sequence[tuple[str, Path]], media: Sequence[LabelFile], dimensions: int, of_files: int
) -> tuple[tuple[tuple[LabelFile, ...], ...], tuple[tuple[Kind, ...], ...]]:
    """The files that each critic learns from, and what it judges."""
    if files[0][0] in ("data.image", "data.images"):
        return (tuple(media),), () if dimensions == of_files or dimensions == 2 else (_AS_READ,)
    found: dict[int, list[LabelFile]] = {}
    for (name, _), medium in zip(files, media, strict=True):
        found.setdefault(AXES.index(name[-1]), []).append(medium)
    sources = tuple(tuple(of_normal) for of_normal in found.values())
    if data.transverse_axis is None:
        return sources, tuple((_AS_READ[normal],) for normal in found)
    along = AXES.index(data.transverse_axis)
    return sources, tuple((_AS_READ[n],) if n == along else _beside(n, along) for n in found)


def _beside(normal: int, along: int) -> tuple[Kind, Kind]:
    """The two kinds of sections that contain the transverse axis, laid out as those normal to one of their normals are."""
    (other,) = {0, 1, 2} - {normal, along}
    swapped = {normal: other, other: normal, along: along}
    of_normal = _AS_READ[normal]
    return of_normal, (swapped[of_normal[0]], swapped[of_normal[1]], swapped[of_normal[2]])


def _symmetry(data: ExemplarConfig, kinds: Sequence[Kind], of_files: int) -> SymmetryChoice:
    if data.symmetry != SymmetryChoice.auto:
        return data.symmetry
    if of_files == _VOLUME:
        return SymmetryChoice.none
    if data.transverse_axis is not None:
        return SymmetryChoice.square if AXES[kinds[0][0]] == data.transverse_axis else SymmetryChoice.rectangle
    return SymmetryChoice.square if data.image is not None or data.images else SymmetryChoice.none
