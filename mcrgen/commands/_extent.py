"""Which part of which unlimited field a volume is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcrgen.errors import InputError

if TYPE_CHECKING:
    from mcrgen.generation.blocks import Triple
    from mcrgen.generation.noise import Period

_SIZE = 128
_AXES = "zyx"


@dataclass(frozen=True)
class Extent:
    """A box of an unlimited or periodic field.

    Attributes:
        origin: coordinate (z, y, x) of its first voxel.
        shape: (D, H, W) in voxels.
        period: along each axis after how many voxels the field repeats, or None.
    """

    origin: Triple
    shape: Triple
    period: Period


def parse_extent(size: Sequence[int] | None, box: str | None, periodic: str) -> Extent:
    """Read the options of that name.

    Raises:
        InputError: not one or three lengths greater than 0, not a box, not axes, or two of them that exclude each other.
    """
    axes = _periodic_axes(periodic)
    if box is not None:
        if size is not None:
            raise InputError("box: expected without a size, which it has itself; leave one of the two out.")
        if axes:
            raise InputError("box: expected of an unlimited field, not of a periodic volume; leave one of the two out.")
        start, stop = _parse_box(box)
        z, y, x = (b - a for a, b in zip(start, stop, strict=True))
        return Extent(start, (z, y, x), (None, None, None))
    size = size or (_SIZE,)
    if len(size) not in (1, 3) or min(size) <= 0:
        given = " ".join(map(str, size))
        raise InputError(f"size: expected one or three edge lengths greater than 0, got '{given}'.")
    d, h, w = tuple(size) * 3 if len(size) == 1 else size
    wrapped = [length if name in axes else None for name, length in zip(_AXES, (d, h, w), strict=True)]
    return Extent((0, 0, 0), (d, h, w), (wrapped[0], wrapped[1], wrapped[2]))


def _periodic_axes(given: str) -> str:
    axes = {"none": "", "all": _AXES}.get(given, given)
    if not set(axes) <= set(_AXES) or len(set(axes)) < len(axes) or not given:
        raise InputError(f"periodic: expected none, all or axes such as x or zy, got '{given}'.")
    return axes


def _parse_box(given: str) -> tuple[Triple, Triple]:
    parts = re.fullmatch(r"(-?\d+):(-?\d+),(-?\d+):(-?\d+),(-?\d+):(-?\d+)", given.replace(" ", ""))
    if parts is None:
        raise InputError(f"box: expected z0:z1,y0:y1,x0:x1 in voxels such as 0:64,0:128,-32:96, got '{given}'.")
    z0, z1, y0, y1, x0, x1 = map(int, parts.groups())
    if z1 <= z0 or y1 <= y0 or x1 <= x0:
        raise InputError(f"box: expected each end beyond its start, got '{given}'.")
    return (z0, y0, x0), (z1, y1, x1)
