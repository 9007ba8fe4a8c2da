from __future__ import annotations

import pytest
import torch

from mcrgen.descriptors.multigrid import Multigrid, multigrid_levels
from mcrgen.errors import InputError


@pytest.mark.parametrize(
    ("edges", "limit", "expected"),
    [
        ((64, 64), 16, [(64, 64), (32, 32)]),
        ((64, 64), 17, [(64, 64)]),
        ((65, 131), 8, [(65, 131), (32, 65), (16, 32)]),
        ((5, 6), 16, [(5, 6)]),
        ((16, 17, 33), 4, [(16, 17, 33), (8, 8, 16)]),
        ((4, 4), 1, [(4, 4), (2, 2)]),
    ],
)
def test_sizes(edges: tuple[int, ...], limit: int, expected: list[tuple[int, ...]]) -> None:
    levels = multigrid_levels(torch.rand(2, 3, *edges), limit)
    assert [tuple(level.shape) for level in levels] == [(2, 3, *e) for e in expected]
    assert all(min(e) >= 2 * limit for e in expected[1:])


def test_slices_are_block_means() -> None:
    medium = torch.rand(2, 3, 9, 12)
    levels = multigrid_levels(medium, 2)
    assert levels[0] is medium
    torch.testing.assert_close(levels[1], medium[..., :8, :].reshape(2, 3, 4, 2, 6, 2).mean(dim=(3, 5)))


def test_volumes_are_block_means() -> None:
    medium = torch.rand(1, 2, 16, 17, 16)
    _, half, quarter = multigrid_levels(medium, 2)
    torch.testing.assert_close(half, medium[..., :16, :].reshape(1, 2, 8, 2, 8, 2, 8, 2).mean(dim=(3, 5, 7)))
    torch.testing.assert_close(quarter, medium[..., :16, :].reshape(1, 2, 4, 4, 4, 4, 4, 4).mean(dim=(3, 5, 7)))
    torch.testing.assert_close(quarter.mean(), medium[..., :16, :].mean())


def test_gradcheck_and_module() -> None:
    medium = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: multigrid_levels(m, 1)[-1], medium)
    for ours, expected in zip(Multigrid(limit=1)(medium), multigrid_levels(medium, 1), strict=True):
        torch.testing.assert_close(ours, expected)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="limit: expected 1 or more, got 0"):
        multigrid_levels(torch.rand(1, 1, 8, 8), 0)
    with pytest.raises(InputError, match=r"medium: expected slices .* or volumes .*, got 3 axes"):
        multigrid_levels(torch.rand(1, 8, 8), 1)
