from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mcrgen.io.images import read_raster
from mcrgen.io.staging import StagedVolume
from mcrgen.io.tiff_volumes import write_tiff
from mcrgen.io.volume_info import VolumeInfo

METADATA = {
    "seed": 3,
    "phase_names": ["pore = void", "images=9\nslices=9", "Körner \u2028"],
    "config": {"output": "C:\\users\\v.tif", "box": None, "exact": True, "spacing": 0.1},
}


def stored(path: Path, shape: tuple[int, int, int], info: VolumeInfo) -> np.ndarray:
    volume = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    staged = StagedVolume(path.with_suffix(".staged"), shape)
    staged.create()
    staged.write(tuple(slice(0, length) for length in shape), volume)
    write_tiff(staged, path, info)
    return volume


@pytest.mark.parametrize("shape", [(13, 9, 17), (1, 9, 17), (3, 4, 5), (4, 5, 3), (5, 3, 4), (7, 1, 1), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("slab", [1, 20, 500, 10**6])
@pytest.mark.parametrize("processors", [1, 3])
def test_tiff_reads_back_every_voxel(
    tmp_path: Path, shape: tuple[int, int, int], slab: int, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcrgen.io.tiff_volumes._SLAB_BYTES", slab)
    monkeypatch.setattr("mcrgen.io.tiff_volumes._processors", lambda: processors)
    volume = stored(tmp_path / "v.tif", shape, VolumeInfo(0.7))
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        assert len(tif.pages) == shape[0]
        assert {page.shape for page in tif.pages} == {shape[1:]}
        np.testing.assert_array_equal(np.stack([page.asarray() for page in tif.pages]), volume)
        np.testing.assert_array_equal(tif.asarray().reshape(shape), volume)


def test_the_number_of_processors_does_not_change_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.tiff_volumes._SLAB_BYTES", 5 * 9 * 17)
    files = []
    for processors in (1, 2, 5):
        monkeypatch.setattr("mcrgen.io.tiff_volumes._processors", lambda count=processors: count)
        stored(tmp_path / f"{processors}.tif", (23, 9, 17), VolumeInfo(0.7, METADATA))
        files.append((tmp_path / f"{processors}.tif").read_bytes())
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("voxel_size_um", [None, 0.7])
def test_metadata_stand_beside_those_of_imagej(tmp_path: Path, voxel_size_um: float | None) -> None:
    own = {}
    for name, metadata in (("with", METADATA), ("without", {})):
        stored(tmp_path / f"{name}.tif", (13, 9, 17), VolumeInfo(voxel_size_um, metadata))
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tif:
            assert tif.is_imagej
            own[name] = dict(tif.imagej_metadata or {})
            assert [page.description for page in tif.pages[1:]] == [""] * 12
            assert tif.pages.first.description.isascii()
    assert json.loads(own["with"].pop("mcrgen")) == METADATA
    assert own["with"] == own["without"]
    assert own["with"]["slices"] == own["with"]["images"] == 13
    assert read_raster(tmp_path / "with.tif", "x").voxel_size_um == (voxel_size_um and pytest.approx(voxel_size_um))


def test_imagej_finds_its_own_keys_first(tmp_path: Path) -> None:
    """ImageJ searches the text for ``images=`` and reads the lines as Java properties, where a backslash escapes."""
    stored(tmp_path / "v.tif", (13, 9, 17), VolumeInfo(0.7, METADATA))
    with tifffile.TiffFile(tmp_path / "v.tif") as tif:
        description = tif.pages.first.description
    lines = description.splitlines()
    assert lines[0].startswith("ImageJ=")
    assert description.index("images=") == description.index("images=13\n")
    assert [line.split("=")[0] for line in lines] == ["ImageJ", "images", "slices", "unit", "spacing", "loop", "mcrgen"]
    assert lines[-1].endswith("}")


def test_many_small_pages_need_bigtiff_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's tags are larger than 2 x 2 voxels, and a classic TIFF cannot point past 4 GiB."""
    stored(tmp_path / "classic.tif", (50, 2, 2), VolumeInfo(0.7))
    size = (tmp_path / "classic.tif").stat().st_size
    monkeypatch.setattr("mcrgen.io.tiff_volumes._BIGTIFF_FROM", size)
    stored(tmp_path / "big.tif", (50, 2, 2), VolumeInfo(0.7))
    with tifffile.TiffFile(tmp_path / "classic.tif") as classic, tifffile.TiffFile(tmp_path / "big.tif") as big:
        assert not classic.is_bigtiff
        assert big.is_bigtiff
