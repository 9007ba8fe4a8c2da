from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcrgen.errors import InputError
from mcrgen.io.images import SUFFIXES, Medium, read_medium, read_raster, write_labels
from mcrgen.io.phases import MAX_PHASES, Phases, check_phase_names, find_phase, indicators, phase_fractions, to_labels

LABELS = np.random.default_rng(0).integers(0, 2, (12, 9)).astype(np.uint8)


def read(path: Path, phase: int | None = None) -> Medium:
    return read_medium(path, "data.image", phase=phase, phase_name="data.phase")


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".jpg", ".jpeg")])
def test_reads_every_lossless_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"medium{suffix}"
    values = LABELS * np.uint8(255)
    if suffix == ".npz":
        np.savez(path, labels=values)
    elif suffix == ".npy":
        np.save(path, values)
    elif suffix.startswith(".tif"):
        tifffile.imwrite(path, values, compression="lzw")
    else:
        Image.fromarray(values).save(path)
    medium = read(path)
    np.testing.assert_array_equal(medium.labels, LABELS)
    assert medium.phases == Phases((0, 255), 1)


def test_reads_jpeg_as_a_photograph(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "photo.jpg", quality=95)
    raster = read_raster(tmp_path / "photo.jpg", "photo")
    assert not raster.colour
    np.testing.assert_allclose(raster.array.astype(float), grey, atol=4)


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.uint16, np.int64, np.float32])
def test_any_labels_become_sorted_phases(tmp_path: Path, dtype: type) -> None:
    values = LABELS.astype(dtype) if dtype is np.bool_ else np.array([-3, 70] if dtype is not np.uint16 else [3, 70])[LABELS]
    np.save(tmp_path / "m.npy", values.astype(dtype))
    np.testing.assert_array_equal(read(tmp_path / "m.npy").labels, LABELS)


def test_stack_colour_that_is_grey_and_palette(tmp_path: Path) -> None:
    volume = np.random.default_rng(1).integers(0, 3, (5, 12, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", volume, photometric="minisblack")
    medium = read(tmp_path / "v.tif")
    np.testing.assert_array_equal(medium.labels, volume)
    assert medium.phases.channels == 3
    Image.fromarray(np.repeat(LABELS[..., None] * np.uint8(255), 3, axis=2)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png").labels, LABELS)
    palette = Image.fromarray(LABELS * np.uint8(255)).convert("P")
    palette.save(tmp_path / "p.png")
    assert read(tmp_path / "p.png").phases.count == 2
    Image.fromarray(LABELS * np.uint8(255)).convert("1").save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read(tmp_path / "bits.png").labels, LABELS)


def test_phase_of_interest(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", LABELS * np.uint8(255))
    assert read(tmp_path / "m.npy", phase=0).phases.phase == 0
    with pytest.raises(InputError, match=r"data\.phase: expected one of the label values 0, 255, got 1"):
        read(tmp_path / "m.npy", phase=1)


def test_voxel_size_from_imagej_ome_and_centimetres(tmp_path: Path) -> None:
    volume = np.zeros((3, 8, 8), np.uint8)
    tifffile.imwrite(
        tmp_path / "ij.tif", volume, imagej=True, resolution=(1 / 2.5, 1 / 2.5), metadata={"unit": "um", "spacing": 2.5}
    )
    tifffile.imwrite(
        tmp_path / "o.ome.tif", volume, metadata={"axes": "ZYX", "PhysicalSizeX": 400.0, "PhysicalSizeXUnit": "nm"}
    )
    tifffile.imwrite(tmp_path / "cm.tif", volume[0], resolution=(5000, 5000), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "inch.tif", volume[0], resolution=(72, 72), resolutionunit="INCH")
    sizes = [read_raster(tmp_path / n, "x").voxel_size_um for n in ("ij.tif", "o.ome.tif", "cm.tif", "inch.tif")]
    assert sizes[:3] == pytest.approx([2.5, 0.4, 2.0], rel=1e-5)
    assert sizes[3] is None


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png", ".bmp"])
def test_written_labels_come_back(tmp_path: Path, suffix: str) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (12, 9)).astype(np.uint8)
    write_labels(tmp_path / f"l{suffix}", labels, 1.5)
    medium = read(tmp_path / f"l{suffix}")
    np.testing.assert_array_equal(medium.labels, labels)
    if suffix == ".tif":
        assert medium.voxel_size_um == pytest.approx(1.5)


def test_stacks_in_every_form(tmp_path: Path) -> None:
    volume = np.random.default_rng(1).integers(0, 2, (4, 30, 20)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as tif:
        for page in volume:
            tif.write(page)
    np.testing.assert_array_equal(read(tmp_path / "pages.tif").labels, volume)
    with tifffile.TiffWriter(tmp_path / "odd.tif") as tif:
        tif.write(volume[0])
        tif.write(volume[1, :10])
    with pytest.raises(InputError, match=r"expected one image or stack .* found images of \(30, 20\), \(10, 20\)"):
        read(tmp_path / "odd.tif")
    noise = np.random.default_rng(0).integers(0, 2, (4, 200, 200)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", noise, compression="zlib", photometric="minisblack")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "stack.tif").read_bytes()[:9000])
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "cut.tif")


def test_photographs_are_read_as_brightness(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 400).reshape(20, 20).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").quantize(16).save(tmp_path / "palette.png")
    decoded = read_raster(tmp_path / "palette.png", "photo", photograph=True)
    assert not decoded.colour
    assert np.corrcoef(decoded.array.ravel().astype(float), grey.ravel())[0, 1] > 0.99
    tifffile.imwrite(tmp_path / "negative.tif", 255 - grey, photometric="miniswhite")
    np.testing.assert_array_equal(read_raster(tmp_path / "negative.tif", "photo", photograph=True).array, grey)
    planar = np.stack([grey, grey.T, grey])
    tifffile.imwrite(tmp_path / "planar.tif", planar, photometric="rgb", planarconfig="separate")
    raster = read_raster(tmp_path / "planar.tif", "photo", photograph=True)
    assert raster.colour
    assert raster.array.shape == (20, 20, 3)


def test_foreign_sidecar_is_ignored(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", LABELS)
    for text in ("[1, 2]", "not json", '{"voxel_size_um": "big"}'):
        (tmp_path / "m.npy.json").write_text(text)
        assert read(tmp_path / "m.npy").voxel_size_um is None


def test_a_failed_write_leaves_the_old_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labels(tmp_path / "l.tif", LABELS, None)

    def full(path: Path, *args: object, **kwargs: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OSError, match="No space left"):
        write_labels(tmp_path / "l.tif", 1 - LABELS, None)
    np.testing.assert_array_equal(read(tmp_path / "l.tif").labels, LABELS)
    assert [p.name for p in tmp_path.iterdir()] == ["l.tif"]


def test_bad_files_get_a_sentence(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (64, 64)).astype(np.uint8) * 255).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.tif").write_text("not an image")
    tifffile.imwrite(tmp_path / "full.tif", np.zeros((64, 64), np.uint8), compression="zlib")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "full.tif").read_bytes()[:100])
    np.save(tmp_path / "full.npy", np.zeros((64, 64)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "full.npy").read_bytes()[:300])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=LABELS, b=LABELS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:150])
    (tmp_path / "a.txt").write_text("x")
    cases = {
        "missing.png": "no such file",
        "gud.png": "perhaps 'good.png' is meant",
        "cut.png": "damaged or not what its name says",
        "text.tif": "damaged",
        "cut.tif": "damaged",
        "cut.npy": "damaged",
        "objects.npy": "damaged",
        "cut.npz": "damaged",
        "two.npz": "expected one array in .* found a, b",
        "a.txt": r"expected a file of type \.tif",
        ".": "got the folder",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=f"data.image: .*{message}"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.random.default_rng(0).integers(0, 256, (30, 30)).astype(np.uint8), "distinct grey values.*mcrgen segment"),
        (np.array([[0.0, 0.5], [1.0, 1.0]]), "distinct grey values.*mcrgen segment"),
        (np.full((5, 5), 3), "at least two phases, found only the value 3"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "NaN"),
        (np.zeros((0, 5)), "without a pixel"),
        (np.array([["a", "b"], ["b", "a"]]), "expected integer or boolean labels"),
        (np.zeros((2, 2, 2, 2), np.uint8), r"expected a 2D image or a 3D volume.*\(2, 2, 2, 2\)"),
    ],
)
def test_arrays_that_are_no_labels(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "m.npy")


def test_colour_given_as_labels(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match="colour image; run `mcrgen segment`"):
        read(tmp_path / "c.png")


def test_indicators_and_fractions() -> None:
    labels = np.array([[0, 1, 2], [2, 2, 2]], np.uint8)
    three = indicators(labels, Phases((0, 1, 2), 2))
    np.testing.assert_array_equal(three.argmax(axis=0), labels)
    np.testing.assert_array_equal(three.sum(axis=0), 1)
    two = indicators(labels // 2, Phases((0, 1), 0))
    np.testing.assert_array_equal(two[0], labels // 2 == 0)
    np.testing.assert_allclose(phase_fractions(labels, 3), [1 / 6, 1 / 6, 4 / 6])
    assert find_phase((0, 255), None, "phase") == 1


def test_phase_limit() -> None:
    assert len(to_labels(np.arange(MAX_PHASES), "x")[1]) == MAX_PHASES
    with pytest.raises(InputError, match="at most 16 phases"):
        to_labels(np.arange(MAX_PHASES + 1), "x")


@pytest.mark.parametrize(
    "names",
    [("pore",), ("pore", "clay", "grain", "void"), ("pore", "clay", "pore"), ("pore", "", "grain"), ("pore", " ", "clay")],
)
def test_phase_names_are_one_for_each_phase(names: tuple[str, ...]) -> None:
    phases = Phases((1, 5, 9), 2)
    check_phase_names((), phases, "names")
    check_phase_names(("pore", "clay", "grain"), phases, "names")
    with pytest.raises(
        InputError, match=r"names: expected a different name for each of the 3 phases \(values 1, 5, 9\), got p"
    ):
        check_phase_names(names, phases, "names")
