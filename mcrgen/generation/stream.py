"""The loop that makes a volume: block -> noise -> network -> labels -> writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block
from mcrgen.generation.labels import BlockLabels

_WAITING_WRITES = 2

BlockSink = Callable[[Block, NDArray[np.uint8]], None]


def generate_blocks(labels: BlockLabels, blocks: Iterable[Block], sink: BlockSink, *, workers: int = 1) -> None:
    """Generate labels block by block and hand them over.

    Memory is that of a block per worker and of the few that wait for the sink, which runs in a thread of its own. On a GPU a
    few workers keep it busy: while one block is in the network, the noise of the next is made and the labels of the one
    before are fetched. On a CPU the network itself uses every core, so one is best.

    Args:
        labels: gives the labels of a block; blocks of a field that is a function of the voxel coordinate fit together without
            a seam.
        blocks: which blocks, in which order.
        sink: called as ``sink(block, labels)`` in that order.
        workers: blocks in the making at a time; with more than one, ``labels`` is called from several threads.

    Raises:
        Exception: whatever the sink raises, at the latest a few blocks after the failing one.
    """
    with written_behind(sink) as write, ExitStack() as stack:
        made = ((block, labels(block)) for block in blocks) if workers == 1 else _in_threads(labels, blocks, workers, stack)
        for block, found in made:
            write(block, found)


@contextmanager
def written_behind(sink: BlockSink) -> Iterator[BlockSink]:
    """A sink that hands over to another one in a thread, at most a few blocks behind; leaving the context waits for those.

    What the sink raises comes up at a later block or at the end.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as pool:
        waiting: deque[Future[None]] = deque()

        def write(block: Block, labels: NDArray[np.uint8]) -> None:
            if len(waiting) >= _WAITING_WRITES:
                waiting.popleft().result()
            waiting.append(pool.submit(sink, block, labels))

        yield write
        for future in waiting:
            future.result()


def _in_threads(
    labels: BlockLabels, blocks: Iterable[Block], workers: int, stack: ExitStack
) -> Iterator[tuple[Block, NDArray[np.uint8]]]:
    """Blocks with their labels in order, so many of them in the making."""
    pool = stack.enter_context(ThreadPoolExecutor(max_workers=workers, thread_name_prefix="generator"))
    ahead: deque[tuple[Block, Future[NDArray[np.uint8]]]] = deque()
    for block in blocks:
        ahead.append((block, pool.submit(labels, block)))
        if len(ahead) > workers:
            first, future = ahead.popleft()
            yield first, future.result()
    for first, future in ahead:
        yield first, future.result()
