from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mcrgen.plotting.characterization import plot_curves, plot_map, plot_minkowski, plot_pores
from mcrgen.plotting.curves import Line, plot_curve
from mcrgen.plotting.names import CURVE_NAMES
from mcrgen.plotting.representative_size import plot_representative_size


def test_lines_band_and_units() -> None:
    axes = Figure().subplots()
    lines = [Line([0.4, 0.2, 0.1], "reference", "black"), Line([0.5, 0.3, 0.2], "a", "red", [[0.5, 0.2, 0.1], [0.5, 0.4, 0.3]])]
    plot_curve(axes, "s2", lines, band={"low": [0.3, 0.1, 0.0], "high": [0.6, 0.4, 9.0]}, window=20, voxel_size_um=2.0)
    assert [line.get_label() for line in axes.lines] == ["reference", "a"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.0, 2.0, 4.0])
    assert len(axes.collections) == 2
    assert axes.get_xlabel() == "lag $r$ (µm)"
    assert axes.get_xlim() == (0.0, 4.0)
    assert axes.get_ylim()[1] < 0.6, "a wide band does not flatten the curves"
    assert axes.get_title() == CURVE_NAMES["s2"]


def test_curves_that_die_out_are_cut() -> None:
    axes = Figure().subplots()
    plot_curve(axes, "lineal_path", [Line([0.5, 0.1, 0.001, 0.0, 0.0], None, "black")])
    assert axes.get_xlim() == (0.0, 1.0)


def figure_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


@pytest.mark.parametrize("kind", ["curves", "map", "minkowski", "pores", "size"])
def test_figures_are_drawn(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "f.png"
    if kind == "curves":
        plot_curves(path, {"p4": {"z": [0.3, 0.1]}, "p6": {"z": [0.3, 0.2, 0.1]}}, voxel_size_um=None)
    elif kind == "map":
        plot_map(path, np.random.default_rng(0).random((5, 5, 5)), [0.4, 0.2], voxel_size_um=1.0)
    elif kind == "minkowski":
        plot_minkowski(path, [[d, 0.1 * d, 0.2, "", -0.1] for d in range(-1, 2)], voxel_size_um=None)
    elif kind == "pores":
        found = {"area_edges": [1, 2, 4], "area_density": [0.5, 0.25], "pores": 4, "elongated": 2}
        plot_pores(path, found | {"orientation_edges": [0, 90, 180], "orientation_density": [0.01, 0.001]}, voxel_size_um=None)
    else:
        size = {"mse": 0.1, "mse_low": 0.05, "mse_high": 0.2, "fraction": 0.4, "fraction_low": 0.3, "fraction_high": 0.5}
        curves = {"f2_low": [1.0, 0.1], "f2_high": [1.0, 0.5]}
        unknown = dict.fromkeys(size) | {
            "fraction": 0.1,
            "fraction_low": 0.0,
            "fraction_high": 0.2,
            "f2_low": [],
            "f2_high": [],
        }
        sizes = [{"size": 8} | unknown, {"size": 16} | size | curves, {"size": 32} | size | curves]
        data = {"sizes": sizes, "tolerance": 0.2, "representative_size": 16, "f2": [1.0, 0.3], "phase_fraction": 0.4}
        plot_representative_size(path, data, voxel_size_um=0.5)
    picture = figure_of(path)
    assert picture.shape[1] > 500
    assert 0.005 < (picture < 200).mean() < 0.7
