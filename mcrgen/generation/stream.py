"""The loop that makes a volume: block -> noise -> network -> labels -> writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, grid
from mcrgen.generation.calibration import classify
from mcrgen.generation.generator import Generator, Triple

_PENDING_WRITES = 2

BlockSink = Callable[[Block, NDArray[np.uint8]], None]


def generate_blocks(
    generator: Generator,
    sink: BlockSink,
    *,
    shape: Triple,
    seed: int,
    block_size: int,
    bias: Sequence[float],
    phase: int,
) -> None:
    """Generate a label volume and hand it over block by block.

    The noise is a function of the voxel coordinate, so the volume does not depend on the block size beyond the rounding of the
    convolutions. Memory is that of one block and of the few that wait for the sink, which runs in a thread of its own.

    Args:
        generator: trained network.
        sink: called as ``sink(block, labels)`` in grid order, z slowest; labels are ``block.shape`` uint8.
        shape: (D, H, W) of the volume in voxels.
        seed: seed of the noise.
        block_size: largest edge length of a block in voxels.
        bias: added to the scores before the largest wins (see :func:`~mcrgen.generation.calibration.classify`).
        phase: label of the phase of interest.

    Raises:
        Exception: whatever the sink raises, at the latest two blocks after the failing one.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer:
        pending: deque[Future[None]] = deque()
        for block in grid(shape, block_size):
            scores = generator.scores(seed, block.start, block.shape)
            labels = classify(scores, bias, phase).cpu().numpy()
            if len(pending) >= _PENDING_WRITES:
                pending.popleft().result()
            pending.append(writer.submit(sink, block, labels))
        for future in pending:
            future.result()
