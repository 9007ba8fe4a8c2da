from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.errors import InputError
from mcrgen.io import label_files
from mcrgen.io.images import imagej_tags, read_medium
from mcrgen.io.label_files import LabelFile
from mcrgen.io.provenance import sha256
from mcrgen.io.volumes import open_volume

VALUES = np.array([3, 7, 200])
KNOWN_SIZE = ("streamed.tif", "contiguous.tif", "bigendian.tif")


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return gaussian_level_cut((9, 10, 12), (0.5, 0.3, 0.2), 1.0, 0)


def write(path: Path, labels: np.ndarray) -> None:
    """The same values in one of the ways a volume may be stored."""
    kind = path.stem
    values = VALUES.astype(np.int16 if kind == "int16" else np.float32 if kind == "float" else np.uint8)[labels]
    if path.suffix == ".npy":
        np.save(path, np.asfortranarray(values) if kind == "fortran" else values)
    elif path.suffix == ".npz":
        np.savez(path, values)
    elif kind == "streamed":
        with open_volume(path, labels.shape, 2.5) as writer:
            for z in range(0, 9, 3):
                writer.write((slice(z, z + 3), slice(0, 10), slice(0, 12)), values[z : z + 3])
    elif kind == "contiguous":
        tifffile.imwrite(path, values, metadata=None, **imagej_tags(labels.shape, 2.5))
    elif kind == "bigendian":
        tifffile.imwrite(path, values.astype(np.uint16), byteorder=">", metadata=None, **imagej_tags(labels.shape, 2.5))
    elif kind == "pages":
        with tifffile.TiffWriter(path) as tif:
            for plane in values:
                tif.write(plane, contiguous=False, metadata=None)
    else:
        tifffile.imwrite(path, values, imagej=True, compression=None if kind == "hyperstack" else "zlib")


@pytest.mark.parametrize("slab", [1, 4, 100])
@pytest.mark.parametrize(
    "name",
    [
        "plain.npy",
        "fortran.npy",
        "int16.npy",
        "float.npy",
        "zip.npz",
        "streamed.tif",
        "contiguous.tif",
        "imagej.tif",
        "hyperstack.tif",
        "bigendian.tif",
        "pages.tif",
    ],
)
def test_any_slab_of_any_format(
    labels: np.ndarray, tmp_path: Path, name: str, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_files, "_SCAN_VOXELS", 300)
    write(tmp_path / name, labels)
    seen: list[int] = []
    with LabelFile(tmp_path / name, "medium", phase=7, phase_name="phase", advance=seen.append) as medium:
        assert medium.shape == (9, 10, 12)
        assert sum(seen) == 9
        assert medium.phases.values == (3, 7, 200)
        assert medium.phases.phase == 1
        np.testing.assert_allclose(medium.fractions, np.bincount(labels.ravel()) / labels.size)
        for start in range(0, 9, slab):
            np.testing.assert_array_equal(medium.planes(start, min(9, start + slab)), labels[start : start + slab])
        np.testing.assert_array_equal(medium.labels(), labels)
        assert medium.voxel_size_um == (pytest.approx(2.5) if name in KNOWN_SIZE else None)
        box = (slice(2, 5), slice(3, 9), slice(0, 7))
        np.testing.assert_array_equal(medium.part(box), labels[box])


def test_images_are_one_plane(labels: np.ndarray, tmp_path: Path) -> None:
    image = (labels[0] * 100).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", image[None])
    for name in ("a.tif", "a.png", "a.npy"):
        with LabelFile(tmp_path / name, "medium", phase=None, phase_name="phase") as medium:
            assert medium.shape == (10, 12)
            assert medium.depth == 1
            np.testing.assert_array_equal(medium.planes(0, 1)[0], labels[0])
            np.testing.assert_array_equal(medium.labels(), read_medium(tmp_path / name, "x", phase=None, phase_name="y").labels)


def test_a_grey_volume_and_a_single_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_files, "_SCAN_VOXELS", 100)
    np.save(tmp_path / "grey.npy", np.arange(1000, dtype=np.int32).reshape(10, 10, 10))
    with pytest.raises(InputError, match=r"medium '.*grey\.npy': expected labels of at most 16 phases, found 100 distinct"):
        LabelFile(tmp_path / "grey.npy", "medium", phase=None, phase_name="phase")
    np.save(tmp_path / "one.npy", np.ones((4, 5, 6), np.uint8))
    with pytest.raises(InputError, match=r"expected at least two phases, found only the value 1"):
        LabelFile(tmp_path / "one.npy", "medium", phase=None, phase_name="phase")
    late = np.ones((4, 10, 10), np.float32)
    late[3, 2, 1] = np.nan
    np.save(tmp_path / "nan.npy", late)
    with pytest.raises(InputError, match=r"found NaN or infinite values"):
        LabelFile(tmp_path / "nan.npy", "medium", phase=None, phase_name="phase")


def test_no_such_phase_file_or_dimension(labels: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path / "plain.npy", labels)
    with pytest.raises(InputError, match=r"phase: expected one of the label values 3, 7, 200, got 4"):
        LabelFile(tmp_path / "plain.npy", "medium", phase=4, phase_name="phase")
    with pytest.raises(InputError, match=r"medium: no such file '.*plan\.npy'; perhaps 'plain\.npy' is meant"):
        LabelFile(tmp_path / "plan.npy", "medium", phase=None, phase_name="phase")
    np.save(tmp_path / "four.npy", np.zeros((2, 2, 2, 2), np.uint8))
    with pytest.raises(InputError, match=r"expected a 2D image or a 3D volume, .* has the shape \(2, 2, 2, 2\)"):
        LabelFile(tmp_path / "four.npy", "medium", phase=None, phase_name="phase")


def test_a_truncated_stack(labels: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path / "streamed.tif", labels)
    whole = (tmp_path / "streamed.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"medium: '.*cut\.tif' is damaged or not what its name says"):
        LabelFile(tmp_path / "cut.tif", "medium", phase=None, phase_name="phase")


def test_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"expected labels, .* is a colour image; run `mcrgen segment`"):
        LabelFile(tmp_path / "c.png", "medium", phase=None, phase_name="phase")


@pytest.mark.parametrize("axes", ["TZYX", "ZCYX", "CYX"])
def test_more_axes_than_space_are_refused(axes: str, tmp_path: Path) -> None:
    shape = {"T": 2, "Z": 5, "C": 3, "Y": 8, "X": 9}
    stack = np.random.default_rng(0).integers(0, 2, [shape[a] for a in axes], dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, ome=True, metadata={"axes": axes})
    with pytest.raises(InputError, match=r"expected (one channel of labels|a 2D image or a 3D volume), .*a\.tif"):
        LabelFile(tmp_path / "a.tif", "medium", phase=None, phase_name="phase")
    with pytest.raises(InputError, match=r"expected (one channel of labels|a 2D image or a 3D volume), .*a\.tif"):
        read_medium(tmp_path / "a.tif", "x", phase=None, phase_name="y")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_one_bit_images(suffix: str, labels: np.ndarray, tmp_path: Path) -> None:
    bits = labels[0] > 0
    Image.fromarray(bits).save(tmp_path / f"bit.{suffix}")
    with LabelFile(tmp_path / f"bit.{suffix}", "medium", phase=None, phase_name="phase") as medium:
        np.testing.assert_array_equal(medium.labels(), bits)
        assert medium.fractions[1] == pytest.approx(bits.mean())


def test_no_voxel_at_all(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 5, 5), np.uint8))
    with pytest.raises(InputError, match=r"expected a 2D image or a 3D volume, .* has the shape \(0, 5, 5\)"):
        LabelFile(tmp_path / "none.npy", "medium", phase=None, phase_name="phase")


def test_zarr_as_written_here(labels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "v.zarr"
    with open_volume(path, labels.shape, 2.5) as writer:
        writer.write((slice(0, 9), slice(0, 10), slice(0, 12)), labels)
    with LabelFile(path, "medium", phase=None, phase_name="phase") as medium:
        assert medium.shape == labels.shape
        np.testing.assert_array_equal(medium.planes(3, 7), labels[3:7])
    first = sha256(path)
    (path / "extra").write_text("x")
    assert sha256(path) != first
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"medium: '.*empty\.zarr' is damaged or not what its name says"):
        LabelFile(tmp_path / "empty.zarr", "medium", phase=None, phase_name="phase")
