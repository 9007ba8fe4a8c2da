"""The loop that makes a volume: block -> noise -> network -> labels -> writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.generation.blocks import Block
from mcrgen.generation.calibration import classify

_PENDING_WRITES = 2

BlockScores = Callable[[Block], Tensor]
BlockSink = Callable[[Block, NDArray[np.uint8]], None]


def generate_blocks(
    scores: BlockScores, blocks: Iterable[Block], sink: BlockSink, *, bias: Sequence[float], phase: int
) -> None:
    """Generate labels block by block and hand them over.

    Memory is that of one block and of the few that wait for the sink, which runs in a thread of its own.

    Args:
        scores: gives the scores ``(C, *block.shape)`` of a block; blocks of a field that is a function of the voxel coordinate
            fit together without a seam.
        blocks: which blocks, in which order.
        sink: called as ``sink(block, labels)`` in that order; labels are ``block.shape`` uint8.
        bias: added to the scores before the largest wins (see :func:`~mcrgen.generation.calibration.classify`).
        phase: label of the phase of interest.

    Raises:
        Exception: whatever the sink raises, at the latest two blocks after the failing one.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer:
        pending: deque[Future[None]] = deque()
        for block in blocks:
            labels = classify(scores(block), bias, phase).cpu().numpy()
            if len(pending) >= _PENDING_WRITES:
                pending.popleft().result()
            pending.append(writer.submit(sink, block, labels))
        for future in pending:
            future.result()
