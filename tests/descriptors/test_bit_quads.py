from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.data.lattices import checkerboard, stripes
from mcrgen.descriptors.bit_quads import BitQuads, bit_quads
from mcrgen.errors import InputError


def as_batch(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def counted(mask: np.ndarray) -> np.ndarray:
    """Blocks one by one."""
    kinds = np.zeros(3)
    for y, x in np.ndindex(mask.shape[0] - 1, mask.shape[1] - 1):
        block = mask[y : y + 2, x : x + 2]
        if block.sum() in (1, 3):
            kinds[1] += 1
        elif block.sum() == 2:
            kinds[2 if block[0, 0] == block[1, 1] else 0] += 1
    return kinds / kinds.sum()


def test_equals_counting() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (2, 9, 14))
    media = np.stack([labels == p for p in range(3)], axis=1)
    found = bit_quads(torch.from_numpy(media))
    assert found.shape == (2, 3, 3)
    np.testing.assert_allclose(found, [[counted(m.astype(int)) for m in image] for image in media], atol=1e-7)


def test_grey_values_are_expectations_over_independent_voxels() -> None:
    probability = torch.tensor([[0.2, 0.7, 0.5], [0.9, 0.4, 0.1]], dtype=torch.float64)
    straight, corner, diagonal, total = 0.0, 0.0, 0.0, 0.0
    for bits in np.ndindex(*[2] * 6):
        mask = np.array(bits).reshape(2, 3)
        weight = float(torch.where(torch.from_numpy(mask) == 1, probability, 1 - probability).prod())
        for block in (mask[:, :2], mask[:, 1:]):
            kinds = counted(block) if block.sum() in (1, 2, 3) else np.zeros(3)
            straight, corner, diagonal = np.array([straight, corner, diagonal]) + weight * kinds
            total += weight * kinds.sum()
    expected = np.array([straight, corner, diagonal]) / total
    np.testing.assert_allclose(bit_quads(probability[None, None])[0, 0], expected)


def test_stripes_squares_and_boards() -> None:
    np.testing.assert_allclose(bit_quads(as_batch(stripes((8, 20), 5, 2, 1)))[0, 0], [1, 0, 0])
    for edge in (2, 5, 12):
        square = bit_quads(as_batch(np.pad(np.ones((edge, edge)), 2)))
        np.testing.assert_allclose(square[0, 0], [1 - 1 / edge, 1 / edge, 0], atol=1e-7)
    np.testing.assert_allclose(bit_quads(as_batch(checkerboard((6, 7), 1)))[0, 0], [0, 0, 1])


@pytest.mark.parametrize("tangent", [0.1, 0.25, 0.5, 1.0])
def test_oblique_line(tangent: float) -> None:
    y, x = np.indices((130, 100))
    share = float(bit_quads(as_batch(y < 10.3 + tangent * x))[0, 0, 1])
    assert share == pytest.approx(2 * tangent / (1 + tangent), abs=0.01)


@pytest.mark.parametrize("radius", [20.3, 90.4])
def test_disc_has_the_share_of_all_directions(radius: float) -> None:
    y, x = np.indices((200, 200)) - np.array([99.3, 98.8])[:, None, None]
    straight, corner, diagonal = bit_quads(as_batch(np.hypot(y, x) <= radius))[0, 0].tolist()
    assert corner == pytest.approx(2 - math.sqrt(2), abs=0.015)
    assert straight == pytest.approx(1 - corner)
    assert diagonal == 0


def test_turning_and_the_complement_change_nothing() -> None:
    media = torch.rand(2, 2, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for other in (media.rot90(1, (2, 3)), media.flip(2), 1 - media):
        torch.testing.assert_close(bit_quads(other), bit_quads(media))


def test_uniform_phase_has_none() -> None:
    media = torch.ones(1, 1, 4, 5, requires_grad=True)
    shares = bit_quads(media)
    assert shares.abs().sum() == 0
    shares.sum().backward()
    assert media.grad is not None
    assert media.grad.isfinite().all()


def test_gradcheck_and_module() -> None:
    media = torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(bit_quads, media)
    torch.testing.assert_close(BitQuads()(media), bit_quads(media))


@pytest.mark.parametrize("shape", [(1, 1, 4, 1), (1, 1, 4, 4, 4)])
def test_bad_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"slices: expected \(B, C, H, W\) with 2 voxels or more along each axis"):
        bit_quads(torch.zeros(shape))
