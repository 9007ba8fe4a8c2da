"""A checkpoint of many phase fractions: the generator of each of them, or of a field of them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import progress_bar
from mcrgen.commands._hardware import Precision, torch_dtype
from mcrgen.errors import InputError

if TYPE_CHECKING:
    from mcrgen.generation.conditional import ConditionTable
    from mcrgen.generation.generator import Generator
    from mcrgen.generation.noise import ScalarField
    from mcrgen.networks.swnn import SWNN


class ConditionalGenerator:
    """Makes the generator of any phase fraction in a range, or of a field of them, without training."""

    def __init__(self, network: SWNN, record: dict[str, Any], precision: Precision) -> None:
        """Take a conditional network on its device, what its checkpoint tells of it, and the arithmetic to compute in."""
        self._network = network
        self._record = record
        self._precision = precision

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest phase fraction."""
        known = self._record["conditional"]["fractions"]
        return known[0], known[-1]

    def at(self, fraction: float) -> Generator:
        """The generator of one phase fraction.

        Raises:
            InputError: it is out of range.
        """
        from mcrgen.generation.conditional import generator_at

        low, high = self.range
        if not low <= fraction <= high:
            raise InputError(
                f"phase_fraction: expected {low:g} to {high:g}, the range that the generator was trained for, got {fraction:g}."
            )
        return generator_at(self._network, self._stored, fraction, torch_dtype(self._precision))

    def over(self, field: ScalarField) -> Generator:
        """The generator whose phase fraction follows a field within the range; a score of 0 is its threshold."""
        from mcrgen.generation.conditional import generator_over

        return generator_over(self._network, self._table, field, torch_dtype(self._precision))

    @property
    def _stored(self) -> ConditionTable:
        from mcrgen.generation.conditional import ConditionTable

        return ConditionTable.from_plain(self._record["conditional"])

    @cached_property
    def _table(self) -> ConditionTable:
        """The stored one or, in another arithmetic than it was measured in, one with thresholds of this."""
        from mcrgen.generation.conditional import with_thresholds

        table, settings = self._stored, self._record["config"]["calibration"]
        if self._record["calibration"]["precision"] == self._precision.value:
            return table
        with progress_bar(transient=True) as progress:
            title = f"calibrating in {self._precision}"
            bar = progress.add_task(title, total=len(table.fractions), unit="fraction", status="")
            return with_thresholds(
                table,
                self._network,
                phase=self._record["phases"]["phase"],
                dtype=torch_dtype(self._precision),
                precision=self._precision.value,
                blocks=settings["fraction_blocks"],
                block_size=settings["threshold_block_size"],
                advance=lambda: progress.advance(bar),
            )
