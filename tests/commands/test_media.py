from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from mcrgen.commands import _media
from mcrgen.commands._media import read_sections, read_window
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.io.label_files import LabelFile

VOLUME = gaussian_level_cut((11, 12, 14), (0.6, 0.4), 1.0, 0)


@pytest.fixture
def medium(tmp_path: Path) -> LabelFile:
    np.save(tmp_path / "v.npy", VOLUME)
    return LabelFile(tmp_path / "v.npy", "medium", phase=None, phase_name="phase")


@pytest.mark.parametrize("slab", [1, 3 * 12 * 14, 10**6])
def test_sections_are_planes_of_the_volume(medium: LabelFile, slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_media, "_SLAB_VOXELS", slab)
    found = read_sections(medium, 3)
    assert list(found) == ["z", "y", "x"]
    for axis, (sections, length) in enumerate(zip(found.values(), VOLUME.shape, strict=True)):
        places = [length // 6, length // 2, 5 * length // 6]
        np.testing.assert_array_equal(sections, np.moveaxis(VOLUME, axis, 0)[places])
    assert len(read_sections(medium, 100)["y"]) == 12


def test_windows_and_images(medium: LabelFile, tmp_path: Path) -> None:
    window = (slice(2, 6), slice(1, 8), slice(3, 9))
    np.testing.assert_array_equal(read_window(medium, 1, window), VOLUME[window] == 1)
    tifffile.imwrite(tmp_path / "i.tif", VOLUME[0])
    with LabelFile(tmp_path / "i.tif", "medium", phase=None, phase_name="phase") as image:
        np.testing.assert_array_equal(read_window(image, 0, window[:2]), VOLUME[0][window[:2]] == 0)
        np.testing.assert_array_equal(read_sections(image, 5)["z"], VOLUME[:1])
