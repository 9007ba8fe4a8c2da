from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcrgen.errors import InputError
from mcrgen.io.label_files import LabelFile
from mcrgen.io.provenance import write_json
from mcrgen.io.stored import StoredArray

SHAPE = (9, 10, 13)
BOXES = [
    (slice(0, 9), slice(0, 10), slice(0, 13)),
    (slice(2, 3), slice(4, 9), slice(1, 12)),
    (slice(3, 8), slice(None), slice(5, 6)),
]
WHOLE = (slice(None),) * 3


def write_raw(path: Path, values: np.ndarray, **record: object) -> None:
    values.tofile(path)
    write_json(path.with_name(path.name + ".json"), {"shape": values.shape, "dtype": str(values.dtype)} | record)


def write(path: Path, values: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, values.astype(values.dtype.newbyteorder(">")) if path.stem == "bigendian" else values)
    elif path.suffix == ".npz":
        np.savez(path, values)
    elif path.suffix == ".raw":
        write_raw(path, values)
    elif path.suffix == ".zarr":
        import zarr

        group = zarr.create_group(path, zarr_format=3)
        group.create_array("0", shape=values.shape, dtype=values.dtype, chunks=(4, 4, 4))[:] = values
    elif path.stem == "pages":
        with tifffile.TiffWriter(path) as tif:
            for plane in values:
                tif.write(plane, contiguous=False, compression="zlib", metadata=None)
    else:
        tifffile.imwrite(path, values, byteorder=">" if path.stem == "bigendian" else "<")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.npy", "bigendian.npy", "a.npz", "a.raw", "a.zarr", "a.tif", "bigendian.tif", "pages.tiff"])
def test_any_box_of_any_format(name: str, dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 200, SHAPE).astype(dtype)
    write(tmp_path / name, values)
    with StoredArray(tmp_path / name, "volume") as stored:
        assert stored.shape == SHAPE
        assert stored.dtype == values.dtype
        assert stored.depth == 9
        assert not stored.colour
        for box in BOXES:
            found = stored.read(box)
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values[box])
        slabs = list(stored.slabs(300))
        assert [len(slab) for slab in slabs] == [2, 2, 2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(slabs), values)


def test_an_image_is_one_plane_and_colour_is_told(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "g.png")
    write_raw(tmp_path / "g.raw", pixels[..., 0].copy())
    assert StoredArray(tmp_path / "c.png", "image").colour
    for name in ("g.png", "g.raw"):
        with StoredArray(tmp_path / name, "image") as stored:
            assert (stored.shape, stored.depth, stored.colour) == ((8, 9), 1, False)
            np.testing.assert_array_equal(stored.read(WHOLE), pixels[None, ..., 0])


def test_a_paged_stack_may_be_read_from_many_threads(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 60000, (24, 40, 40), dtype=np.uint16)
    write(tmp_path / "pages.tif", values)
    with StoredArray(tmp_path / "pages.tif", "volume") as stored, ThreadPoolExecutor(8) as pool:
        planes = pool.map(lambda z: stored.read((slice(z, z + 1), slice(None), slice(None))), list(range(24)) * 4)
        np.testing.assert_array_equal(np.concatenate(list(planes)), np.concatenate([values] * 4))


def test_labels_of_a_raw_volume(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)
    write_raw(tmp_path / "v.raw", labels, voxel_size_um=2.5)
    with LabelFile(tmp_path / "v.raw", "medium", phase=1, phase_name="phase") as medium:
        assert medium.shape == SHAPE
        assert medium.voxel_size_um == 2.5
        assert medium.phases.values == (0, 1, 2)
        np.testing.assert_allclose(medium.fractions, np.bincount(labels.ravel()) / labels.size)
        np.testing.assert_array_equal(medium.planes(2, 7), labels[2:7])
        np.testing.assert_array_equal(medium.labels(), labels)


def test_a_raw_file_with_no_description(tmp_path: Path) -> None:
    np.zeros(60, np.uint8).tofile(tmp_path / "v.raw")
    with pytest.raises(InputError, match=r"medium: '.*v\.raw' has no header, expected its shape .* in '.*v\.raw\.json'"):
        LabelFile(tmp_path / "v.raw", "medium", phase=None, phase_name="phase")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{}",
        '{"shape": [3, 4, 5]}',
        '{"shape": [3, 4, 5], "dtype": "unit8"}',
        '{"shape": [3, 4, 5], "dtype": "object"}',
        '{"shape": [3, -4, -5], "dtype": "uint8"}',
        '{"shape": [3, 4, 5.0], "dtype": "uint8"}',
        '{"shape": 60, "dtype": "uint8"}',
    ],
)
def test_a_raw_file_with_a_wrong_description(text: str, tmp_path: Path) -> None:
    np.zeros(60, np.uint8).tofile(tmp_path / "v.raw")
    (tmp_path / "v.raw.json").write_text(text)
    with pytest.raises(InputError, match=r"medium: '.*v\.raw' has no header, expected its shape"):
        StoredArray(tmp_path / "v.raw", "medium")


@pytest.mark.parametrize(("shape", "dtype"), [((3, 4, 6), "uint8"), ((3, 4, 5), "int16")])
def test_a_raw_file_of_another_size(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    write_raw(tmp_path / "v.raw", np.zeros((3, 4, 5), np.uint8), shape=shape, dtype=dtype)
    expected = np.zeros(shape, dtype).nbytes
    with pytest.raises(InputError, match=rf"medium: expected {expected} bytes for the shape .*v\.raw' has 60; correct"):
        StoredArray(tmp_path / "v.raw", "medium")


def test_no_such_file_or_type(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.zeros((2, 3, 4)))
    (tmp_path / "v.txt").write_text("x")
    (tmp_path / "v.zarr").write_text("x")
    with pytest.raises(InputError, match=r"volume: no such file '.*plan\.npy'; perhaps 'plain\.npy' is meant"):
        StoredArray(tmp_path / "plan.npy", "volume")
    with pytest.raises(InputError, match=r"volume: expected a file, got the folder"):
        StoredArray(tmp_path, "volume")
    for name in ("v.txt", "v.zarr"):
        with pytest.raises(InputError, match=rf"volume: expected a file of type \.tif, .*\.raw, \.zarr .*got '.*{name}'"):
            StoredArray(tmp_path / name, "volume")


def test_a_damaged_file_is_closed_and_told(tmp_path: Path) -> None:
    write(tmp_path / "pages.tif", np.random.default_rng(0).integers(0, 255, (30, 40, 50), dtype=np.uint8))
    whole = (tmp_path / "pages.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"volume: '.*cut\.tif' is damaged or not what its name says"):
        StoredArray(tmp_path / "cut.tif", "volume")


def test_the_sidecar_of_a_volume_is_enough(tmp_path: Path) -> None:
    record = {"command": "generate", "shape": [2, 3, 4], "dtype": "uint8", "voxel_size_um": None, "seconds": 1.5}
    (tmp_path / "v.RAW.json").write_text(json.dumps(record))
    (tmp_path / "v.RAW").write_bytes(bytes(range(24)))
    with StoredArray(tmp_path / "v.RAW", "volume") as stored:
        assert stored.voxel_size_um is None
        np.testing.assert_array_equal(stored.read(WHOLE), np.arange(24).reshape(2, 3, 4))
