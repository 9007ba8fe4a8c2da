from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mcrgen.plotting.slices import common_window, plot_slices


def test_images_side_by_side_have_one_scale(tmp_path: Path) -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2
    large = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((16, 16)))  # 128 x 128, first 64 x 64 shown
    assert common_window([checkers, large]) == 64
    plot_slices(tmp_path / "p.png", {"a": checkers, "b": large}, title="t")
    grey = np.asarray(Image.open(tmp_path / "p.png").convert("L"))
    right = grey[:, grey.shape[1] // 2 :]
    row = right[right.shape[0] * 2 // 3]
    inside = row[np.flatnonzero(row < 30)[0] : np.flatnonzero(row < 30)[-1]]
    changes = np.abs(np.diff((inside > 128).astype(int))).sum()
    assert 3 <= changes <= 6  # four squares of 16 pixels across the 64 shown, frame included
