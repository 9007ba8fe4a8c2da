from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mcrgen.errors import InputError
from mcrgen.generation.blocks import grid
from mcrgen.io.images import read_raster
from mcrgen.io.volumes import TiffVolumeWriter, open_volume

SHAPE = (13, 9, 17)
VOLUME = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)


def write(path: Path, block_size: int = 5, voxel_size_um: float | None = 0.7) -> None:
    with open_volume(path, SHAPE, voxel_size_um) as writer:
        for block in grid(SHAPE, block_size):
            writer.write(block.slices, VOLUME[block.slices])


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".npy"])
@pytest.mark.parametrize("block_size", [4, 9, 50])
def test_blocks_become_the_volume(tmp_path: Path, suffix: str, block_size: int) -> None:
    path = tmp_path / "deep" / f"v{suffix}"
    write(path, block_size)
    stored = np.load(path) if suffix == ".npy" else tifffile.imread(path)
    np.testing.assert_array_equal(stored, VOLUME)
    assert stored.dtype == np.uint8
    assert [p.name for p in path.parent.iterdir()] == [path.name]


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
    monkeypatch.setattr("mcrgen.io.volumes._BIGTIFF_FROM", 1000)
    write(tmp_path / "v.tif")
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert tif.is_bigtiff
        np.testing.assert_array_equal(tif.asarray(), VOLUME)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_an_error_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    with pytest.raises(RuntimeError, match="stop"), open_volume(path, SHAPE, None):
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_an_earlier_volume_survives_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    path.write_text("precious")
    with pytest.raises(RuntimeError, match="stop"), open_volume(path, SHAPE, None):
        raise RuntimeError("stop")
    assert path.read_text() == "precious"


def test_full_disk_while_writing_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TiffVolumeWriter, "_write_page", full)
    with pytest.raises(InputError, match=r"output: no space left for .*partial file was removed"):
        write(tmp_path / "v.tif")
    assert not list(tmp_path.iterdir())


def test_full_disk_when_opening_npy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output: no space left"), open_volume(tmp_path / "v.npy", (2**20, 2**14, 2**12), None):
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="output: cannot write"), open_volume(tmp_path / "file" / "v.npy", SHAPE, None):
        pass


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: expected a name ending in \.tif, \.tiff, \.npy, got"):
        open_volume(tmp_path / "v.raw", SHAPE, None)


def test_a_block_of_another_slab_is_refused(tmp_path: Path) -> None:
    part = np.zeros((2, 2, 4), np.uint8)
    with open_volume(tmp_path / "v.tif", (4, 2, 4), None) as writer:
        writer.write((slice(0, 2), slice(0, 1), slice(0, 4)), part[:, :1])
        with pytest.raises(ValueError, match="does not belong to the slab"):
            writer.write((slice(2, 4), slice(0, 2), slice(0, 4)), part)
