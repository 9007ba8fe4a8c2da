"""A folder of segmented images of one medium, such as generated samples or windows of a micrograph."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io.images import SUFFIXES, read_raster
from mcrgen.io.phases import Phases, find_phase, phase_fractions, to_labels
from mcrgen.io.stored import Box


class LabelFolder:
    """Images of one size in the place of a :class:`~mcrgen.io.label_files.LabelFile`; they are its planes, held in memory.

    Attributes:
        path: the folder.
        shape: ``(H, W)`` of each image.
        depth: number of images.
        phases: the phases of all images together, in ascending order of their values.
        fractions: fraction of each phase in all images.
        voxel_size_um: edge length of a voxel in micrometres, or None.
    """

    def __init__(self, path: Path, name: str, *, phase: int | None, phase_name: str) -> None:
        """Read all images, in the order of their names.

        Args:
            path: the folder.
            name: the argument that named it.
            phase: value of the phase of interest; the highest value if None.
            phase_name: the argument that named the phase.

        Raises:
            InputError: no image, one that is no segmented image, or another size than the first.
        """
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"{name}: expected images ({', '.join(SUFFIXES)}) in the folder '{path}', found none.")
        images: list[NDArray[Any]] = []
        for file in files:
            raster = read_raster(file, name)
            shape = raster.array.shape
            if raster.colour or len(shape) != 2:
                raise InputError(f"{name}: expected a folder of segmented 2D images, '{file}' is none; leave it out.")
            if images and shape != images[0].shape:
                expected = " x ".join(map(str, images[0].shape))
                raise InputError(
                    f"{name}: expected images of one size, {expected} as '{files[0].name}', '{file}' has "
                    f"{' x '.join(map(str, shape))}."
                )
            images.append(raster.array)
            self.voxel_size_um = raster.voxel_size_um
        self.path = path
        self.labels, values = to_labels(np.stack(images), f"{name} '{path}'")
        self.phases = Phases(values, find_phase(values, phase, phase_name))
        self.fractions: list[float] = phase_fractions(self.labels, len(values)).tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)``."""
        return self.labels.shape[1:]

    @property
    def depth(self) -> int:
        """Number of images."""
        return len(self.labels)

    def planes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Labels 0..n-1 of some images, ``(stop - start, H, W)``."""
        return self.labels[start:stop]

    def part(self, box: Box) -> NDArray[np.uint8]:
        """Labels of a box (image, y, x)."""
        return self.labels[box]

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
