from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tiny import tiny_config

import mcrgen
from mcrgen.data.examples import gaussian_level_cut


@pytest.fixture(scope="session")
def two_phases() -> NDArray[np.uint8]:
    return gaussian_level_cut((48, 40), (0.7, 0.3), 1.5, seed=3)


@pytest.fixture(scope="session")
def image(two_phases: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-phase image with labels 0 and 255."""
    path = tmp_path_factory.mktemp("image") / "medium.tif"
    tifffile.imwrite(path, two_phases * np.uint8(255))
    return path


@pytest.fixture(scope="session")
def image3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A three-phase image with labels 1, 5 and 9."""
    path = tmp_path_factory.mktemp("image3") / "medium.npy"
    np.save(path, np.array([1, 5, 9], np.int32)[gaussian_level_cut((40, 44), (0.5, 0.3, 0.2), 1.5, seed=4)])
    return path


@pytest.fixture(scope="session")
def checkpoint(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained two-phase generator."""
    return mcrgen.train(tiny_config(image, tmp_path_factory.mktemp("run") / "two")).checkpoint


@pytest.fixture(scope="session")
def checkpoint3(image3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained three-phase generator."""
    return mcrgen.train(tiny_config(image3, tmp_path_factory.mktemp("run") / "three")).checkpoint
