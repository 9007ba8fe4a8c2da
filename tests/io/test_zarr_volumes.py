from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from mcrgen.io.staging import StagedVolume
from mcrgen.io.zarr_volumes import write_zarr


def stored(folder: Path, shape: tuple[int, int, int], voxel_size_um: float | None = 0.7) -> tuple[np.ndarray, Path]:
    volume = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    staged = StagedVolume(folder / "staged", shape)
    staged.create()
    staged.write((slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])), volume)
    write_zarr(staged, folder / "v.zarr", voxel_size_um)
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
