from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from mcrgen.io.pyramid import halved
from mcrgen.io.staging import StagedVolume
from mcrgen.io.volume_info import VolumeInfo
from mcrgen.io.zarr_volumes import ome_metadata, write_zarr


def stage(folder: Path, volume: np.ndarray) -> StagedVolume:
    staged = StagedVolume(folder / "staged", volume.shape)
    staged.create()
    staged.write(tuple(slice(0, length) for length in volume.shape), volume)
    return staged


def stored(
    folder: Path, shape: tuple[int, int, int], voxel_size_um: float | None = 0.7, **more: Any
) -> tuple[np.ndarray, Path]:
    volume = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    write_zarr(stage(folder, volume), folder / "v.zarr", VolumeInfo(voxel_size_um, **more))
    return volume, folder / "v.zarr"


def metadata(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_text())


@pytest.mark.parametrize("shape", [(3, 5, 7), (64, 1, 256), (66, 300, 130), (257, 9, 513)])
def test_zarr_reads_back_every_voxel(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    volume, path = stored(tmp_path, shape)
    array = zarr.open_group(path, mode="r")["0"]
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array[:], volume)


def test_sharded_and_compressed(tmp_path: Path) -> None:
    volume, path = stored(tmp_path, (66, 300, 130))
    array = metadata(path / "0")
    assert array["zarr_format"] == 3
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [128, 256, 192]
    (sharding,) = array["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [64, 64, 64]
    assert sharding["configuration"]["codecs"][-1]["name"] == "blosc"
    files = [file for file in (path / "0" / "c").rglob("*") if file.is_file()]
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) < volume.size / 3


def test_metadata_of_ome_ngff(tmp_path: Path) -> None:
    _, path = stored(tmp_path, (3, 5, 7))
    group = metadata(path)
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert multiscale["axes"] == [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    (dataset,) = multiscale["datasets"]
    assert dataset == {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.7, 0.7, 0.7]}]}
    assert metadata(path / "0")["dimension_names"] == ["z", "y", "x"]


def test_no_unit_without_a_voxel_size(tmp_path: Path) -> None:
    _, path = stored(tmp_path, (3, 5, 7), None)
    (multiscale,) = metadata(path)["attributes"]["ome"]["multiscales"]
    assert multiscale["axes"][0] == {"name": "z", "type": "space"}
    assert multiscale["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    stores = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _, path = stored(tmp_path / name, (66, 300, 130))
        stores.append({file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()})
    assert stores[0] == stores[1]


def test_metadata_stand_beside_those_of_ome_ngff(tmp_path: Path) -> None:
    told = {"seed": 3, "phase_names": ["pore", "grain, \u00b5-porous"], "config": {"size": [3, 5, 7], "box": None}}
    _, path = stored(tmp_path, (3, 5, 7), metadata=told)
    assert metadata(path)["attributes"]["mcrgen"] == told
    (tmp_path / "bare").mkdir()
    _, bare = stored(tmp_path / "bare", (3, 5, 7))
    assert set(metadata(bare)["attributes"]) == {"ome"}
    assert metadata(bare)["attributes"]["ome"] == metadata(path)["attributes"]["ome"]


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        ((3, 5, 7), [(3, 5, 7)]),
        ((66, 300, 130), [(66, 300, 130), (33, 150, 65), (17, 75, 33), (9, 38, 17)]),
        ((1, 9, 515), [(1, 9, 515), (1, 5, 258), (1, 3, 129), (1, 2, 65), (1, 1, 33)]),
    ],
)
def test_each_level_of_a_pyramid_is_the_one_before_halved(
    tmp_path: Path, shape: tuple[int, int, int], lengths: list[tuple[int, int, int]]
) -> None:
    expected, path = stored(tmp_path, shape, pyramid=True)
    group = zarr.open_group(path, mode="r")
    assert [group[str(level)].shape for level in range(len(lengths))] == lengths
    assert sum(1 for _ in group.array_keys()) == len(lengths)
    for level in range(len(lengths)):
        np.testing.assert_array_equal(group[str(level)][:], expected)
        assert metadata(path / str(level))["dimension_names"] == ["z", "y", "x"]
        expected = halved(expected)


def test_a_coarse_voxel_lies_amid_those_it_covers() -> None:
    """Where a voxel's centre lies, by the metadata, against the mean of the places of the voxels of level 0 it came from."""
    shapes = [(1, 64, 260), (1, 32, 130), (1, 16, 65), (1, 8, 33)]
    (multiscale,) = ome_metadata(0.7, shapes)["multiscales"]
    assert multiscale["type"] == "mode"
    for level, dataset in enumerate(multiscale["datasets"]):
        assert dataset["path"] == str(level)
        scale, *rest = dataset["coordinateTransformations"]
        translation = rest[0]["translation"] if rest else [0.0, 0.0, 0.0]
        for axis, step in enumerate((1, 2**level, 2**level)):
            places = 0.7 * np.arange(shapes[0][axis])
            for index in (0, shapes[0][axis] // step - 1):
                centre = scale["scale"][axis] * index + translation[axis]
                assert centre == pytest.approx(places[step * index : step * (index + 1)].mean())


def test_phase_fractions_stay_roughly_in_a_pyramid(tmp_path: Path) -> None:
    z, y, x = np.ogrid[:70, :90, :110]
    blobs = (np.sin(z / 5) + np.sin(y / 6) + np.sin(x / 4) > 0.6).astype(np.uint8)
    write_zarr(stage(tmp_path, blobs), tmp_path / "v.zarr", VolumeInfo(pyramid=True))
    coarse = zarr.open_group(tmp_path / "v.zarr", mode="r")["1"][:]
    assert set(np.unique(coarse)) == {0, 1}
    assert coarse.mean() == pytest.approx(blobs.mean(), abs=0.02)


def test_memory_is_that_of_a_few_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.io.zarr_volumes._SHARD", 64)
    stored(tmp_path, (64, 64, 128), pyramid=True)  # imports, caches
    staged = stage(tmp_path, np.zeros((256, 256, 256), np.uint8))
    tracemalloc.start()
    try:
        write_zarr(staged, tmp_path / "w.zarr", VolumeInfo(pyramid=True))
        assert tracemalloc.get_traced_memory()[1] < 8 * 64**3
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("voxel_size_um", [None, 0.7])
@pytest.mark.parametrize("pyramid", [False, True])
def test_an_independent_reading_of_the_specification_agrees(tmp_path: Path, voxel_size_um: float | None, pyramid: bool) -> None:
    v05 = pytest.importorskip("ome_zarr_models.v05")  # not to be had for Python 3.14
    _, path = stored(tmp_path, (66, 5, 130), voxel_size_um, pyramid=pyramid, metadata={"seed": 3})
    image = v05.Image.from_zarr(zarr.open_group(path, mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    assert [dataset.path for dataset in multiscale.datasets] == (["0", "1", "2"] if pyramid else ["0"])
    assert [axis.unit for axis in multiscale.axes] == [None if voxel_size_um is None else "micrometer"] * 3
