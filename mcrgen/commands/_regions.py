"""What fills the regions of a map, as written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcrgen.errors import InputError, require_file

_LARGEST_LABEL = 255
_ENTRY = re.compile(r"\s*(-?\d+)\s*=\s*(\S.*?)(?::(-?\d+(?:,-?\d+)*))?\s*")
_LABEL = re.compile(r"-?\d+")


@dataclass(frozen=True)
class RegionSpec:
    """What one region of a map is filled with.

    Attributes:
        value: of the region in the map.
        checkpoint: of the generator; None for a region of one label.
        labels: label in the volume of each phase of the generator, None for its own ones; or the one label of the region.
    """

    value: int
    checkpoint: Path | None
    labels: tuple[int, ...] | None

    def phase_labels(self, phases: int) -> tuple[int, ...]:
        """Label in the volume of each phase of a generator of that many phases.

        Raises:
            InputError: the entry names more or fewer.
        """
        if self.labels is None:
            return tuple(range(phases))
        if len(self.labels) != phases:
            raise InputError(
                f"region: expected {phases} labels in the entry of {self.value}, one for each phase of '{self.checkpoint}', "
                f"got {len(self.labels)}; name them all or none."
            )
        return self.labels


def parse_regions(entries: Sequence[str]) -> tuple[RegionSpec, ...]:
    """Read entries ``VALUE=CKPT``, ``VALUE=CKPT:0,2`` (labels of its phases) and ``VALUE=LABEL`` (one label).

    A checkpoint whose path is an integer can be written as ./7.

    Raises:
        InputError: a malformed entry, a value given twice, a label that is not one byte, or no such checkpoint.
    """
    specs = tuple(_parse(entry) for entry in entries)
    values = [spec.value for spec in specs]
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InputError(f"region: expected one entry for each value of the map, got several for {_listed(twice)}; keep one.")
    return specs


def check_map_values(specs: Sequence[RegionSpec], values: Iterable[int]) -> None:
    """Raise unless the entries are those of the map.

    Args:
        specs: the parsed entries.
        values: all values that occur in the map.

    Raises:
        InputError: a value without an entry, or an entry whose value is not in the map.
    """
    given, present = {spec.value for spec in specs}, {int(value) for value in values}
    if present - given:
        missing = _listed(present - given)
        raise InputError(f"region: expected an entry for each value of the map, got none for {missing}; add --region VALUE=...")
    if given - present:
        extra = _listed(given - present)
        raise InputError(f"region: expected values of the map ({_listed(present)}), got an entry for {extra}; leave it out.")


def _parse(entry: str) -> RegionSpec:
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        raise InputError(f"region: expected VALUE=CKPT, VALUE=CKPT:0,2 or VALUE=LABEL, got '{entry}'; VALUE is one of the map.")
    value, content, labels = int(parts[1]), parts[2], parts[3]
    if labels is None and _LABEL.fullmatch(content):
        return RegionSpec(value, None, _labels(content, entry))
    require_file("region", Path(content))
    return RegionSpec(value, Path(content), None if labels is None else _labels(labels, entry))


def _labels(given: str, entry: str) -> tuple[int, ...]:
    labels = tuple(map(int, given.split(",")))
    for label in labels:
        if not 0 <= label <= _LARGEST_LABEL:
            raise InputError(f"region: expected labels from 0 to {_LARGEST_LABEL}, got {label} in '{entry}'.")
    return labels


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))
