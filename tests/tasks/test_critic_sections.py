from __future__ import annotations

import torch

from mcrgen.tasks.critic_sections import random_planes, sections


def test_sections_are_the_planes_of_their_numbers_in_the_layout_asked_for() -> None:
    volumes = torch.arange(2 * 3 * 4**3).reshape(2, 3, 4, 4, 4)
    planes = torch.tensor([[0, 5, 11], [7, 8, 3]])
    found = sections(volumes, ((0, 1, 2), (1, 2, 0), (2, 0, 1)), planes)
    first, second = volumes  # normal to z; normal to y, rows along x; normal to x
    expected = [first[:, 0], first[:, :, 1].mT, first[..., 3], second[:, :, 3].mT, second[..., 0], second[:, 3]]
    assert torch.equal(found, torch.stack(expected))


def test_random_planes_differ_within_a_volume_and_all_occur() -> None:
    found = torch.cat([random_planes(3, 6, 4, torch.Generator().manual_seed(seed)) for seed in range(30)])
    assert all(len(set(row)) == 4 for row in found.tolist())
    assert set(found.flatten().tolist()) == set(range(6))
