from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from mcrgen.errors import InputError
from mcrgen.generation.blocks import Block, grid
from mcrgen.io import volume_formats
from mcrgen.io.images import read_raster
from mcrgen.io.journal import Journal
from mcrgen.io.staging import StagedVolume
from mcrgen.io.volume_info import VolumeInfo
from mcrgen.io.volume_output import interrupted_run, require_volume_output
from mcrgen.io.volume_writer import VolumeWriter
from mcrgen.io.volumes import open_volume, stored_bytes

SHAPE = (13, 9, 17)
VOLUME = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
SUFFIXES = (".tif", ".tiff", ".npy", ".raw", ".zarr")
RUN = {"seed": 3, "block_size": 5}
BLOCKS = list(grid(SHAPE, 5))
CRASHES = Path(__file__).parent / "crashes.py"


def read(path: Path) -> np.ndarray:
    if path.suffix == ".raw":
        return np.fromfile(path, np.uint8).reshape(SHAPE)
    if path.suffix == ".zarr":
        return np.asarray(zarr.open_group(path, mode="r")["0"])
    return np.load(path) if path.suffix == ".npy" else tifffile.imread(path)


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in (path, *path.rglob("*")) if file.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write_missing(volume: VolumeWriter, blocks: list[Block] = BLOCKS) -> list[Block]:
    missing = [block for block in blocks if (block.start, block.stop) not in volume.done]
    for block in missing:
        volume.write(block.slices, VOLUME[block.slices])
    return missing


def write(path: Path, blocks: list[Block] = BLOCKS, voxel_size_um: float | None = 0.7) -> None:
    with open_volume(path, SHAPE, voxel_size_um) as volume:
        write_missing(volume, blocks)


def interrupt(path: Path, blocks: int = 20, run: dict[str, object] | None = RUN, overwrite: bool = False) -> None:
    with suppress(KeyboardInterrupt), open_volume(path, SHAPE, 0.7, run=run, overwrite=overwrite) as volume:
        write_missing(volume, BLOCKS[:blocks])
        raise KeyboardInterrupt


def go_on(path: Path) -> list[Block]:
    with open_volume(path, SHAPE, 0.7, run=RUN) as volume:
        return write_missing(volume)


def full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("block_size", [4, 9, 50])
def test_blocks_become_the_volume(tmp_path: Path, suffix: str, block_size: int) -> None:
    path = tmp_path / "deep" / f"v{suffix}"
    write(path, list(grid(SHAPE, block_size)))
    stored = read(path)
    np.testing.assert_array_equal(stored, VOLUME)
    assert stored.dtype == np.uint8
    assert names(path.parent) == {path.name}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_order_of_blocks_and_many_threads(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.volume_writer._COMMIT_SECONDS", 0.0)
    write(tmp_path / f"a{suffix}")
    shuffled = [BLOCKS[i] for i in np.random.default_rng(1).permutation(len(BLOCKS))]
    with open_volume(tmp_path / f"b{suffix}", SHAPE, 0.7) as volume, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda block: volume.write(block.slices, VOLUME[block.slices]), shuffled))
        np.testing.assert_array_equal(volume.counts, np.bincount(VOLUME.ravel(), minlength=256))
    assert content(tmp_path / f"a{suffix}") == content(tmp_path / f"b{suffix}")


def test_tiff_tells_fiji_and_paraview_its_voxel_size(tmp_path: Path) -> None:
    write(tmp_path / "v.tif")
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.is_imagej
        assert tif.imagej_metadata is not None
        assert tif.imagej_metadata["slices"] == SHAPE[0]
        assert tif.imagej_metadata["spacing"] == pytest.approx(0.7e-4)
        assert tif.imagej_metadata["unit"] == "cm"
        assert tif.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert tif.pages.first.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        pixels, length = tif.pages.first.tags["XResolution"].value
        assert length / pixels == pytest.approx(0.7e-4)
        assert not tif.is_bigtiff
    assert read_raster(tmp_path / "v.tif", "x").voxel_size_um == pytest.approx(0.7)


def test_bigtiff_past_four_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.tiff_volumes._BIGTIFF_FROM", 1000)
    write(tmp_path / "v.tif")
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.is_bigtiff
        np.testing.assert_array_equal(tif.asarray(), VOLUME)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".zarr"])
@pytest.mark.parametrize("how", ["steps", "times"])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path, suffix: str, how: str) -> None:
    command = [sys.executable, str(CRASHES), str(tmp_path), suffix, how]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= (25 if how == "steps" else 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_interrupted_it_goes_on_with_what_is_missing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    interrupt(path)
    assert names(tmp_path) == {f"{path.name}.partial", f"{path.name}.journal"}
    assert interrupted_run(path) is not None
    with open_volume(path, SHAPE, 0.7, run=RUN) as volume:
        assert volume.done == {(block.start, block.stop) for block in BLOCKS[:20]}
        assert volume.counts.sum() == sum(VOLUME[block.slices].size for block in BLOCKS[:20])
        assert write_missing(volume) == BLOCKS[20:]
        np.testing.assert_array_equal(volume.counts, np.bincount(VOLUME.ravel(), minlength=256))
    write(tmp_path / f"w{suffix}")
    assert content(path) == content(tmp_path / f"w{suffix}")
    assert names(tmp_path) == {path.name, f"w{suffix}"}
    assert interrupted_run(path) is None


def test_labels_reach_the_disk_before_the_journal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.volume_writer._COMMIT_SECONDS", 0.0)
    events: list[str] = []

    def noted(owner: type, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def noting(*args: object) -> object:
            events.append(name)
            return real(*args)

        monkeypatch.setattr(owner, name, noting)

    noted(StagedVolume, "write")
    noted(StagedVolume, "sync")
    noted(Journal, "append")
    write(tmp_path / "v.raw")
    assert events == ["write", "sync", "append"] * len(BLOCKS)


def test_blocks_whose_flush_failed_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, failures, real = tmp_path / "v.npy", [full], StagedVolume.sync
    monkeypatch.setattr("mcrgen.io.volume_writer._COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(StagedVolume, "sync", lambda staged: failures.pop()() if failures else real(staged))
    with pytest.raises(InputError, match="no space left"):
        go_on(path)
    assert not failures
    assert go_on(path) == BLOCKS
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_blocks_are_recorded_every_few_seconds_and_at_the_end(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), open_volume(tmp_path / "v.raw", SHAPE, None, run=RUN) as volume:
        write_missing(volume, BLOCKS[:3])
        assert Journal(tmp_path / "v.raw.journal").blocks == {}
        raise KeyboardInterrupt
    assert len(Journal(tmp_path / "v.raw.journal").blocks) == 3


def test_a_torn_line_costs_its_block(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    interrupt(path)
    journal = tmp_path / "v.npy.journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert go_on(path) == BLOCKS[19:]
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_a_journal_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    interrupt(path)
    message = r"v\.npy' was begun by another run \(seed was 3, is 4, bias was unset, is 0\.5\); .* or add --overwrite"
    other = RUN | {"seed": 4, "bias": 0.5}
    with pytest.raises(InputError, match=message), open_volume(path, SHAPE, 0.7, run=other):
        pass
    with pytest.raises(InputError, match=r"voxel_size_um was 0\.7, is 0\.8\)"), open_volume(path, SHAPE, 0.8, run=RUN):
        pass
    with (
        pytest.raises(InputError, match=r"shape was \[13, 9, 17\], is \[1, 9, 17\]\)"),
        open_volume(path, (1, 9, 17), 0.7, run=RUN),
    ):
        pass
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal"}
    interrupt(path, 4, other, overwrite=True)
    with open_volume(path, SHAPE, 0.7, run=other, overwrite=True) as volume:
        assert len(volume.done) == 4
        write_missing(volume)
    np.testing.assert_array_equal(np.load(path), VOLUME)


@pytest.mark.parametrize("lost", ["partial", "journal"])
def test_one_without_the_other_starts_anew(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "v.npy"
    interrupt(path)
    (tmp_path / f"v.npy.{lost}").unlink()
    assert go_on(path) == BLOCKS
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_a_partial_file_that_was_cut_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    interrupt(path)
    os.truncate(tmp_path / "v.npy.partial", 1000)
    assert go_on(path) == BLOCKS


def test_without_a_description_nothing_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    interrupt(path, run=None)
    with open_volume(path, SHAPE, 0.7) as volume:
        assert volume.done == set()
        write_missing(volume)
    np.testing.assert_array_equal(np.load(path), VOLUME)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_earlier_volume_stays_until_the_new_one_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    with open_volume(path, SHAPE, None) as volume:
        for block in BLOCKS:
            volume.write(block.slices, np.zeros(block.shape, np.uint8))
    with pytest.raises(InputError, match=r"exists already; .*--overwrite"), open_volume(path, SHAPE, 0.7, run=RUN):
        pass
    assert names(tmp_path) == {path.name}
    interrupt(path, overwrite=True)
    assert not read(path).any()
    go_on(path)
    np.testing.assert_array_equal(read(path), VOLUME)


def test_a_folder_that_is_no_store_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    (path / "precious").mkdir(parents=True)
    with pytest.raises(InputError, match=r"output: '.*v\.zarr' exists already"):
        require_volume_output(path, overwrite=False)
    for run in (RUN, None):
        with pytest.raises(InputError, match="is no Zarr store"), open_volume(path, SHAPE, None, run=run, overwrite=True):
            pass
    assert (path / "precious").is_dir()
    assert names(tmp_path) == {"v.zarr"}


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_interrupted_while_finishing_only_that_is_repeated(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"v{suffix}"
    real = volume_formats._CONVERSIONS[suffix]

    def stop(staged: StagedVolume, target: Path, info: VolumeInfo) -> None:
        real(staged, target, info)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(volume_formats._CONVERSIONS, suffix, stop)
        with pytest.raises(KeyboardInterrupt):
            go_on(path)
    assert names(tmp_path) == {f"{path.name}.partial", f"{path.name}.journal"}
    assert go_on(path) == []
    np.testing.assert_array_equal(read(path), VOLUME)


@pytest.mark.parametrize("where", ["blocks", "journal", "finishing"])
def test_a_full_disk_leaves_what_the_same_command_goes_on_with(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.tif"
    interrupt(path)
    with monkeypatch.context() as patch:
        if where == "finishing":
            patch.setitem(volume_formats._CONVERSIONS, ".tif", full)
        else:
            patch.setattr(*((StagedVolume, "write", full) if where == "blocks" else (Journal, "append", full)))
        with pytest.raises(InputError, match=r"output: no space left for '.*v\.tif' .* give the same command again"):
            go_on(path)
    assert names(tmp_path) == {"v.tif.partial", "v.tif.journal"}
    assert len(go_on(path)) == (0 if where == "finishing" else len(BLOCKS) - 20)
    np.testing.assert_array_equal(read(path), VOLUME)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_at_the_start(tmp_path: Path, suffix: str) -> None:
    with (
        pytest.raises(InputError, match="output: no space left"),
        open_volume(tmp_path / f"v{suffix}", (2**20, 2**14, 2**12), None),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_second_run_on_the_same_output(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    with open_volume(path, SHAPE, 0.7, run=RUN) as volume:
        with (
            pytest.raises(InputError, match=rf"is being written by process {os.getpid()} on "),
            open_volume(path, SHAPE, 0.7, run=RUN),
        ):
            pass
        write_missing(volume)
    np.testing.assert_array_equal(np.load(path), VOLUME)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="output: cannot write"), open_volume(tmp_path / "file" / "v.npy", SHAPE, None):
        pass


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: expected a name ending in \.tif, \.tiff, \.npy, \.raw, \.zarr, got"):
        open_volume(tmp_path / "v.mhd", SHAPE, None)


def test_blocks_that_do_not_belong(tmp_path: Path) -> None:
    first, last = BLOCKS[0], BLOCKS[-1]
    with suppress(KeyboardInterrupt), open_volume(tmp_path / "v.npy", SHAPE, None) as volume:
        volume.write(first.slices, VOLUME[first.slices])
        with pytest.raises(ValueError, match="is finished already"):
            volume.write(first.slices, VOLUME[first.slices])
        with pytest.raises(ValueError, match="does not fit a volume of shape"):
            volume.write(last.slices, VOLUME[last.slices][:1])
        with pytest.raises(ValueError, match="does not fit a volume of shape"):
            volume.write((slice(12, 14), slice(0, 9), slice(0, 17)), np.zeros((2, 9, 17), np.uint8))
        raise KeyboardInterrupt


def test_a_volume_with_holes_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"misses {VOLUME[BLOCKS[-1].slices].size} voxels"):
        write(tmp_path / "v.npy", BLOCKS[:-1])
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_memory_is_that_of_a_block_and_a_slab(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.tiff_volumes._SLAB_BYTES", 2**20)
    shape, labels = (64, 512, 512), np.zeros((64, 64, 64), np.uint8)
    tracemalloc.start()
    try:
        with open_volume(tmp_path / f"v{suffix}", shape, None) as volume:
            for block in grid(shape, 64):
                volume.write(block.slices, labels)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_size_on_disk(tmp_path: Path) -> None:
    write(tmp_path / "v.raw")
    write(tmp_path / "v.zarr")
    assert stored_bytes(tmp_path / "v.raw") == VOLUME.size
    assert stored_bytes(tmp_path / "v.zarr") == sum(map(len, content(tmp_path / "v.zarr").values()))


def told(path: Path) -> object:
    """The metadata inside a volume; None where there are none."""
    if path.suffix == ".zarr":
        return json.loads((path / "zarr.json").read_text())["attributes"].get("mcrgen")
    if path.suffix not in (".tif", ".tiff"):
        return None
    with tifffile.TiffFile(path) as tif:
        assert tif.imagej_metadata is not None
        return json.loads(tif.imagej_metadata.get("mcrgen", "null"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_inside_the_volume_and_the_same_after_an_interruption(tmp_path: Path, suffix: str) -> None:
    metadata, more = {"seed": 3, "phase_names": ("pore", "grain")}, {"pyramid": True} if suffix == ".zarr" else {}
    for name, stops in (("a", 20), ("b", None)):
        path = tmp_path / f"{name}{suffix}"
        with suppress(KeyboardInterrupt), open_volume(path, SHAPE, 0.7, run=RUN, metadata=metadata, **more) as volume:
            write_missing(volume, BLOCKS[:stops])
            if stops:
                raise KeyboardInterrupt
    with open_volume(tmp_path / f"a{suffix}", SHAPE, 0.7, run=RUN, metadata=metadata, **more) as volume:
        assert write_missing(volume) == BLOCKS[20:]
    assert content(tmp_path / f"a{suffix}") == content(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"a{suffix}"), VOLUME)
    has_room = suffix not in (".npy", ".raw")
    assert told(tmp_path / f"a{suffix}") == ({"seed": 3, "phase_names": ["pore", "grain"]} if has_room else None)


def test_metadata_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        open_volume(tmp_path / "v.npy", SHAPE, 0.7, metadata={"residual": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        open_volume(tmp_path / "v.npy", SHAPE, 0.7, metadata={"output": tmp_path})
    assert not list(tmp_path.iterdir())


def test_what_the_format_cannot_hold_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pyramid: only \.zarr"):
        open_volume(tmp_path / "v.npy", SHAPE, 0.7, pyramid=True)
    with pytest.raises(InputError, match="size: a TIFF holds at most 2147483647 voxels in a plane"):
        open_volume(tmp_path / "v.tif", (2, 2**16, 2**16), 0.7)
    assert not list(tmp_path.iterdir())


def test_a_pyramid_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    interrupt(path)
    with (
        pytest.raises(InputError, match=r"begun by another run \(pyramid was unset, is True\)"),
        open_volume(path, SHAPE, 0.7, run=RUN, pyramid=True),
    ):
        pass
    assert go_on(path) == BLOCKS[20:]


STEPS = {
    "reserving": (StagedVolume, "create"),
    "blocks": (StagedVolume, "write"),
    "flush": (StagedVolume, "sync"),
    "journal": (Journal, "append"),
    "finishing .tif": (tifffile.TiffWriter, "write"),
    "finishing .zarr": (zarr.Group, "create_array"),
    "flush of the finished": (volume_formats, "sync"),
    "renaming": (os, "replace"),
    "removing the journal": (Journal, "remove"),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_fails_it_is_told_and_the_same_command_goes_on(
    tmp_path: Path, step: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"v{step.removeprefix('finishing ') if 'finishing' in step else '.tif'}"

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    full_disk = number in (errno.ENOSPC, errno.EDQUOT)
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS[step], fail)
        with pytest.raises(InputError, match=r"^output: (no space left for|cannot write) '.*v\..*'.*; .*\.$") as caught:
            go_on(path)
    assert ("no space left" in str(caught.value)) == full_disk
    assert full_disk or os.strerror(number) in str(caught.value)
    go_on(path)
    np.testing.assert_array_equal(read(path), VOLUME)
    assert names(tmp_path) == {path.name}


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_the_system_stops_the_conversion(tmp_path: Path, suffix: str) -> None:
    """Noise does not compress, and no file may get larger than the staged one: a true failure inside the libraries."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 64)).astype(np.uint8)
    path, everything = tmp_path / f"v{suffix}", (slice(0, 64),) * 3
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (noise.size, hard))
        with pytest.raises(InputError, match="output: no space left"), open_volume(path, noise.shape, 0.7, run=RUN) as volume:
            volume.write(everything, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == {f"{path.name}.partial", f"{path.name}.journal"}
    with open_volume(path, noise.shape, 0.7, run=RUN) as volume:
        assert len(volume.done) == 1
    stored = zarr.open_group(path, mode="r")["0"][:] if suffix == ".zarr" else tifffile.imread(path)
    np.testing.assert_array_equal(stored, noise)


def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **kwargs: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", denied)
    message = r"output: cannot write '.*v\.npy' \(Permission denied\); choose another place"
    with pytest.raises(InputError, match=message):
        interrupted_run(tmp_path / "v.npy")
    with pytest.raises(InputError, match=message):
        require_volume_output(tmp_path / "v.npy", overwrite=False)
