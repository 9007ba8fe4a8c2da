from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mcrgen.io.journal import Journal, count_labels, plain

RUN = {"shape": [4, 6, 8], "seed": 3, "bias": [0.1, -2.5e-17], "note": "φ"}
BLOCKS = {((0, 0, x), (4, 6, x + 2)): {0: 40 + x, 255: 8 - x} for x in (4, 0, 6, 2)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "v.journal")
    journal.create(RUN)
    journal.append(dict(list(BLOCKS.items())[:1]))
    journal.append(dict(list(BLOCKS.items())[1:]))
    return journal


def test_nothing_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "v.journal")
    assert journal.run is None
    assert journal.blocks == {}
    journal.remove()


def test_it_is_read_as_it_was_written(journal: Journal) -> None:
    again = Journal(journal.path)
    assert again.run == RUN
    assert again.blocks == BLOCKS
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert lines[1] == {"start": [0, 0, 4], "stop": [4, 6, 6], "counts": {"0": 44, "255": 4}}
    again.remove()
    assert not journal.path.exists()


def test_create_forgets_what_was_there(journal: Journal) -> None:
    again = Journal(journal.path)
    again.create({"seed": 4})
    assert again.blocks == {}
    assert journal.path.read_text() == '{"seed": 4}\n'


def test_cut_at_any_byte_it_keeps_the_whole_lines_and_takes_more(journal: Journal) -> None:
    written = journal.path.read_bytes()
    for length in range(len(written)):
        journal.path.write_bytes(written[:length])
        whole = written[:length].count(b"\n")
        torn = Journal(journal.path)
        assert (torn.run is None) == (whole == 0)
        assert torn.blocks == dict(list(BLOCKS.items())[: max(0, whole - 1)])
        if whole > 0:
            torn.append(dict(list(BLOCKS.items())[whole - 1 :]))
            assert journal.path.read_bytes() == written


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 40, b"\0" * 40 + b"\n", b"[1, 2]\n", b'{"start": [0, 0], "stop": [1, 1, 1], "counts": {}}\n', b"\xff\n", b"7\n"],
)
def test_what_is_no_entry_ends_it(journal: Journal, tail: bytes) -> None:
    written = journal.path.read_bytes()
    journal.path.write_bytes(written + tail + written.splitlines(keepends=True)[1])
    again = Journal(journal.path)
    assert again.blocks == BLOCKS
    more = {((9, 9, 9), (10, 10, 10)): {1: 1}}
    again.append(more)
    assert Journal(journal.path).blocks == BLOCKS | more


def test_an_append_that_failed_half_way_can_be_repeated(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(28, "No space left on device")

    more = {((9, 9, 9), (10, 10, 10)): {1: 1}}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            journal.append(more)
    journal.append(more)
    again = Journal(journal.path)
    assert again.blocks == BLOCKS | more
    assert len(journal.path.read_text().splitlines()) == 2 + len(BLOCKS)


def test_plain_is_what_comes_back(tmp_path: Path) -> None:
    run = {"size": (1, 2, 3), "bias": {0: 0.1}, "none": None}
    journal = Journal(tmp_path / "v.journal")
    journal.create(run)
    assert Journal(journal.path).run == plain(run)
    with pytest.raises(ValueError, match="JSON compliant"):
        plain({"bias": float("nan")})


def test_labels_are_counted() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 2, 255], np.uint8), (5, 6, 7))
    values, counts = np.unique(labels, return_counts=True)
    assert count_labels(labels) == dict(zip(values.tolist(), counts.tolist(), strict=True))
