"""Volumes that several processes write together."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from mcrgen.errors import InputError
from mcrgen.generation.blocks import Block, grid
from mcrgen.io.journal import Journal
from mcrgen.io.volume_output import voxels_finished
from mcrgen.io.volume_writer import BlockWriter, VolumePart, VolumeWriter
from mcrgen.io.volumes import join_volume, open_volume

SHAPE = (13, 9, 17)
VOLUME = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
COUNTS = np.bincount(VOLUME.ravel(), minlength=256)
RUN = {"seed": 3, "block_size": 5}
BLOCKS = list(grid(SHAPE, 5))
SUFFIXES = (".npy", ".raw", ".tif", ".zarr")


@pytest.fixture(autouse=True)
def _committed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.volume_writer._COMMIT_SECONDS", 0.0)


def lead(path: Path, run: dict[str, Any] = RUN, **how: Any) -> VolumeWriter:
    return open_volume(path, SHAPE, 0.7, run=run, **how)


def join(path: Path, rank: int, run: dict[str, Any] = RUN) -> VolumePart:
    return join_volume(path, SHAPE, 0.7, run=run, rank=rank)


def write(writer: BlockWriter, blocks: Sequence[Block]) -> None:
    for block in blocks:
        writer.write(block.slices, VOLUME[block.slices])


def boxes(blocks: Sequence[Block]) -> set[tuple[Any, Any]]:
    return {(block.start, block.stop) for block in blocks}


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in (path, *path.rglob("*")) if file.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def together(path: Path, number: int, stops: int | None = None) -> None:
    """As many processes share what is missing; each stops after some blocks, or they finish."""
    with suppress(KeyboardInterrupt), lead(path) as volume, ExitStack() as parts:
        writers = [volume, *(parts.enter_context(join(path, rank)) for rank in range(1, number))]
        missing = [block for block in BLOCKS if (block.start, block.stop) not in volume.done]
        for rank, writer in enumerate(writers):
            write(writer, missing[rank::number][:stops])
        if stops is not None:
            raise KeyboardInterrupt


def whole(path: Path) -> dict[str, bytes]:
    with open_volume(path, SHAPE, 0.7) as volume:
        write(volume, BLOCKS)
    return content(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("number", [2, 5])
def test_the_volume_is_that_of_one_process(tmp_path: Path, suffix: str, number: int) -> None:
    path = tmp_path / f"v{suffix}"
    together(path, number)
    assert names(tmp_path) == {path.name}
    stored = {
        ".npy": np.load,
        ".raw": lambda file: np.fromfile(file, np.uint8).reshape(SHAPE),
        ".tif": tifffile.imread,
        ".zarr": lambda store: zarr.open_group(store, mode="r")["0"][:],
    }[suffix](path)
    np.testing.assert_array_equal(stored, VOLUME)
    assert content(path) == whole(tmp_path / f"w{suffix}")


def test_the_leading_process_takes_the_blocks_over_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with lead(path) as volume:
        with join(path, 1) as part:
            write(part, BLOCKS[::2])
            assert part.done == boxes(BLOCKS[::2])
        write(volume, BLOCKS[1::2])
        assert volume.done == boxes(BLOCKS[1::2])
        volume.complete()
        assert volume.done == boxes(BLOCKS)
        np.testing.assert_array_equal(volume.counts, COUNTS)
        assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.lock"}
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_blocks_of_a_part_that_has_not_come_are_missed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        volume = stack.enter_context(lead(tmp_path / "v.npy"))
        with join(tmp_path / "v.npy", 1) as part:
            write(part, BLOCKS[:4])
        write(volume, BLOCKS[4:-1])
        with pytest.raises(ValueError, match=f"misses {VOLUME[BLOCKS[-1].slices].size} voxels"):
            stack.close()
    assert not (tmp_path / "v.npy").exists()
    with lead(tmp_path / "v.npy") as volume:
        assert volume.done == boxes(BLOCKS[:-1])
        write(volume, BLOCKS[-1:])
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), VOLUME)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_stopped_again_and_again_with_other_numbers_of_processes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    for number, stops in ((3, 1), (1, 2), (4, 3), (2, 0), (2, 4)):
        together(path, number, stops)
        assert not path.exists()
    together(path, 2)
    assert names(tmp_path) == {path.name}
    assert content(path) == whole(tmp_path / f"w{suffix}")


DYING = """
import os, sys
from pathlib import Path
import numpy as np
from mcrgen.io import volume_writer
from mcrgen.io.volumes import join_volume, open_volume
volume_writer._COMMIT_SECONDS = 0.0
path, planes = Path(sys.argv[1]), sys.argv[3:]
where = (path, (6, 4, 4), None)
leader, part = open_volume(*where, run={}), join_volume(*where, run={}, rank=int(sys.argv[2]))
leader.__enter__()
part.__enter__()
for z in map(int, planes):
    (part if z % 2 else leader).write((slice(z, z + 1), slice(0, 4), slice(0, 4)), np.full((1, 4, 4), z, np.uint8))
os._exit(9)
"""


def test_after_a_crash_of_all_the_journals_of_each_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    for rank, planes in (("1", "03"), ("7", "14")):
        done = subprocess.run([sys.executable, "-c", DYING, path, rank, *planes], check=False)
        assert done.returncode == 9
        assert names(tmp_path) == {
            f"v.npy.{role}" for role in ("partial", "journal", "lock", f"journal.{rank}", f"lock.{rank}")
        }
    with open_volume(path, (6, 4, 4), None, run={}) as volume:
        assert {start[0] for start, _ in volume.done} == {0, 1, 3, 4}
        assert volume.counts[:6].tolist() == [16, 16, 0, 16, 16, 0]
        assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.lock"}
        for z in (2, 5):
            volume.write((slice(z, z + 1), slice(0, 4), slice(0, 4)), np.full((1, 4, 4), z, np.uint8))
    np.testing.assert_array_equal(np.load(path), np.arange(6)[:, None, None] + np.zeros((6, 4, 4)))
    assert names(tmp_path) == {"v.npy"}


@pytest.mark.parametrize("seed", range(6))
def test_any_blocks_by_any_process_crashed_at_any_byte_of_its_journal(tmp_path: Path, seed: int) -> None:
    """What the journals say after a crash of all processes at once, each within its last line or not."""
    rng = random.Random(seed)
    path = tmp_path / "v.npy"
    for _ in range(4):
        number = rng.randint(1, 4)
        together(path, number, rng.randint(0, 3))
        with suppress(KeyboardInterrupt), lead(path) as volume:
            known = set(volume.done)
            missing = [block for block in BLOCKS if (block.start, block.stop) not in known]
            shares = [rng.sample(missing, min(len(missing), 2 * number))[rank::number] for rank in range(number)]
            with ExitStack() as parts:
                for rank in range(1, number):
                    write(parts.enter_context(join(path, rank)), shares[rank])
            raise KeyboardInterrupt
        for journal in tmp_path.glob("v.npy.journal.*"):
            os.truncate(journal, rng.randint(0, journal.stat().st_size))
        with suppress(KeyboardInterrupt), lead(path) as volume:
            assert known <= volume.done <= boxes(BLOCKS)
            finished = [block for block in BLOCKS if (block.start, block.stop) in volume.done]
            counted = sum((np.bincount(VOLUME[b.slices].ravel(), minlength=256) for b in finished), np.zeros(256, int))
            np.testing.assert_array_equal(volume.counts, counted)
            assert not list(tmp_path.glob("*.journal.*"))
            raise KeyboardInterrupt
    together(path, 3)
    np.testing.assert_array_equal(np.load(path), VOLUME)
    assert names(tmp_path) == {"v.npy"}


def test_a_crash_between_taking_over_and_deleting_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.npy"
    together(path, 3, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", lambda journal: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), lead(path):
            pass
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.journal.1", "v.npy.journal.2"}
    together(path, 2)
    np.testing.assert_array_equal(np.load(path), VOLUME)
    with lead(tmp_path / "w.npy") as volume:
        write(volume, BLOCKS)
        np.testing.assert_array_equal(volume.counts, COUNTS)


def test_a_torn_line_of_a_part_costs_its_block(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    together(path, 2, 3)
    part = tmp_path / "v.npy.journal.1"
    part.write_bytes(part.read_bytes()[:-4])
    with suppress(KeyboardInterrupt), lead(path) as volume:
        assert volume.done == boxes([*BLOCKS[0:6:2], *BLOCKS[1:5:2]])
        raise KeyboardInterrupt
    lines = (tmp_path / "v.npy.journal").read_text().splitlines()
    assert len(lines) == len({json.dumps(json.loads(line)) for line in lines}) == 1 + 5


@pytest.mark.parametrize("text", ["", "{", '{"seed": 4}\n', "[]\n"])
def test_a_part_of_another_run_or_without_a_description_is_dropped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "v.npy"
    together(path, 1, 2)
    block = {"start": [0, 0, 0], "stop": list(SHAPE), "counts": {"0": VOLUME.size}}
    (tmp_path / "v.npy.journal.1").write_text(text + json.dumps(block) + "\n")
    with suppress(KeyboardInterrupt), lead(path) as volume:
        assert volume.done == boxes(BLOCKS[:2])
        raise KeyboardInterrupt
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal"}


def test_journals_of_another_run_go_when_it_is_discarded(tmp_path: Path) -> None:
    path, other = tmp_path / "v.npy", RUN | {"seed": 4}
    together(path, 3, 2)
    with pytest.raises(InputError, match=r"begun by another run \(seed was 3, is 4\)"), lead(path, other):
        pass
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.journal.1", "v.npy.journal.2"}
    with suppress(KeyboardInterrupt), lead(path, other, overwrite=True) as volume:
        assert volume.done == set()
        raise KeyboardInterrupt
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal"}
    with suppress(KeyboardInterrupt), lead(path, overwrite=True) as volume:
        assert volume.done == set()
        raise KeyboardInterrupt


@pytest.mark.parametrize("lost", ["partial", "journal"])
def test_parts_without_the_rest_are_dropped(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "v.npy"
    together(path, 3, 2)
    (tmp_path / f"v.npy.{lost}").unlink()
    with suppress(KeyboardInterrupt), lead(path) as volume:
        assert volume.done == set()
        assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.lock"}
        raise KeyboardInterrupt


def test_names_with_wildcards_and_names_that_only_begin_alike(tmp_path: Path) -> None:
    path, others = (
        tmp_path / "[v]*.npy",
        {"[v]*.npy.journal.old", "[v]*.npy.journal.1.bak", "v.npy.journal.1", "[v]*.npy.lock.x"},
    )
    for other in others:
        (tmp_path / other).write_text("")
    together(path, 2, 2)
    together(path, 3)
    assert names(tmp_path) == {path.name, *others}


def test_a_process_of_a_dead_run_that_is_still_writing_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with ExitStack() as survivor:
        with suppress(KeyboardInterrupt), lead(path) as volume:
            part = survivor.enter_context(join(path, 2))
            write(volume, BLOCKS[:3])
            raise KeyboardInterrupt
        for how in ({}, {"overwrite": True}):
            with (
                pytest.raises(InputError, match=rf"v\.npy' is being written by process {os.getpid()} on "),
                lead(path, **how),
            ):
                pass
        write(part, BLOCKS[3:6])
    with lead(path) as volume:
        assert volume.done == boxes(BLOCKS[:6])
        write(volume, BLOCKS[6:])
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_what_a_process_cannot_join(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    message = r"output: '.*v\.npy' is not being written by the run that this process belongs to"
    with pytest.raises(InputError, match=message), join(path, 1):
        pass
    with lead(path) as volume:
        with pytest.raises(InputError, match=message), join(path, 1, RUN | {"seed": 4}):
            pass
        with pytest.raises(InputError, match=message), join_volume(path, (13, 9, 18), 0.7, run=RUN, rank=1):
            pass
        with join(path, 1), pytest.raises(InputError, match="is being written by process"), join(path, 1):
            pass
        write(volume, BLOCKS)
    assert names(tmp_path) == {"v.npy"}


def test_a_part_knows_what_was_finished_before_it_joined(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    together(path, 2, 2)
    with suppress(KeyboardInterrupt), lead(path) as volume, join(path, 1) as part:
        assert part.done == volume.done == boxes(BLOCKS[:4])
        assert part.counts.sum() == 0
        with pytest.raises(ValueError, match="is finished already"):
            write(part, BLOCKS[:1])
        raise KeyboardInterrupt


def test_voxels_finished_are_those_of_the_main_journal(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    assert voxels_finished(path) == 0
    together(path, 2, 2)
    assert voxels_finished(path) == sum(VOLUME[block.slices].size for block in BLOCKS[:4:2])
    together(path, 1, 0)
    assert voxels_finished(path) == sum(VOLUME[block.slices].size for block in BLOCKS[:4])


def test_scores_of_several_channels(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float16)
    how: dict[str, Any] = {"run": RUN, "dtype": "float16", "channels": 3}
    path = tmp_path / "s.npy"
    with open_volume(path, SHAPE, None, **how) as volume:
        with join_volume(path, SHAPE, None, rank=1, **how) as part:
            for block in BLOCKS[::2]:
                part.write(block.slices, values[(slice(None), *block.slices)])
        for block in BLOCKS[1::2]:
            volume.write(block.slices, values[(slice(None), *block.slices)])
    np.testing.assert_array_equal(np.load(path), values)
