from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcrgen.errors import InputError
from mcrgen.io import scalar_files
from mcrgen.io.provenance import write_json
from mcrgen.io.scalar_files import ScalarFile

SHAPE = (5, 7, 6)
BOX = (slice(1, 4), slice(0, 7), slice(2, 3))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".npy", ".tif", ".raw", ".zarr"])
def test_boxes_and_range_of_any_type(dtype: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalar_files, "_SCAN_VOXELS", 90)
    values = np.random.default_rng(0).normal(1, 4, SHAPE).clip(0 if dtype == "uint8" else -9, 9).astype(dtype)
    path = tmp_path / f"v{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".tif":
        tifffile.imwrite(path, values.astype("uint8") if dtype == "bool" else values)
    elif suffix == ".raw":
        values.tofile(path)
        write_json(tmp_path / "v.raw.json", {"shape": SHAPE, "dtype": dtype})
    else:
        import zarr

        zarr.create_group(path).create_array("0", shape=SHAPE, dtype=dtype, chunks=(2, 3, 4))[:] = values
    with ScalarFile(path, "mask") as field:
        assert field.shape == SHAPE
        assert field.minimum == pytest.approx(float(values.min()), rel=1e-6)
        assert field.maximum == pytest.approx(float(values.max()), rel=1e-6)
        found = field.read(BOX)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values[BOX].astype(np.float32))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite(wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalar_files, "_SCAN_VOXELS", 42)
    values = np.zeros(SHAPE)
    values[4, 3, 2] = wrong
    np.save(tmp_path / "v.npy", values)
    with pytest.raises(InputError, match=r"mask: expected finite numbers, '.*v\.npy' has NaN or infinite ones"):
        ScalarFile(tmp_path / "v.npy", "mask")


@pytest.mark.parametrize("shape", [(6, 7), (2, 3, 4, 5), (0, 3, 4), (3, 4, 0)])
def test_other_than_a_volume(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=r"mask: expected a 3D volume, '.*v\.npy' has the shape \("):
        ScalarFile(tmp_path / "v.npy", "mask")


def test_other_than_real_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(SHAPE, np.complex64))
    with pytest.raises(InputError, match=r"mask: expected real numbers, '.*v\.npy' has the data type complex64"):
        ScalarFile(tmp_path / "v.npy", "mask")
    np.save(tmp_path / "s.npy", np.full(SHAPE, "a"))
    with pytest.raises(InputError, match=r"mask: expected real numbers, '.*s\.npy' has the data type <U1"):
        ScalarFile(tmp_path / "s.npy", "mask")


def test_colour_and_no_such_file(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"mask: expected a 3D volume of numbers, '.*c\.png' is a colour image"):
        ScalarFile(tmp_path / "c.png", "mask")
    with pytest.raises(InputError, match=r"mask: no such file '.*v\.npy'"):
        ScalarFile(tmp_path / "v.npy", "mask")
