"""Labels on disk and phase indicators in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError

MAX_PHASES = 16


@dataclass(frozen=True)
class Phases:
    """The phases of a medium: label ``i`` in memory is the value ``values[i]`` in the file.

    Attributes:
        values: the file's own label values, ascending.
        phase: index of the phase of interest.
    """

    values: tuple[int, ...]
    phase: int

    @property
    def count(self) -> int:
        """Number of phases."""
        return len(self.values)

    @property
    def channels(self) -> int:
        """Indicator channels: one for two phases, one per phase for three and more."""
        return 1 if self.count == 2 else self.count


def to_labels(array: NDArray[np.generic], name: str) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Turn any integer or boolean labels (also 0/255, or floats that hold integers) into 0..n-1 in sorted order.

    Args:
        array: labels of any shape.
        name: the argument or file to name in an error.

    Returns:
        Labels as uint8 and the original values in ascending order.

    Raises:
        InputError: NaN or infinite values, a grey image, or a single phase.
    """
    values, _ = distinct_values(array, name)
    check_phase_count(values, name)
    return index_of(array, values), tuple(int(v) for v in values)


def distinct_values(array: NDArray[np.generic], name: str) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Distinct values of (a part of) a medium in ascending order, and how often each occurs.

    Raises:
        InputError: NaN or infinite values, another type than integers, booleans and floats, or no value at all.
    """
    if array.dtype.kind not in "iubf":
        raise InputError(f"{name}: expected integer or boolean labels, got the data type {array.dtype}.")
    if array.size == 0:
        raise InputError(f"{name}: expected an image, got an array without a pixel of shape {array.shape}.")
    if array.dtype == np.uint8:
        counts = np.bincount(array.ravel(), minlength=256)
        present = np.flatnonzero(counts)
        return present.astype(np.uint8), counts[present]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name}: expected labels, found NaN or infinite values; mask or fill them first.")
    return np.unique(array, return_counts=True)


def check_phase_count(values: NDArray[np.generic], name: str) -> None:
    """Raise unless distinct values can be the labels of 2 to 16 phases.

    Raises:
        InputError: a grey image, or a single phase.
    """
    if len(values) > MAX_PHASES or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        raise InputError(
            f"{name}: expected labels of at most {MAX_PHASES} phases, found {len(values)} distinct grey values; "
            "run `mcrgen segment` on it first."
        )
    if len(values) < 2:
        raise InputError(f"{name}: expected at least two phases, found only the value {values[0]:g}.")


def index_of(array: NDArray[np.generic], values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Position of each element among the sorted values; a table does it for bytes, without a wide temporary."""
    if array.dtype == np.uint8:
        table = np.zeros(256, dtype=np.uint8)
        table[values.astype(np.intp)] = np.arange(len(values))
        labels: NDArray[np.uint8] = table[array.astype(np.uint8, copy=False)]
        return labels
    return np.searchsorted(values, array).astype(np.uint8)


def find_phase(values: tuple[int, ...], wanted: int | None, name: str) -> int:
    """Index of the phase whose value in the file is ``wanted``; the last phase if none is named.

    Raises:
        InputError: no phase has that value.
    """
    if wanted is None:
        return len(values) - 1
    if wanted not in values:
        raise InputError(f"{name}: expected one of the label values {', '.join(map(str, values))}, got {wanted}.")
    return values.index(wanted)


def check_phase_names(names: Sequence[str], phases: Phases, argument: str) -> None:
    """Raise unless there is no name, or one of its own for each phase.

    Args:
        names: names in ascending order of the phases' values.
        phases: the phases.
        argument: the argument that gave the names.

    Raises:
        InputError: too many or too few names, an empty one, or one twice.
    """
    if names and (len(names) != phases.count or len(set(names)) < len(names) or not all(map(str.strip, names))):
        values = ", ".join(map(str, phases.values))
        given = ", ".join(names)
        raise InputError(
            f"{argument}: expected a different name for each of the {phases.count} phases (values {values}), got {given}; "
            "name them all or none."
        )


def indicators(labels: NDArray[np.uint8], phases: Phases) -> NDArray[np.float32]:
    """Phase indicator channels in [0, 1].

    Args:
        labels: integers 0..n-1 of any shape ``S``.
        phases: what they mean.

    Returns:
        ``(C, *S)`` float32: the indicator of the phase of interest for two phases, one-hot for three and more.
    """
    wanted = [phases.phase] if phases.count == 2 else range(phases.count)
    return np.stack([labels == i for i in wanted]).astype(np.float32)


def phase_fractions(labels: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """Share of each of the labels 0..count-1; sums to one."""
    return np.bincount(labels.ravel(), minlength=count) / labels.size
