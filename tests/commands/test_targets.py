from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_reconstruction import tiny_reconstruction
from torch import Tensor

import mcrgen
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands._statistics import Statistics, read_statistics
from mcrgen.commands._targets import Goal, goal_of_images, goal_of_table
from mcrgen.data.examples import gaussian_level_cut

LIMIT = 3
EVERY = "descriptors.names=[s2,lineal_path,variation]"
ONE_LEVEL = "descriptors.multigrid=false"


@pytest.fixture(scope="module")
def volume() -> NDArray[np.uint8]:
    """Longer features along x than along y and z."""
    return np.repeat(gaussian_level_cut((10, 11, 7), (0.6, 0.4), 1.0, seed=1), 2, axis=2)


@pytest.fixture(scope="module")
def folder(volume: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume, and what characterize writes of it."""
    path = tmp_path_factory.mktemp("volume")
    np.save(path / "volume.npy", volume)
    mcrgen.characterize(
        mcrgen.CharacterizeConfig(
            medium=path / "volume.npy", output=path / "c", max_lag=5, descriptors=("s2", "lineal-path"), voxel_size_um=0.5
        )
    )
    return path


def options(*overrides: str, size: tuple[int, ...] = (8, 8, 8), source: Path | str = "") -> ReconstructConfig:
    image = [f"data.image={source}"] if source else []
    return tiny_reconstruction([Path("out.tif")], size, *image, *overrides)


def of_images(config: ReconstructConfig) -> Goal:
    return goal_of_images(config, read_exemplars(config.data))


def of_table(config: ReconstructConfig, path: Path) -> Goal:
    return goal_of_table(config, read_statistics(path, None))


def pairs(labels: NDArray[np.generic], axis: int, lag: int) -> float:
    """S2 counted pair by pair."""
    lines = np.moveaxis(labels, axis, -1).astype(float)
    return float((lines[..., : lines.shape[-1] - lag] * lines[..., lag:]).mean())


def segments(labels: NDArray[np.uint8], axis: int, lag: int) -> float:
    """Lineal path counted segment by segment."""
    lines = np.moveaxis(labels, axis, -1)
    starts = range(lines.shape[-1] - lag)
    return float(np.mean([lines[..., s : s + lag + 1].all(axis=-1) for s in starts]))


def along_axes(part: Tensor) -> NDArray[np.float64]:
    """The curves along rows and columns of an S2 map."""
    centre = part.shape[-1] // 2
    return np.stack([part[0, centre:, centre].numpy(), part[0, centre, centre:].numpy()])


def test_tables_and_images_agree(volume: NDArray[np.uint8], folder: Path) -> None:
    image = of_images(options(EVERY, ONE_LEVEL, source=folder / "volume.npy"))
    table = of_table(options(EVERY), folder / "c" / "characterization.json")
    assert table.fractions == pytest.approx(image.fractions)
    assert (table.phase, table.channels) == (image.phase, image.channels) == (1, 1)
    assert table.voxel_size_um == 0.5
    for normal in range(3):
        axes = [axis for axis in range(3) if axis != normal]
        s2 = [[pairs(volume, axis, lag) for lag in range(LIMIT)] for axis in axes]
        path = [[segments(volume, axis, lag) for lag in range(LIMIT)] for axis in axes]
        faces = sum(float((np.diff(volume.astype(int), axis=axis) != 0).mean()) for axis in axes)
        np.testing.assert_allclose(along_axes(image.targets["s2"][0][normal].parts[0]), s2, atol=1e-5)
        np.testing.assert_allclose(table.targets["s2"][0][normal].parts[0][0], s2, atol=1e-6)
        for goal in (image, table):
            np.testing.assert_allclose(goal.targets["lineal_path"][0][normal].parts[0][0], path, atol=1e-6)
            assert float(goal.targets["variation"][0][normal].parts[0]) == pytest.approx(faces, rel=1e-5)


def test_units_of_a_table_are_those_of_a_medium_without_structure(folder: Path) -> None:
    goal = of_table(options(EVERY, "descriptors.limit=5"), folder / "c" / "characterization.json")
    f = goal.fractions[1]
    plain = (np.random.default_rng(0).random((1500, 1500)) < f).astype(np.uint8)
    expected = {
        "s2": [[pairs(plain, axis, lag) for lag in range(5)] for axis in (0, 1)],
        "lineal_path": [[segments(plain, axis, lag) for lag in range(5)] for axis in (0, 1)],
        "variation": [sum((np.diff(plain.astype(int), axis=axis) != 0).mean() for axis in (0, 1))],
    }
    for name, values in expected.items():
        target = goal.targets[name][0][2]
        distance = (target.parts[0][0].numpy() - np.array(values)) ** 2
        assert float(target.units[0]) == pytest.approx(distance.sum(), rel=0.05)


def stripes(period: int) -> Statistics:
    """Of layers across x, half of them: S2 falls from 1/2 to 0 in half a period and rises again."""
    lags = np.arange(12)
    along = (np.abs(lags % period - period / 2) / period).tolist()
    flat = [0.5] * len(lags)
    curves = {"z": flat, "y": flat, "x": along, "mean": flat}
    return Statistics(Path("t.json"), 0.5, {"s2": curves}, {"z": 0.0, "y": 0.0, "x": 2 / period})


def test_coarse_levels_of_a_table_are_those_of_every_second_and_fourth_voxel() -> None:
    """Every second voxel of layers has half their period."""
    config = options("descriptors.names=[s2,variation]", "descriptors.limit=2", size=(16, 16, 16))
    goal = goal_of_table(config, stripes(8))
    for level, period in enumerate((8, 4, 2)):
        alone = goal_of_table(replace(config, optimization=replace(config.optimization, levels=1)), stripes(period))
        for name in ("s2", "variation"):
            for normal in range(3):
                ours, wanted = goal.targets[name][level][normal], alone.targets[name][0][normal]
                torch.testing.assert_close(ours.parts, wanted.parts)
                torch.testing.assert_close(ours.units, wanted.units)


def test_levels_of_a_table_fit_the_medium_and_its_lags() -> None:
    def levels(*overrides: str, size: tuple[int, ...]) -> int:
        goal = goal_of_table(options("descriptors.names=[s2]", *overrides, size=size), stripes(4))
        return len(goal.targets["s2"])

    assert levels(size=(24, 24)) == 3  # 6 is twice the limit, and a lag of 8 is there
    assert levels(size=(48, 48)) == 3  # one of 16 is not
    assert levels(size=(24, 12)) == 2
    assert levels("optimization.levels=2", size=(24, 24)) == 2
    known_by_its_surface = replace(stripes(4), curves={"lineal_path": stripes(4).curves["s2"]})
    config = options("descriptors.names=[lineal_path,variation]", size=(24, 24))
    assert len(goal_of_table(config, known_by_its_surface).targets["variation"]) == 1


def test_tables_in_json_and_csv_agree(folder: Path) -> None:
    one, other = (of_table(options("descriptors.names=[s2]"), folder / "c" / n) for n in ("characterization.json", "s2.csv"))
    for normal in range(3):
        np.testing.assert_allclose(one.targets["s2"][0][normal].parts[0], other.targets["s2"][0][normal].parts[0], atol=1e-7)
    assert one.channel_fractions == pytest.approx(other.channel_fractions)


def test_a_curve_without_an_axis_is_that_of_all_axes(tmp_path: Path) -> None:
    (tmp_path / "s2.csv").write_text("lag,mean\n0,0.25\n1,0.2\n2,0.1\n3,0.0625\n")
    for size in ((8, 8, 8), (8, 10)):
        goal = of_table(options("descriptors.names=[s2]", size=size), tmp_path / "s2.csv")
        assert sorted(goal.targets["s2"][0]) == list(range(3 if len(size) == 3 else 1))
        for target in goal.targets["s2"][0].values():
            np.testing.assert_allclose(target.parts[0], [[[0.25, 0.2, 0.1]] * 2])
    assert goal.fractions == (0.75, 0.25)


def test_a_table_of_the_first_phase(folder: Path) -> None:
    data = json.loads((folder / "c" / "characterization.json").read_text())
    other = folder / "first.json"
    other.write_text(json.dumps(data | {"phase": data["medium"]["values"][0]}))
    goal = of_table(options("descriptors.names=[s2]"), other)
    assert goal.phase == 0
    assert goal.fractions[0] == pytest.approx(data["phase_fraction"])
    assert goal.channel_fractions == (goal.fractions[0],)


@pytest.mark.parametrize("name", ["s2", "s3", "lineal_path", "variation"])
def test_a_coarse_level_is_the_goal_of_the_coarsened_image(image: Path, name: str) -> None:
    """48 x 40 pixels; limit 3 leaves three levels, and pixels become the means of squares of 2 and 4."""
    config = options(f"descriptors.names=[{name}]", ONE_LEVEL, "data.symmetry=none", size=(24, 24), source=image)
    goal = of_images(config)
    assert len(goal.targets[name]) == (3 if name != "variation" else 4)
    (labels,) = read_exemplars(config.data).media
    for level in range(3):
        n = 2**level
        coarse = labels.reshape(48 // n, n, 40 // n, n).mean(axis=(1, 3))
        part = goal.targets[name][level][0].parts[0]
        if name == "s2":
            wanted = [[pairs(coarse, axis, lag) for lag in range(LIMIT)] for axis in (0, 1)]
            np.testing.assert_allclose(along_axes(part), wanted, atol=1e-5)
        elif name == "lineal_path":
            for axis in (0, 1):
                lines = np.moveaxis(coarse, axis, -1)
                wanted = [
                    np.mean([lines[..., s : s + lag + 1].prod(axis=-1) for s in range(lines.shape[-1] - lag)])
                    for lag in range(LIMIT)
                ]
                np.testing.assert_allclose(part[0, axis], wanted, atol=1e-6)
        elif name == "variation":
            assert float(part) == pytest.approx(sum(np.abs(np.diff(coarse, axis=axis)).mean() for axis in (0, 1)), rel=1e-5)
        else:
            assert float(part.max()) == pytest.approx((coarse**3).mean(), rel=1e-5)  # all three points in one place


def test_levels_fit_the_medium_and_the_image(image: Path) -> None:
    def levels(*overrides: str, size: tuple[int, ...]) -> int:
        return len(of_images(options("descriptors.names=[s2]", *overrides, size=size, source=image)).targets["s2"])

    assert levels(size=(48, 24)) == 3  # 24 halved twice is twice the limit
    assert levels("optimization.levels=2", size=(48, 24)) == 2
    assert levels(size=(44, 24)) == 3
    assert levels(size=(44, 22)) == 2  # 11 cannot be halved
    assert levels(size=(7, 24)) == 1
    assert levels(size=(96, 96)) == 3  # the 40 pixels of the image are 5 after three halvings


def test_an_image_of_two_section_normals_serves_a_flat_medium(tmp_path: Path) -> None:
    rows, columns = np.zeros((12, 14), np.uint8), np.zeros((12, 14), np.uint8)
    rows[::3], columns[:, ::2] = 1, 1
    for axis, labels in (("y", rows), ("x", columns)):
        np.save(tmp_path / f"{axis}.npy", labels)
    files = [f"data.images_{axis}=[{tmp_path / axis}.npy]" for axis in "yx"]
    goal = of_images(options("descriptors.names=[s2]", ONE_LEVEL, "data.symmetry=none", *files, size=(8, 8)))
    assert list(goal.targets["s2"][0]) == [0]
    wanted = [[pairs(rows, axis, lag) for lag in range(LIMIT)] for axis in (0, 1)]
    np.testing.assert_allclose(along_axes(goal.targets["s2"][0][0].parts[0]), wanted, atol=1e-5)


@pytest.mark.parametrize("sizes", [((24, 24), (24, 24)), ((48, 48), (20, 22))])
def test_goals_between_two(tmp_path: Path, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Of images of two sizes the levels of both count."""
    goals = []
    for number, size in enumerate(sizes):
        np.save(
            tmp_path / f"{number}.npy", gaussian_level_cut(size, (0.7 - 0.3 * number, 0.3 + 0.3 * number), 1.0, seed=number)
        )
        goals.append(of_images(options(EVERY, size=(24, 24), source=tmp_path / f"{number}.npy")))
    first, second = goals
    common = min(len(g.targets["s2"]) for g in goals)
    for share, expected in ((0.0, (1.0, 0.0)), (1.0, (0.0, 1.0)), (0.25, (0.75, 0.25))):
        between = first.towards(second, share)
        a, b = expected
        assert between.fractions == pytest.approx(
            [a * x + b * y for x, y in zip(first.fractions, second.fractions, strict=True)]
        )
        assert len(between.targets["s2"]) == common
        for name in between.targets:
            for level in range(common):
                ours, mine, other = (g.targets[name][level][0] for g in (between, first, second))
                for kind in ("parts", "units"):
                    assert len(getattr(ours, kind)) == min(len(getattr(mine, kind)), len(getattr(other, kind)))
                    for x, y, z in zip(*(getattr(t, kind) for t in (ours, mine, other)), strict=False):
                        torch.testing.assert_close(x, a * y + b * z)


@pytest.mark.parametrize(("size", "wraps"), [((16, 16), True), ((16, 16), False), ((8, 8, 8), True)])
def test_a_board_that_wraps_around_has_the_correlations_of_an_endless_one(
    tmp_path: Path, size: tuple[int, ...], wraps: bool
) -> None:
    """Squares of 4: along an axis S2 and lineal path fall from 1/2 to 0 at lag 4."""
    np.save(tmp_path / "board.npy", (np.indices((16, 16)) // 4).sum(axis=0).astype(np.uint8) % 2)
    board = options(
        EVERY, ONE_LEVEL, f"exemplar_periodic={wraps}", "descriptors.limit=4", size=size, source=tmp_path / "board.npy"
    )
    goal = of_images(board)
    lags = np.arange(4)
    for normal in range(1 if len(size) == 2 else 3):
        curves = along_axes(goal.targets["s2"][0][normal].parts[0]), goal.targets["lineal_path"][0][normal].parts[0][0].numpy()
        for found, wanted in zip(curves, (0.5 - lags / 8, 0.5 - lags / 8), strict=True):
            assert np.allclose(found, np.stack([wanted] * 2), atol=1e-6) == wraps
        variation = float(goal.targets["variation"][0][normal].parts[0])
        assert variation == pytest.approx(2 / 4 if wraps else 2 * 3 / 15)
