"""The limit of the correlations where none is given: what is usual, as far as there is room for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_reconstruction import ANNEALED, CURVES, read, record, tiny_reconstruction
from tiny_reconstruction import run as run_limited

from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands._reconstruct_sources import read_sources
from mcrgen.commands.reconstruct import ReconstructResult, working_folder
from mcrgen.config import load, recipe, to_plain
from mcrgen.errors import InputError

FREE = "descriptors.limit=null"


def checkered(path: Path, *shape: int) -> Path:
    np.save(path, (np.indices(shape).sum(axis=0) // 2 % 2).astype(np.uint8))
    return path


def table(path: Path, lags: int) -> Path:
    """S2 of independent voxels, half of them of the phase."""
    path.write_text("lag,mean\n" + "".join(f"{lag},{0.25 if lag else 0.5}\n" for lag in range(lags)))
    return path


def settled(paths: list[Path], size: tuple[int, ...], *overrides: str) -> list[int]:
    """For each source."""
    configs, _ = read_sources(tiny_reconstruction(paths, size, FREE, *overrides))
    return [config.descriptors.lags for config in configs]


def run(paths: list[Path], size: tuple[int, ...], *overrides: str) -> ReconstructResult:
    short = ["optimization.max_steps=1", "optimization.coarse_steps=1"]
    return run_limited(paths, size, *([] if "method=annealing" in overrides else short), FREE, *overrides)


def limits(output: Path) -> tuple[Any, Any]:
    """In the record beside the medium, and in the options that a resumed run is compared with."""
    options = to_plain(load(ReconstructConfig, working_folder(output) / "config.yaml"))
    return record(output)["config"]["descriptors"]["limit"], options["descriptors"]["limit"]


@pytest.mark.parametrize(
    ("image", "size", "overrides", "expected"),
    [
        ((40, 36), (33, 34), [], 16),  # the usual one
        ((40, 36), (11, 14), [], 5),  # half the medium's shortest edge
        ((40, 36), (12, 14, 10), [], 5),
        ((40, 13), (33, 34), [], 6),  # half the image's
        ((14, 9, 40), (16, 16), [], 4),  # and a volume's
        ((70, 66), (66, 68), ["method=annealing"], 32),
        ((70, 42), (66, 68), ["method=annealing"], 21),
    ],
)
def test_images(tmp_path: Path, image: tuple[int, ...], size: tuple[int, ...], overrides: list[str], expected: int) -> None:
    source = checkered(tmp_path / "image.npy", *image)
    assert settled([source, tmp_path / "medium.npy"], size, CURVES, *overrides) == [expected]


def test_it_is_that_of_the_smallest_of_all_sources(tmp_path: Path) -> None:
    small, large = checkered(tmp_path / "small.npy", 13, 20), checkered(tmp_path / "large.npy", 20, 30)
    for paths in ([small, large], [large, small]):
        assert settled(paths, (18, 20), CURVES, "interpolate=2") == [6, 6]
    assert settled([tmp_path / "medium.npy"], (18, 20), CURVES, f"data.images=[{large},{small}]") == [6]
    outputs = run([large, small], (18, 20), CURVES, "interpolate=2", f"output={tmp_path / 'between'}").outputs
    assert [limits(output) for output in outputs] == [(6, 6), (6, 6)]


@pytest.mark.parametrize(("lags", "edge", "expected"), [(5, 12, 5), (30, 12, 6), (30, 40, 16)])
def test_tables(tmp_path: Path, lags: int, edge: int, expected: int) -> None:
    paths = [table(tmp_path / "s2.csv", lags), tmp_path / "medium.npy"]
    assert settled(paths, (edge, edge + 1), "descriptors.names=[s2,phase-fraction]") == [expected]


@pytest.mark.parametrize("method", [[CURVES], ANNEALED])
def test_the_medium_is_that_of_the_same_limit_given(tmp_path: Path, method: list[str]) -> None:
    """A resumed run may name what was settled, and not another."""
    source = checkered(tmp_path / "image.npy", 14, 17)
    run([source, tmp_path / "free.npy"], (12, 15), *method)
    run([source, tmp_path / "given.npy"], (12, 15), *method, "descriptors.limit=6")
    np.testing.assert_array_equal(read(tmp_path / "free.npy"), read(tmp_path / "given.npy"))
    for again in ([], ["descriptors.limit=6"]):
        run([source, tmp_path / "free.npy"], (12, 15), *method, *again, "resume=true")
        assert limits(tmp_path / "free.npy") == (6, 6)
    with pytest.raises(InputError, match=r"resume: descriptors.limit differs from the run in"):
        run([source, tmp_path / "free.npy"], (12, 15), *method, "descriptors.limit=5", "resume=true")


@pytest.mark.parametrize(
    ("image", "size", "message"),
    [
        (
            (20, 20),
            (3, 20),
            r"^size: expected 4 voxels or more along each edge for correlations, got 3; make the medium larger",
        ),
        ((20, 20), (20, 1, 20), r"^size: expected 4 voxels or more .* got 1"),
        ((20, 3), (20, 20), r"^data.image: expected at least 4 pixels along each edge .* has 20 x 3; use a larger image\.$"),
    ],
)
def test_no_room_for_more_than_the_phase_fraction(
    tmp_path: Path, image: tuple[int, ...], size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run([checkered(tmp_path / "image.npy", *image), tmp_path / "out.npy"], size, CURVES)


def test_a_table_of_lag_zero(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^source: expected 2 lags or more of s2, '.*s2.csv' has 1; measure more of them"):
        run([table(tmp_path / "s2.csv", 1), tmp_path / "out.npy"], (8, 8), "descriptors.names=[s2,phase-fraction]")


@pytest.mark.parametrize("name", ["dmcr_sv", "dmcr_g", "dmcr_sgv", "dmcr_patterns", "dmcr_table", "yeong_torquato"])
def test_recipes_leave_it_to_the_medium(name: str) -> None:
    config = load(ReconstructConfig, recipe(name), ["paths=[a.tif,b.tif]", "size=[24,24,24]"])
    assert config.descriptors.limit is None
