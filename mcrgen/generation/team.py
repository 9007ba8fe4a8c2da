"""The processes that make one volume together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block

T = TypeVar("T")


def _alone(value: Any) -> list[Any]:
    return [value]


def _unchanged(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values


@dataclass(frozen=True)
class Team:
    """What a process knows of those it shares the work with; made without arguments, it is alone.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        gather: plain data of every process, in the order of their ranks, for every process.
        total: sum of the arrays of all processes, for every process.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Any], list[Any]] = _alone
    total: Callable[[NDArray[np.int64]], NDArray[np.int64]] = _unchanged

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides and tells the others."""
        return self.rank == 0

    def told(self, value: T) -> T:
        """What the leading process has as ``value``."""
        told: T = self.gather(value if self.leads else None)[0]
        return told

    def wait(self) -> None:
        """Return when every process has come here."""
        self.gather(None)

    def share(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """The blocks that are this process's to make."""
        return blocks[self.rank :: self.size]


ALONE = Team()
"""One process."""
