from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import Strategy

from mcrgen.callbacks.block_output import BlockOutput
from mcrgen.commands._console import quiet_libraries
from mcrgen.generation.blocks import Block, grid
from mcrgen.generation.labels import BlockLabels
from mcrgen.generation.stream import written_behind
from mcrgen.tasks.generation import GenerationTask

SHAPE = (9, 7, 11)
VOLUME = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
BLOCKS = list(grid(SHAPE, 4))


def labels(block: Block) -> NDArray[np.uint8]:
    return VOLUME[block.slices].copy()


class Sink:
    """Puts blocks together, and remembers when it was opened and how it was left."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.volume = np.full(SHAPE, 9, np.uint8)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        self.events.append("opened")
        try:
            with written_behind(self.write) as write:
                yield write
        except BaseException as error:
            self.events.append(type(error))
            raise
        self.events.append("closed")

    def write(self, block: Block, values: NDArray[np.uint8]) -> None:
        self.events.append(block)
        self.volume[block.slices] = values


def predict(blocks: Sequence[Block], how: BlockLabels, sink: Sink) -> list[Strategy]:
    asked: list[Strategy] = []

    def prepare(strategy: Strategy) -> tuple[Sequence[Block], BlockLabels]:
        asked.append(strategy)
        return blocks, how

    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[BlockOutput(sink.opened())],
        )  # fmt: skip
        assert trainer.predict(GenerationTask(prepare), return_predictions=False) is None
    return asked


def test_blocks_are_predicted_in_order_and_written() -> None:
    sink = Sink()
    (strategy,) = predict(BLOCKS, labels, sink)
    assert (strategy.global_rank, strategy.is_global_zero) == (0, True)  # type: ignore[attr-defined]
    assert sink.events == ["opened", *BLOCKS, "closed"]
    np.testing.assert_array_equal(sink.volume, VOLUME)


def test_a_process_without_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    sink = Sink()
    predict([], labels, sink)
    assert sink.events == ["opened", "closed"]
    assert capsys.readouterr() == ("", "")


def test_nothing_is_said_and_no_file_is_left(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    predict(BLOCKS, labels, Sink())
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_labels_that_fail_close_the_sink_with_the_error(error: type[BaseException]) -> None:
    def failing(block: Block) -> NDArray[np.uint8]:
        if block == BLOCKS[3]:
            raise error("here")
        return labels(block)

    sink = Sink()
    with pytest.raises((error, SystemExit)) as caught:
        predict(BLOCKS, failing, sink)
    assert isinstance(caught.value, error) or isinstance(caught.value.__context__, error)  # Lightning exits at Ctrl-C
    assert sink.events == ["opened", *BLOCKS[:3], error]


def test_a_failure_to_write_ends_the_work_and_comes_up() -> None:
    made: list[Block] = []

    def counted(block: Block) -> NDArray[np.uint8]:
        made.append(block)
        return labels(block)

    class Full(Sink):
        def write(self, block: Block, values: NDArray[np.uint8]) -> None:
            if block == BLOCKS[1]:
                raise OSError(28, "No space left on device")
            super().write(block, values)

    for blocks in (BLOCKS, BLOCKS[:2]):  # amid the work, and when all is made
        made.clear()
        sink = Full()
        with pytest.raises(OSError, match="No space left"):
            predict(blocks, counted, sink)
        assert len(made) <= 5
        assert sink.events[:2] == ["opened", BLOCKS[0]]
        assert sink.events[-1] is OSError


def test_what_prepare_raises_comes_up() -> None:
    def prepare(strategy: Strategy) -> tuple[Sequence[Block], BlockLabels]:
        raise ValueError("no such place")

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(ValueError, match="no such place"):
        trainer.predict(GenerationTask(prepare), return_predictions=False)
