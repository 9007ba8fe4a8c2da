from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from mcrgen.callbacks.block_output import BlockOutput

Write = Callable[[Any, Any], None]


def noted(events: list[object]) -> contextlib.AbstractContextManager[Write]:
    @contextlib.contextmanager
    def sink() -> Iterator[Write]:
        events.append("opened")
        try:
            yield lambda block, labels: events.append((block, labels))
        except BaseException as error:
            events.append(error)
            raise
        events.append("closed")

    return sink()


def write(output: BlockOutput, prediction: tuple[Any, Any]) -> None:
    output.write_on_batch_end(Mock(), Mock(), prediction, None, 0, 0, 0)


def test_predictions_go_to_the_sink_between_start_and_end() -> None:
    events: list[object] = []
    output = BlockOutput(noted(events))
    assert events == []
    output.on_predict_start(Mock(), Mock())
    for number in range(3):
        write(output, (f"block {number}", number))
    output.on_predict_end(Mock(), Mock())
    assert events == ["opened", ("block 0", 0), ("block 1", 1), ("block 2", 2), "closed"]


def test_the_sink_is_told_of_an_error_once() -> None:
    events: list[object] = []
    output, error = BlockOutput(noted(events)), ValueError("here")
    output.on_predict_start(Mock(), Mock())
    output.on_exception(Mock(), Mock(), error)
    output.on_exception(Mock(), Mock(), error)
    assert events == ["opened", error]


def test_an_error_before_the_start_opens_nothing() -> None:
    events: list[object] = []
    BlockOutput(noted(events)).on_exception(Mock(), Mock(), KeyboardInterrupt())
    assert events == []


def test_what_the_sink_raises_comes_up() -> None:
    @contextlib.contextmanager
    def full() -> Iterator[Write]:
        yield Mock(side_effect=OSError(28, "full amid it"))
        raise OSError(28, "full at the end")

    output = BlockOutput(full())
    output.on_predict_start(Mock(), Mock())
    with pytest.raises(OSError, match="full amid it"):
        write(output, ("block", "labels"))
    with pytest.raises(OSError, match="full at the end"):
        output.on_predict_end(Mock(), Mock())
