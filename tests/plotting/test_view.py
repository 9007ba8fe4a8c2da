from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcrgen.errors import InputError
from mcrgen.plotting.rendering import FRAME_COLOURS, Scene, render, smooth_surface, voxel_surface
from mcrgen.plotting.view import Section, phase_colours, plot_view

pytest.importorskip("pyvista")

SHAPE = (4, 6, 9)


def block() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:5, 3:7] = 1
    return labels


def scene(labels: np.ndarray, *, all_phases: bool = False, smooth: bool = False) -> Scene:
    depth, height, width = labels.shape
    values = tuple(range(int(labels.max()) + 1))
    return Scene(labels, (depth, height, width), values, len(values) - 1, all_phases, smooth)


def test_faces_of_voxels_enclose_the_phase() -> None:
    surface = voxel_surface(block() == 1, np.array([18.0, 12.0, 8.0]))  # voxels with edges of 2
    assert surface.bounds == pytest.approx((6, 14, 4, 10, 2, 6))
    assert surface.n_cells == 2 * (2 * 3 + 3 * 4 + 2 * 4)
    assert surface.volume == pytest.approx(24 * 2**3)


def test_faces_of_a_random_medium_are_counted() -> None:
    inside = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    padded = np.pad(inside, 1)
    faces = sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in range(3))
    assert voxel_surface(inside, np.array([7.0, 6.0, 5.0])).n_cells == faces


def test_a_smooth_surface_closes_on_the_border() -> None:
    whole = smooth_surface(np.ones(SHAPE, bool), np.array([9.0, 6.0, 4.0]))
    assert whole.bounds == pytest.approx((0, 9, 0, 6, 0, 4), abs=1e-5)
    half = np.zeros((8, 7, 10), bool)
    half[..., :5] = True
    surface = smooth_surface(half, np.array([20.0, 14.0, 16.0]))
    assert surface.bounds == pytest.approx((0, 10, 0, 14, 0, 16), abs=1e-4)


def test_a_smooth_ball_has_its_volume() -> None:
    distance = np.sqrt(sum((i - 15.5) ** 2 for i in np.indices((32, 32, 32))))
    assert smooth_surface(distance < 11, np.full(3, 32.0)).volume == pytest.approx(4 / 3 * np.pi * 11**3, rel=0.02)


def test_the_phase_of_interest_keeps_its_colour() -> None:
    for count in (1, 2, 3, 12):
        for phase in range(count):
            colours = phase_colours(count, phase)
            assert len(colours) == count
            assert colours[phase] == phase_colours(1, 0)[0]
            assert colours.count(colours[phase]) == 1


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found: np.ndarray = (np.abs(picture.astype(int) - rgb) < 24).all(axis=-1)
    return found


@pytest.mark.parametrize("smooth", [False, True])
def test_a_rendering_shows_what_is_there(smooth: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    picture, (left, right, bottom, top) = render(scene(block(), smooth=smooth), {}, phase_colours(2, 1), pixels=300)
    assert picture.shape[1] / picture.shape[0] == pytest.approx((right - left) / (top - bottom), rel=0.02)
    near_by = 1.0 if smooth else 0.3  # the corner is rounded off
    rows, columns = np.nonzero(picture.std(axis=-1) > 8)  # sand on white with black lines
    across = left + (columns.min() + 0.5) / picture.shape[1] * (right - left)
    assert across == pytest.approx((3 + 2) / np.sqrt(2), abs=near_by), "x = 3 and y = 2 project to the left end of the block"
    middle = top - (rows.min() + rows.max()) / 2 / picture.shape[0] * (top - bottom)
    assert middle == pytest.approx((5 - 3.5 - 2 * 2) / np.sqrt(6), abs=0.5)


def test_frames_and_all_phases() -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), 3)[None, None, :] * np.ones(SHAPE, np.uint8)
    colours = phase_colours(3, 2)
    picture, _ = render(scene(labels, all_phases=True), {"z": 1, "y": 2, "x": 4}, colours, pixels=300)
    for colour in FRAME_COLOURS.values():
        assert near(picture, colour).sum() > 50
    for colour in colours:
        assert near(picture, colour).sum() > 300, "a face that looks into the light shows the colour of the legend"


def test_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.plotting.view._PIXELS", 200)
    labels = block()
    sections = {"z": Section(labels[2], 2), "y": Section(labels[:, 3], 3), "x": Section(labels[:, :, 4], 4)}
    plot_view(tmp_path / "f.png", sections, scene(labels), title="t", fractions=[0.875, 0.125], voxel_size_um=0.5)
    with Image.open(tmp_path / "f.png") as image:
        picture = np.asarray(image.convert("RGB"))
    dark, light = (near(picture, colour).sum() for colour in phase_colours(2, 1))
    shares = [(s.image == 1).mean() * s.image.size for s in sections.values()]
    assert light / (dark + light) == pytest.approx(sum(shares) / sum(s.image.size for s in sections.values()), abs=0.06)


def test_without_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: subprocess.CompletedProcess(args, -11))
    with pytest.raises(InputError, match=r"view: the rendering failed with code -11, for want of OpenGL or memory"):
        render(scene(block()), {}, phase_colours(2, 1), pixels=100)
