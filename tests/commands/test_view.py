from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import mcrgen
from mcrgen.cli import main
from mcrgen.commands.view import ViewResult, block_starts, majority, read_view
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.errors import InputError
from mcrgen.io.images import imagej_tags
from mcrgen.io.label_files import LabelFile

pyvista = pytest.importorskip("pyvista")

VOLUME = gaussian_level_cut((11, 14, 17), (0.5, 0.3, 0.2), 2.0, 0)


@pytest.fixture(autouse=True)
def small_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("mcrgen.plotting.view._PIXELS", 200)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.array([0, 100, 255], np.uint8)[VOLUME]
    tifffile.imwrite(tmp_path / "v.tif", values, metadata=None, **imagej_tags(VOLUME.shape, 2.0))
    return tmp_path / "v.tif"


def view(path: Path, **changes: Any) -> ViewResult:
    return mcrgen.view(mcrgen.ViewConfig(volume=path, **changes))


def by_hand(labels: np.ndarray, starts: list[np.ndarray]) -> np.ndarray:
    """The most frequent label of each block, counted block by block."""
    result = np.empty([len(s) for s in starts], np.uint8)
    for index in np.ndindex(*result.shape):
        ends = [[*s[1:], n] for s, n in zip(starts, labels.shape, strict=True)]
        box = tuple(slice(s[i], e[i]) for s, e, i in zip(starts, ends, index, strict=True))
        votes = Counter(labels[box].ravel().tolist())
        result[index] = min(votes, key=lambda label: (-votes[label], label))
    return result


@pytest.mark.parametrize(
    ("length", "step", "expected"), [(6, 2, [0, 2, 4]), (7, 3, [0, 2, 4]), (3, 5, [0]), (4, 1, [0, 1, 2, 3])]
)
def test_blocks_are_few_and_equal(length: int, step: int, expected: list[int]) -> None:
    assert block_starts(length, step).tolist() == expected


def test_blocks_never_exceed_the_step() -> None:
    for length in range(1, 40):
        for step in range(1, 12):
            sizes = np.diff([*block_starts(length, step), length])
            assert sizes.max() <= step
            assert sizes.max() - sizes.min() <= 1
            assert len(sizes) == -(-length // step)


def test_majority_by_hand() -> None:
    slab = np.array([[[0, 1, 2], [1, 1, 2]], [[0, 0, 2], [0, 1, 0]]], np.uint8)  # 4 against 4 on the left
    np.testing.assert_array_equal(majority(slab, np.array([0]), np.array([0, 2]), 3), [[0, 2]])
    np.testing.assert_array_equal(majority(slab, np.array([0, 1]), np.array([0, 1]), 3), [[0, 2], [0, 1]])


@pytest.mark.parametrize("max_edge", [17, 9, 5, 1])
def test_sections_are_planes_and_blocks_are_voted_on(volume: Path, max_edge: int) -> None:
    with LabelFile(volume, "volume", phase=None, phase_name="phase") as medium:
        sections, coarse = read_view(medium, (3, 13, 0), max_edge)
    np.testing.assert_array_equal(sections["z"], VOLUME[3])
    np.testing.assert_array_equal(sections["y"], VOLUME[:, 13])
    np.testing.assert_array_equal(sections["x"], VOLUME[:, :, 0])
    step = -(-17 // max_edge)
    assert max(coarse.shape) <= max_edge
    np.testing.assert_array_equal(coarse, by_hand(VOLUME, [block_starts(n, step) for n in VOLUME.shape]))


def test_a_picture_beside_the_volume(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def plot_view(path: Path, sections: Any, scene: Any, **more: Any) -> None:
        drawn.update(sections=sections, scene=scene, **more)

    monkeypatch.setattr("mcrgen.plotting.view.plot_view", plot_view)
    result = view(volume, position=(0.0, 1.0, 0.5), phase=100)
    assert result == ViewResult(volume.with_suffix(".png"), None)
    assert {n: s.place for n, s in drawn["sections"].items()} == {"z": 0, "y": 13, "x": 8}
    np.testing.assert_array_equal(drawn["sections"]["y"].image, VOLUME[:, 13])
    scene = drawn["scene"]
    assert (scene.phase, scene.values, scene.shape, scene.smooth) == (1, (0, 100, 255), (11, 14, 17), False)
    np.testing.assert_array_equal(scene.labels, VOLUME)
    assert drawn["voxel_size_um"] == pytest.approx(2.0)


def test_export_for_paraview(volume: Path, tmp_path: Path) -> None:
    result = view(volume, output=tmp_path / "new" / "p.png", export=tmp_path / "new" / "v.vti")
    assert result.export is not None
    image = pyvista.read(result.export)
    assert image.spacing == pytest.approx((2.0, 2.0, 2.0))
    assert image.bounds == pytest.approx((0, 34, 0, 28, 0, 22))
    labels = image.cell_data["phase"]
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels.reshape(VOLUME.shape), VOLUME)
    assert b"vtkZLibDataCompressor" in result.export.read_bytes()[:500]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["p.png", "v.vti"]
    with Image.open(result.path) as picture:
        assert min(picture.size) > 1000


def test_without_a_voxel_size_the_unit_is_a_voxel(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VOLUME)
    view(tmp_path / "v.npy", export=tmp_path / "v.vti", all_phases=True, max_edge=6)
    assert pyvista.read(tmp_path / "v.vti").bounds == (0, 17, 0, 14, 0, 11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": (0.5, 1.5, 0.5)}, r"position: expected three fractions between 0 and 1, .* got '0\.5 1\.5 0\.5'"),
        ({"position": (0.5,)}, r"position: expected three fractions"),
        ({"position": (0.5, float("nan"), 0.5)}, r"position: expected three fractions"),
        ({"max_edge": 0}, r"max_edge: expected a number greater than 0, got 0"),
        ({"phase": 7}, r"phase: expected one of the label values 0, 100, 255, got 7"),
        ({"output": Path("v.jpg")}, r"output: expected a name ending in \.png, got 'v\.jpg'"),
        ({"export": Path("v.vtk")}, r"export: expected a name ending in \.vti, got 'v\.vtk'"),
    ],
)
def test_bad_input(volume: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        view(volume, **changes)
    assert [p.name for p in volume.parent.iterdir()] == ["v.tif"]


def test_an_image_is_no_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", VOLUME[0])
    with pytest.raises(InputError, match=r"volume: expected a volume, '.*image\.npy' is an image"):
        view(tmp_path / "image.npy")
    with pytest.raises(InputError, match=r"volume: no such file '.*none\.tif'"):
        view(tmp_path / "none.tif")


def test_nothing_is_overwritten_unasked(volume: Path, tmp_path: Path) -> None:
    (tmp_path / "v.png").write_text("precious")
    with pytest.raises(InputError, match=r"output: '.*v\.png' exists already"):
        view(volume)
    (tmp_path / "e.vti").write_text("precious")
    with pytest.raises(InputError, match=r"export: '.*e\.vti' exists already"):
        view(volume, output=tmp_path / "p.png", export=tmp_path / "e.vti")
    with pytest.raises(InputError, match=r"output: expected a folder, '.*v\.tif' is a file"):
        view(volume, output=volume / "p.png")


def test_without_pyvista(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(InputError, match=r"view: needs pyvista; install it with `pip install 'mcrgen\[view\]'`\."):
        view(volume)


def test_a_failed_export_is_one_sentence(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.plotting.view.plot_view", lambda *args, **options: None)
    monkeypatch.setattr(pyvista.ImageData, "save", lambda *args, **options: None)
    with pytest.raises(InputError, match=r"export: could not write '.*v\.vti'; free some space"):
        view(volume, export=volume.with_suffix(".vti"))


def test_from_the_shell(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--position", "0.1", "0.5", "0.9", "--smooth", "True", "--phase", "0"]
    assert main(["view", str(volume), *flags]) == 0
    assert volume.with_suffix(".png").stat().st_size > 20_000
    assert "v.png" in capsys.readouterr().out
    assert main(["view", str(volume)]) == 2
    assert main(["view", str(volume), "--overwrite"]) == 0
