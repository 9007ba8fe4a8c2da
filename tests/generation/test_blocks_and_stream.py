from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mcrgen.generation.blocks import Block, grid, split_axis
from mcrgen.generation.calibration import classify
from mcrgen.generation.generator import Generator
from mcrgen.generation.labels import classified
from mcrgen.generation.noise import Noise
from mcrgen.generation.stream import generate_blocks
from mcrgen.networks.swnn import SWNN


def generator(out_channels: int = 1, dtype: torch.dtype = torch.float32) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = SWNN(out_channels=out_channels, channels=6, layers=3, noise_channels=3).eval()
    return Generator(net.folded(dtype), net.halo, 3)


def field(g: Generator, seed: int) -> Callable[[Block], torch.Tensor]:
    return lambda block: g.scores(Noise(seed), block.start, block.shape)


@pytest.mark.parametrize("shape", [(7, 5, 6), (16, 16, 16), (1, 40, 3)])
@pytest.mark.parametrize("block_size", [1, 3, 8, 100])
def test_every_voxel_is_covered_once(shape: tuple[int, int, int], block_size: int) -> None:
    hits = np.zeros(shape, int)
    for block in grid(shape, block_size):
        assert max(block.shape) <= block_size
        assert hits[block.slices].shape == block.shape
        hits[block.slices] += 1
    assert (hits == 1).all()


def test_intervals_are_as_equal_as_can_be() -> None:
    lengths = [b - a for a, b in split_axis(130, 64)]
    assert lengths == [43, 43, 44]
    assert split_axis(128, 128) == [(0, 128)]


@pytest.mark.parametrize("out_channels", [1, 3])
@pytest.mark.parametrize("block_size", [8, 13])
def test_blocks_equal_one_shot(out_channels: int, block_size: int) -> None:
    shape = (17, 20, 23)
    g = generator(out_channels)
    scores = g.scores(Noise(5), (0, 0, 0), shape)
    bias = tuple((-scores.mean(dim=(1, 2, 3))).tolist())
    whole = classify(scores, bias, 1).numpy()
    volume = np.full(shape, 255, np.uint8)

    def sink(block: Block, labels: np.ndarray) -> None:
        volume[block.slices] = labels

    generate_blocks(classified(field(g, 5), bias, 1), grid(shape, block_size), sink)
    assert len(np.unique(whole)) == max(2, out_channels)
    np.testing.assert_array_equal(volume, whole)


def test_boxes_of_the_field_agree() -> None:
    g = generator()
    whole = g.scores(Noise(2), (-3, 0, 4), (12, 11, 10))
    part = g.scores(Noise(2), (1, 2, 6), (5, 6, 7))
    torch.testing.assert_close(whole[:, 4:9, 2:8, 2:9], part, rtol=1e-5, atol=1e-5)


def test_seeds_differ() -> None:
    g = generator()
    assert not torch.equal(g.scores(Noise(0), (0, 0, 0), (4, 4, 4)), g.scores(Noise(1), (0, 0, 0), (4, 4, 4)))


def test_blocks_come_in_order_from_another_thread() -> None:
    seen: list[tuple[tuple[int, int, int], bool]] = []

    def sink(block: Block, labels: np.ndarray) -> None:
        seen.append((block.start, threading.current_thread() is threading.main_thread()))

    generate_blocks(classified(field(generator(), 0), (0.0,), 1), grid((4, 4, 4), 2), sink)
    assert seen == [(b.start, False) for b in grid((4, 4, 4), 2)]


def test_a_failing_writer_stops_the_loop() -> None:
    count = 0

    def sink(block: Block, labels: np.ndarray) -> None:
        nonlocal count
        count += 1
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        generate_blocks(classified(field(generator(), 0), (0.0,), 1), grid((2, 2, 40), 2), sink)
    assert count < 5


@pytest.mark.parametrize("axes", ["x", "zy", "zyx"])
def test_a_periodic_field_repeats_along_its_axes_only(axes: str) -> None:
    g, size = generator(), (9, 10, 11)
    period = tuple(n if name in axes else None for name, n in zip("zyx", size, strict=True))
    whole = g.scores(Noise(3, period), (0, 0, 0), size)
    for axis, name in enumerate("zyx"):
        origin = tuple(size[i] if i == axis else 0 for i in range(3))
        further = g.scores(Noise(3, period), origin, size)
        assert torch.allclose(further, whole, atol=1e-5) == (name in axes)
    if axes == "zyx":
        turned = g.scores(Noise(3, period), (-4, 5, 3), size)
        torch.testing.assert_close(turned, whole.roll((4, -5, -3), (1, 2, 3)), rtol=1e-5, atol=1e-5)


def test_a_moved_block() -> None:
    block = Block((0, 1, 2), (3, 5, 7)).moved((10, -1, 0))
    assert (block.start, block.stop, block.shape) == ((10, 0, 2), (13, 4, 7), (3, 4, 5))
