"""2D images of which parts are read: the parts are those of the whole, and memory is not that of the image."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.io import label_files, tiff_pages
from mcrgen.io.label_files import LabelFile
from mcrgen.io.stored import StoredArray

SHAPE = (101, 77)
BOXES = [
    (slice(0, 101), slice(0, 77)),
    (slice(None), slice(None)),
    (slice(0, 1), slice(0, 1)),
    (slice(15, 17), slice(30, 34)),
    (slice(13, 90), slice(5, 76)),
    (slice(96, 101), slice(64, 77)),
    (slice(100, 101), slice(0, 77)),
    (slice(40, 40), slice(3, 9)),
]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bigtiff": {"bigtiff": True},
    "bigendian": {"byteorder": ">"},
    "imagej": {"imagej": True},
    "ome": {"ome": True},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "strips-zlib": {"rowsperstrip": 7, "compression": "zlib"},
    "one-strip-zlib": {"rowsperstrip": 101, "compression": "zlib"},
    "tiles-zlib": {"tile": (16, 32), "compression": "zlib"},
    "tiles-lzw-predictor": {"tile": (32, 16), "compression": "lzw", "predictor": True},
    "tiles-bigendian": {"tile": (16, 32), "compression": "zlib", "byteorder": ">"},
    "strips-packbits": {"rowsperstrip": 5, "compression": "packbits"},
    "inverted": {"photometric": "miniswhite", "rowsperstrip": 7, "compression": "zlib"},
}


def write(path: Path, values: NDArray[Any], way: str) -> None:
    settings = {"photometric": "minisblack"} | WAYS[way]
    tifffile.imwrite(path, values, **settings)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("way", WAYS)
def test_parts_of_the_whole(way: str, dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    write(tmp_path / "a.tif", values, way)
    with StoredArray(tmp_path / "a.tif", "image") as stored:
        assert (stored.shape, stored.depth, stored.colour, stored.dtype) == (SHAPE, 1, False, values.dtype)
        for rows, columns in BOXES:
            found = stored.read((slice(0, 1), rows, columns))
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values[None, rows, columns])
        boxes = [(slice(0, 1), slice(y, y + 20), slice(x, x + 9)) for y, x in [(0, 0), (81, 68), (10, 25)]]
        np.testing.assert_array_equal(stored.read_many(boxes), [values[None, b[1], b[2]] for b in boxes])


def test_one_bit_a_pixel(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random(SHAPE) < 0.4
    tifffile.imwrite(tmp_path / "a.tif", bits, rowsperstrip=9, compression="packbits")
    with LabelFile(tmp_path / "a.tif", "image", phase=None, phase_name="phase") as medium:
        np.testing.assert_array_equal(medium.part((slice(0, 1), slice(7, 60), slice(3, 70)))[0], bits[7:60, 3:70])
        assert medium.fractions[1] == pytest.approx(bits.mean())


def test_tiles_never_written_hold_nothing(tmp_path: Path) -> None:
    tile = np.ones((16, 16), np.uint8)
    tiles = (tile if i in (0, 4) else None for i in range(6))
    tifffile.imwrite(tmp_path / "a.tif", tiles, shape=(32, 48), dtype=np.uint8, tile=(16, 16), compression="zlib")
    expected = np.zeros((32, 48), np.uint8)
    expected[:16, :16] = expected[16:, 16:32] = 1
    with StoredArray(tmp_path / "a.tif", "image") as stored:
        np.testing.assert_array_equal(stored.read((slice(0, 1), slice(3, 32), slice(5, 48)))[0], expected[3:, 5:])


@pytest.mark.parametrize("kept", [0, 1000, 1 << 20])
def test_whatever_is_kept_from_many_threads(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_pages, "_KEPT_BYTES", kept)
    values = np.random.default_rng(0).integers(0, 200, SHAPE, dtype=np.uint8)
    write(tmp_path / "a.tif", values, "tiles-zlib")
    with StoredArray(tmp_path / "a.tif", "image") as stored, ThreadPoolExecutor(4) as pool:
        starts = np.random.default_rng(1).integers(0, 70, (60, 2)).tolist()
        boxes = [(slice(0, 1), slice(y, y + 31), slice(x, min(77, x + 31))) for y, x in starts]
        for box, found in zip(boxes, pool.map(stored.read, boxes), strict=True):
            np.testing.assert_array_equal(found, values[None, box[1], box[2]])


@pytest.mark.parametrize("voxels", [1, 60, 154, 800, 10**6])
@pytest.mark.parametrize("shape", [(13, 11), (5, 7, 9)])
def test_blocks_cover_the_array_once(shape: tuple[int, ...], voxels: int, tmp_path: Path) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    np.save(tmp_path / "a.npy", values)
    with StoredArray(tmp_path / "a.npy", "image") as stored:
        blocks = [stored.read(box) for box in stored.blocks(voxels)]
    np.testing.assert_array_equal(np.concatenate([b.ravel() for b in blocks]), values.ravel())
    assert all(b.size <= max(voxels, shape[-1]) for b in blocks)


@pytest.mark.parametrize("name", ["a.tif", "zlib.tif", "pages.tif", "a.npy"])
def test_labels_are_looked_through_row_by_row(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_files, "_SCAN_VOXELS", 200)
    shape = (3, *SHAPE) if name == "pages.tif" else SHAPE
    labels = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    labels[..., -1, -1] = 2
    if name == "a.npy":
        np.save(tmp_path / name, labels)
    elif name == "pages.tif":
        tifffile.imwrite(tmp_path / name, labels, photometric="minisblack", compression="zlib")
    else:
        write(tmp_path / name, labels, "strips-zlib" if name == "zlib.tif" else "plain")
    seen: list[int] = []
    with LabelFile(tmp_path / name, "image", phase=None, phase_name="phase", advance=seen.append) as medium:
        assert seen == [1] * (3 if name == "pages.tif" else 1)
        assert medium.phases.values == (0, 1, 2)
        np.testing.assert_allclose(medium.fractions, np.bincount(labels.ravel()) / labels.size)
        np.testing.assert_array_equal(medium.labels(), labels)


def peak_of(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["plain", "tiles-zlib"])
def test_memory_is_not_that_of_the_image(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_files, "_SCAN_VOXELS", 1 << 17)
    monkeypatch.setattr(tiff_pages, "_KEPT_BYTES", 1 << 21)
    labels = np.zeros((4100, 5003), np.uint8)
    labels[3000:3100, 4900:4960] = 1
    tifffile.imwrite(tmp_path / "a.tif", labels, **({"tile": (256, 256), "compression": "zlib"} if way == "tiles-zlib" else {}))

    def look() -> None:
        with LabelFile(tmp_path / "a.tif", "image", phase=None, phase_name="phase") as medium:
            assert medium.fractions[1] == pytest.approx(6000 / labels.size)
            part = medium.part((slice(0, 1), slice(2990, 3150), slice(4890, 5003)))[0]
            np.testing.assert_array_equal(part, labels[2990:3150, 4890:])

    assert peak_of(look) < labels.size / 4
    assert peak_of(lambda: tifffile.imread(tmp_path / "a.tif").sum()) > labels.size


@pytest.mark.parametrize("way", ["plain", "tiles-zlib", "strips-zlib"])
def test_a_truncated_image(way: str, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 2, (300, 400), dtype=np.uint8), way)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: 2 * len(whole) // 3])
    with pytest.raises(InputError, match=r"image: '.*cut\.tif' is damaged or not what its name says"):
        LabelFile(tmp_path / "cut.tif", "image", phase=None, phase_name="phase")
