"""Rotations and reflections under which a medium's sections look the same."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Symmetry(StrEnum):
    """Symmetry group of the sections normal to one axis.

    - ``square``: the eight rotations and reflections of the square; right for isotropic media.
    - ``rectangle``: two reflections and the half turn; for media with preferred axes along rows and columns.
    - ``none``: nothing but the identity.
    """

    square = "square"
    rectangle = "rectangle"
    none = "none"


ELEMENTS: dict[Symmetry, tuple[int, ...]] = {
    Symmetry.square: tuple(range(8)),
    Symmetry.rectangle: (0, 2, 4, 6),
    Symmetry.none: (0,),
}
"""Elements of each group: k = 0..3 quarter turns, and 4 + k the same before a reflection of the columns."""


def turn(images: Tensor, element: int) -> Tensor:
    """Apply one element of the square's group to square images ``(..., N, N)``."""
    turned = images.rot90(element % 4, (-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def average(maps: Tensor, symmetry: Symmetry) -> Tensor:
    """Average square maps ``(..., N, N)`` over a symmetry group."""
    elements = ELEMENTS[symmetry]
    total = maps.clone()
    for element in elements[1:]:
        total += turn(maps, element)
    return total / len(elements)
