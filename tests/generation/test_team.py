from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, grid
from mcrgen.generation.exact import KeptScores, exact_bias
from mcrgen.generation.team import ALONE, Team

T = TypeVar("T")

SHAPE = (31, 22, 27)
BLOCKS = list(grid(SHAPE, 8))


def together(size: int, work: Callable[[Team], T]) -> list[T]:
    """What each process of a team of threads has as the result of its work."""
    barrier, board = threading.Barrier(size, timeout=10), [None] * size

    def member(rank: int) -> Team:
        def gather(value: Any) -> list[Any]:
            board[rank] = value
            barrier.wait()
            values = list(board)
            barrier.wait()
            return values

        def total(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.sum(gather(values.copy()), axis=0)

        return Team(rank, size, gather, total)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, map(member, range(size))))


def field_of(phases: int) -> torch.Tensor:
    channels = 1 if phases == 2 else phases
    return torch.from_numpy(np.random.default_rng(phases).standard_normal((channels, *SHAPE)).astype(np.float32))


def scores_of(field: torch.Tensor) -> Callable[[Block], torch.Tensor]:
    return lambda block: field[(slice(None), *block.slices)]


def test_alone() -> None:
    assert ALONE.leads
    assert ALONE.told({"bias": 0.5}) == {"bias": 0.5}
    assert list(ALONE.share(BLOCKS)) == BLOCKS
    ALONE.wait()
    np.testing.assert_array_equal(ALONE.total(np.arange(3)), np.arange(3))


@pytest.mark.parametrize("size", [1, 2, 3, len(BLOCKS), len(BLOCKS) + 2])
def test_each_block_is_made_by_one_process(size: int) -> None:
    shares = together(size, lambda team: list(team.share(BLOCKS)))
    assert sorted((block for share in shares for block in share), key=lambda block: block.start) == BLOCKS
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_all_are_told_what_the_leading_one_has() -> None:
    assert together(3, lambda team: team.told(f"of {team.rank}")) == ["of 0"] * 3
    assert together(3, lambda team: team.leads) == [True, False, False]
    assert together(3, lambda team: team.gather(team.rank)) == [[0, 1, 2]] * 3


def test_none_goes_on_before_the_last_has_come() -> None:
    come: list[int] = []

    def work(team: Team) -> int:
        threading.Event().wait(0.02 * team.rank)
        come.append(team.rank)
        team.wait()
        return len(come)

    assert together(4, work) == [4] * 4


@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[:2]], ids=["many blocks", "fewer blocks than processes"])
@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.5, 0.3, 0.2)])
def test_the_exact_threshold_is_that_of_one_process(blocks: list[Block], fractions: tuple[float, ...]) -> None:
    field = field_of(len(fractions))
    alone = exact_bias(scores_of(field), blocks, fractions, 1)
    found = together(3, lambda team: exact_bias(scores_of(field), blocks, fractions, 1, team))
    assert found == [alone] * 3


@pytest.mark.parametrize("fractions", [(0.4, 0.6), (0.2, 0.3, 0.5)])
def test_each_process_looks_at_its_own_blocks_only(fractions: tuple[float, ...]) -> None:
    field = field_of(len(fractions))

    def work(team: Team) -> list[Block]:
        kept = KeptScores(scores_of(field))
        exact_bias(kept, BLOCKS, fractions, 0, team)
        return list(kept._kept)

    assert together(3, work) == [BLOCKS[rank::3] for rank in range(3)]
