"""Scalar fields as the command line writes them: numbers, ramps and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.generation.blocks import Triple
    from mcrgen.generation.noise import Period, ScalarField
    from mcrgen.io.label_files import LabelFile
    from mcrgen.io.scalar_files import ScalarFile

_AXES = "zyx"
_FLOAT32 = 3.4028235e38


@dataclass(frozen=True)
class Bounds:
    """Which values a field may have.

    Attributes:
        low: the lowest one.
        high: the highest one.
        exclusive: whether these two are excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    exclusive: bool = False

    def require(self, name: str, *values: float) -> None:
        """Raise unless all values are within.

        Raises:
            InputError: one is not, or is no finite number of single precision.
        """
        for value in values:
            inside = self.low < value < self.high if self.exclusive else self.low <= value <= self.high
            if not (inside and abs(value) <= _FLOAT32):
                raise InputError(f"{name}: expected {self}, got {value:g}.")

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"values between {self.low:.5g} and {self.high:.5g}" + (" (exclusive)" if self.exclusive else "")
        return "finite values" if self.low == -math.inf else f"values of {self.low:g} or more"


ANY = Bounds()
DEVIATIONS = Bounds(low=0.0)
SHARES = Bounds(0.0, 1.0)
FRACTIONS = Bounds(0.0, 1.0, exclusive=True)


def with_axis(name: str, text: str | None, axis: str | None) -> str | None:
    """A field whose ramp has its axis, which is given in it or apart.

    Args:
        name: the argument that was given.
        text: the field; None if there is none.
        axis: of a ramp ``A:B`` without one; None if it is not given apart.

    Raises:
        InputError: a ramp without an axis; an axis apart that is none, or beside anything else than such a ramp.
    """
    ends = (text or "").split(":")
    bare = len(ends) == 2 and None not in [_number(end) for end in ends]
    if axis is None and bare:
        raise InputError(f"{name}: expected a ramp with its axis, as in {text}:z, or --gradient-axis beside it, got '{text}'.")
    if axis is None:
        return text
    if axis not in tuple(_AXES):
        raise InputError(f"gradient_axis: expected z, y or x, got '{axis}'.")
    if not bare:
        flag, got = f"--{name.replace('_', '-')}", "none" if text is None else f"'{text}'"
        raise InputError(
            f"gradient_axis: expected beside a ramp that names no axis, {flag} A:B, got {got}; leave the axis out."
        )
    return f"{text}:{axis}"


def parse_field(
    name: str, text: str, shape: Triple, period: Period, files: ExitStack, *, bounds: Bounds, stretched: bool = True
) -> ScalarField:
    """A scalar field over a volume, in the coordinates of its first voxel.

    Args:
        name: the argument that was given.
        text: a number; ``A:B:AXIS``, a ramp from A at the first to B at the last voxel along z, y or x; or the path of a 3D
            volume of numbers, which is stretched to ``shape`` with linear interpolation.
        shape: (D, H, W) of the volume in voxels.
        period: along each axis its length, if it is periodic there, or None.
        files: keeps the file open for as long as the field is in use.
        bounds: what the values must lie within.
        stretched: whether a file may have another shape.

    Raises:
        InputError: none of the three, a value out of bounds, a ramp along a periodic axis, a file that is no volume of numbers
            or has a shape that it must not have.
    """
    from mcrgen.generation.fields import constant

    number = _number(text)
    if number is not None:
        bounds.require(name, number)
        return constant(number)
    path = field_file(text)
    if path is None:
        return _ramp(name, text, shape, period, bounds)
    from mcrgen.io.stored import STORED_SUFFIXES

    if not text.strip() or (path.suffix.lower() not in STORED_SUFFIXES and not path.exists()):
        raise InputError(f"{name}: expected a number, a ramp A:B:AXIS such as 0.2:0.5:z, or a file, got '{text}'.")
    values = _open_scalars(name, path, files, bounds)
    if values.shape != shape and not stretched:
        raise InputError(
            f"{name}: expected the volume's shape {shape}, '{path}' has {values.shape}; add --resample-field to stretch it."
        )
    return _from_file(values, shape, period)


def field_file(text: str) -> Path | None:
    """The file that a field is read from; None for a number and a ramp, whatever files there are of that name."""
    return None if _number(text.partition(":")[0]) is not None else Path(text)


def parse_mask(
    path: Path, weights: Sequence[float] | None, shape: Triple, period: Period, files: ExitStack, *, name: str = "mask"
) -> ScalarField:
    """A spatial location mask, stretched to a volume.

    Floating-point numbers between 0 and 1 are used as they are, with linear interpolation. Integers, booleans and whatever has
    weights are labels of phases, and every voxel takes the weight of the nearest label.

    Args:
        path: a 3D volume.
        weights: factor between 0 and 1 of each label in ascending order; evenly spread from 0 to 1 if None.
        shape: (D, H, W) of the volume to make, in voxels.
        period: along each axis its length, if it is periodic there, or None.
        files: keeps the file open for as long as the field is in use.
        name: the argument that named the file; weights are ``NAME_weights``.

    Raises:
        InputError: no 3D volume of labels or of numbers between 0 and 1; weights out of range or of another number than labels;
            0 everywhere.
    """
    from mcrgen.io.stored import StoredArray

    with StoredArray(path, name) as stored:
        graded = stored.dtype.kind == "f" and weights is None
    if graded:
        values = _open_scalars(name, path, files, SHARES)
        _require_open(name, path, values.maximum)
        return _from_file(values, shape, period)
    from mcrgen.io.label_files import LabelFile

    labels = files.enter_context(LabelFile(path, name, phase=None, phase_name=name))
    factors = _weights(name, labels, weights)
    _require_open(name, path, max(factors))
    return _from_labels(name, labels, factors, shape, period)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _ramp(name: str, text: str, shape: Triple, period: Period, bounds: Bounds) -> ScalarField:
    from mcrgen.generation.fields import ramp

    ends, axis = [_number(part) for part in text.split(":")[:-1]], text.split(":")[-1]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or axis not in tuple(_AXES):
        raise InputError(f"{name}: expected a ramp A:B:AXIS along z, y or x such as 0.2:0.5:z, got '{text}'.")
    bounds.require(name, ends[0], ends[1])
    number = _AXES.index(axis)
    if period[number] is not None:
        raise InputError(f"{name}: expected no ramp along the periodic axis {axis}, where it would jump, got '{text}'.")
    return ramp(ends[0], ends[1], number, shape[number])


def _open_scalars(name: str, path: Path, files: ExitStack, bounds: Bounds) -> ScalarFile:
    from mcrgen.io.scalar_files import ScalarFile

    values = files.enter_context(ScalarFile(path, name))
    bounds.require(f"{name} '{path}'", values.minimum, values.maximum)
    return values


def _from_file(values: ScalarFile, shape: Triple, period: Period) -> ScalarField:
    from mcrgen.generation.fields import resampled

    return resampled(values.read, values.shape, shape, period, order=1)


def _weights(name: str, labels: LabelFile, given: Sequence[float] | None) -> list[float]:
    count = labels.phases.count
    if given is None:
        return [label / (count - 1) for label in range(count)]
    if len(given) != count:
        found = ", ".join(map(str, labels.phases.values))
        raise InputError(f"{name}_weights: expected {count}, for the labels {found} of '{labels.path}', got {len(given)}.")
    SHARES.require(f"{name}_weights", *given)
    return list(given)


def _from_labels(name: str, labels: LabelFile, weights: list[float], shape: Triple, period: Period) -> ScalarField:
    import numpy as np

    from mcrgen.generation.fields import resampled

    if len(labels.shape) != 3:
        raise InputError(f"{name}: expected a 3D volume, '{labels.path}' has the shape {labels.shape}.")
    depth, height, width = labels.shape
    table = np.array(weights, np.float32)

    def read(box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        return table[labels.part(box)]

    return resampled(read, (depth, height, width), shape, period, order=0)


def _require_open(name: str, path: Path, highest: float) -> None:
    if highest == 0:
        raise InputError(f"{name}: '{path}' is 0 everywhere, which leaves no noise at all; name another mask.")
