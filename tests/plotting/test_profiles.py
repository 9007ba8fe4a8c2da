from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mcrgen.plotting.profiles import plot_profiles


@pytest.mark.parametrize(("edge", "unit"), [(None, "voxels"), (0.5, "µm")])
def test_a_panel_for_each_axis(edge: float | None, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def seen(self: Figure, *args: object, **options: object) -> None:
        drawn.append(self)
        save(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", seen)
    profiles = {"z": ([7.5, 23.5, 36.0], [0.1, 0.2, 0.3], [0.12, 0.19, 0.31]), "x": ([7.5], [0.2], [0.21])}
    plot_profiles(tmp_path / "p.png", profiles, voxel_size_um=edge)
    with Image.open(tmp_path / "p.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    panels = drawn[0].axes
    assert [axes.get_xlabel() for axes in panels] == [f"z ({unit})", f"x ({unit})"]
    for axes, (positions, requested, achieved) in zip(panels, profiles.values(), strict=True):
        lines = {str(line.get_label()): line for line in axes.lines}
        for name, values in (("requested", requested), ("achieved", achieved)):
            np.testing.assert_allclose(lines[name].get_xdata(), np.array(positions) * (edge or 1.0))
            np.testing.assert_array_equal(lines[name].get_ydata(), values)
