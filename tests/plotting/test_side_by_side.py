from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from mcrgen.plotting.curves import COLOURS
from mcrgen.plotting.rendering import Scene
from mcrgen.plotting.side_by_side import Column, Curves, plot_side_by_side
from mcrgen.plotting.view import phase_colours

CURVES = {
    "s2": Curves(
        [0.4, 0.2], {"a": [0.4, 0.25], "b": [0.4, 0.1]}, {"a": [[0.4, 0.2], [0.4, 0.3]]}, {"low": [0.3], "high": [0.5]}, 9
    ),
    "lineal_path": Curves([0.4, 0.2, 0.1], {"a": [0.4, 0.3], "b": [0.4, 0.1, 0.1]}),
}


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.plotting.side_by_side._DPI", 100)


def labels(*shape: int, phases: int) -> np.ndarray:
    return (
        np.random.default_rng(0)
        .choice(phases, shape, p=[0.5, 0.3, 0.2][:phases] if phases == 3 else [0.6, 0.4])
        .astype(np.uint8)
    )


def drawn(path: Path, colour: str) -> int:
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(picture - [round(255 * c) for c in to_rgb(colour)]) < 4).all(axis=-1).sum())


def test_three_sections_of_three_phases_at_one_scale(tmp_path: Path) -> None:
    exemplar, volume = labels(30, 24, phases=3), labels(24, 24, 24, phases=3)
    sections = {n: volume.take(12, axis=i) for i, n in enumerate("zyx")}
    plot_side_by_side(
        tmp_path / "f.png", Column("exemplar", {"image": exemplar}), [Column("a", sections), Column("b", sections)], CURVES,
        phases=["pore", "grain", "clay"], phase=1, voxel_size_um=0.5,
    )  # fmt: skip
    found = np.array([drawn(tmp_path / "f.png", colour) for colour in phase_colours(3, 1)])
    shown = [exemplar[:24, :24], *2 * list(sections.values())]
    wanted = sum(np.bincount(image.ravel(), minlength=3) for image in shown)
    np.testing.assert_allclose(found / found.sum(), wanted / wanted.sum(), atol=0.01)
    assert all(drawn(tmp_path / "f.png", colour) > 100 for colour in ("black", *COLOURS[:2])), "frames and lines"


def test_a_rendering_takes_the_place_of_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvista")
    monkeypatch.setattr("mcrgen.plotting.side_by_side._PIXELS", 200)
    volume = labels(9, 10, 11, phases=2)
    scene = Scene(volume, (9, 10, 11), (0, 255), 1, all_phases=False, smooth=False)
    section = {"normal to z": volume[4]}
    curves = {"s2": Curves([0.4, 0.2], {"a": [0.4, 0.25]})}
    exemplar = Column("exemplar", {"image": labels(16, 16, phases=2)})
    heights, inks = [], []
    for candidate in (Column("a", section, scene), Column("a", section)):
        path = tmp_path / "f.png"
        plot_side_by_side(path, exemplar, [candidate], curves, phases=["a", "b"], phase=1, voxel_size_um=None)
        with Image.open(path) as image:
            picture = np.asarray(image.convert("L"))
        heights.append(picture.shape[0])
        inks.append((picture < 250).sum())
    assert heights[0] > 1.4 * heights[1]
    assert inks[0] - inks[1] > 0.5 * (0.25 * picture.shape[1]) ** 2, "a cube, half full"
