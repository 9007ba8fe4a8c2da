from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from numpy.typing import NDArray
from tiny_reconstruction import ANNEALED, tiny_reconstruction

import mcrgen
from mcrgen.commands import _annealing
from mcrgen.commands._annealing import AnnealingGoal, anneal, annealing_goal
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands._statistics import read_statistics
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.polytopes import polytope_function
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError, StoppedError

LIMIT = 3


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "volume.npy"
    np.save(path, np.repeat(gaussian_level_cut((10, 11, 7), (0.5, 0.3, 0.2), 1.0, seed=1), 2, axis=2))
    return path


def options(*overrides: str, source: Path, size: tuple[int, ...] = (8, 8, 8)) -> ReconstructConfig:
    return tiny_reconstruction([Path("out.tif")], size, *ANNEALED, f"data.image={source}", *overrides)


def goal(config: ReconstructConfig) -> AnnealingGoal:
    return annealing_goal(config, read_exemplars(config.data))


def one_hot(labels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == phase for phase in range(3)]).astype(np.float64))[None]


def test_sections_of_a_volume_have_its_own_descriptors(volume: Path) -> None:
    found = goal(options("descriptors.names=[s2,s2_diagonal,lineal_path,p3h,p3v,p4,p6]", source=volume))
    labels = np.load(volume)
    media = one_hot(labels)
    assert found.phases == (0, 1, 2)
    assert found.fractions == pytest.approx(np.bincount(labels.ravel()) / labels.size)
    for name, curve in (("s2", two_point_correlation), ("lineal_path", lineal_path)):
        wanted = torch.stack([curve(media, LIMIT - 1, axis)[0] for axis in range(3)], dim=1)
        np.testing.assert_allclose(found.targets[name], wanted, atol=1e-6)
    for name in ("p3h", "p3v", "p4", "p6"):
        lags = found.targets[name].shape[-1]
        np.testing.assert_allclose(found.targets[name], polytope_function(media, name, lags - 1)[0], atol=1e-6)
    number = 0
    for first, second in itertools.combinations(range(3), 2):
        for sign in (1, -1):
            for lag in range(LIMIT):
                a, b = np.moveaxis(labels, (first, second), (0, 1)), np.moveaxis(labels, (first, second), (0, 1))
                a = a[: len(a) - lag]
                b = b[lag:]
                width = a.shape[1] - lag
                a, b = (a[:, :width], b[:, lag:]) if sign > 0 else (a[:, lag:], b[:, :width])
                for phase in range(3):
                    wanted_pairs = ((a == phase) & (b == phase)).mean()
                    assert found.targets["s2_diagonal"][phase, number, lag] == pytest.approx(wanted_pairs, abs=1e-6)
            number += 1


def test_sections_of_several_sizes_have_the_lags_that_all_of_them_have(tmp_path: Path) -> None:
    for axis, size in (("z", (20, 20)), ("y", (9, 12))):
        np.save(tmp_path / f"{axis}.npy", gaussian_level_cut(size, (0.5, 0.5), 1.0, seed=2))
    files = [f"data.images_{axis}=[{tmp_path / axis}.npy]" for axis in "zy"]
    config = tiny_reconstruction(
        [Path("o.tif")], (16, 16, 16), *ANNEALED, *files, "descriptors.names=[p4,p6]", "descriptors.limit=8"
    )
    found = goal(config)
    assert found.targets["p4"].shape == (1, 3, 8)
    assert found.targets["p6"].shape[:2] == (1, 3)
    assert found.targets["p6"].shape[2] < 8


def test_goals_between_two(tmp_path: Path) -> None:
    goals = []
    for number, size in enumerate(((20, 20), (9, 12))):
        np.save(
            tmp_path / f"{number}.npy", gaussian_level_cut(size, (0.7 - 0.3 * number, 0.3 + 0.3 * number), 1.0, seed=number)
        )
        names = ("descriptors.names=[s2,p6]", "descriptors.limit=4" if number else "descriptors.limit=8")
        goals.append(goal(options(*names, source=tmp_path / f"{number}.npy", size=(16, 16))))
    first, second = goals
    for share in (0.0, 0.25, 1.0):
        between = first.towards(second, share)
        assert sum(between.fractions) == pytest.approx(1.0)
        assert between.targets["s2"].shape == (1, 2, 4)
        for name, values in between.targets.items():
            lags = values.shape[-1]
            expected = (1 - share) * first.targets[name][..., :lags] + share * second.targets[name][..., :lags]
            np.testing.assert_allclose(values, expected)


def test_a_table_gives_its_axes_in_order(volume: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", (np.load(volume) == 2).astype(np.uint8))
    settings: dict[str, Any] = {"max_lag": 5, "descriptors": ("s2", "lineal-path")}
    mcrgen.characterize(mcrgen.CharacterizeConfig(medium=tmp_path / "two.npy", output=tmp_path / "c", **settings))
    config = options(source=tmp_path / "two.npy")
    table = annealing_goal(config, read_statistics(tmp_path / "c" / "characterization.json", None))
    image = goal(config)
    assert table.fractions == pytest.approx(image.fractions)
    assert table.phases == image.phases == (1,)
    for name in ("s2", "lineal_path"):
        np.testing.assert_allclose(table.targets[name], image.targets[name], atol=1e-6)


@pytest.mark.parametrize(("size", "names"), [((9, 12), "[s2,s2_map,lineal_path]"), ((8, 7, 9), "[s2,s2_diagonal,p3h]")])
def test_energy_falls_fractions_stay_and_errors_are_those_of_the_medium(
    volume: Path, tmp_path: Path, size: tuple[int, ...], names: str
) -> None:
    config = options(f"descriptors.names={names}", source=volume, size=size)
    wanted = goal(config)
    made = anneal(config, wanted, 0, tmp_path, title="t")
    assert made.loss < 0.7 * made.course.terms["loss"][0]
    assert made.labels.shape == size
    counts = np.bincount(made.labels.ravel(), minlength=3)
    assert np.abs(counts - np.array(wanted.fractions) * made.labels.size).max() < 1.0
    media = one_hot(made.labels)
    axes = range(len(size))
    s2 = torch.stack([two_point_correlation(media, LIMIT - 1, axis, periodic=True)[0] for axis in axes], dim=1).numpy()
    distance = np.linalg.norm(s2 - wanted.targets["s2"]) / np.linalg.norm(wanted.targets["s2"])
    assert made.errors["s2"]["mean"] == pytest.approx(distance, rel=1e-6)
    assert made.errors["phase_fractions"]["found"] == pytest.approx(counts / counts.sum())


def test_each_run_is_one_of_its_own_at_wandb(volume: Path, tmp_path: Path) -> None:
    config = options("logging.wandb=offline", source=volume)
    wanted = goal(config)
    for seed in (0, 1):
        anneal(config, wanted, seed, tmp_path / str(seed), title="t")
        assert wandb.run is None
        assert len(list((tmp_path / str(seed) / "wandb").glob("offline-run-*/*.wandb"))) == 1
        rows = (tmp_path / str(seed) / "log" / "version_0" / "metrics.csv").read_text().splitlines()
        assert len(rows) > 1


def test_a_start_that_will_do_is_left_alone(volume: Path, tmp_path: Path) -> None:
    config = options("annealing.tolerance=100", source=volume)
    made = anneal(config, goal(config), 0, tmp_path, title="t")
    assert made.steps == 0
    assert made.course.steps == [0]
    assert list(made.course.pictures) == [0]


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_run_goes_on_where_it_was(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    from mcrgen.reconstruction.annealing import Annealing

    monkeypatch.setattr(_annealing, "_CHUNK", 1500)
    config = options(source=volume)
    whole = anneal(config, goal(config), 0, tmp_path / "whole", title="t")
    assert len(whole.course.steps) > 4

    calls, run = [0], Annealing.run

    def interrupted(self: Annealing, swaps: int) -> Any:
        calls[0] += 1
        if calls[0] > stop:
            raise KeyboardInterrupt
        return run(self, swaps)

    monkeypatch.setattr(Annealing, "run", interrupted)
    with pytest.raises(StoppedError, match="go on with the same command and --resume"):
        anneal(config, goal(config), 0, tmp_path / "part", title="t")
    monkeypatch.setattr(Annealing, "run", run)
    again = anneal(config, goal(config), 0, tmp_path / "part", title="t")
    np.testing.assert_array_equal(again.labels, whole.labels)
    assert (again.loss, again.steps, again.why, again.errors) == (whole.loss, whole.steps, whole.why, whole.errors)
    assert again.course.steps == whole.course.steps
    assert again.course.terms == whole.course.terms
    assert again.course.pictures.keys() == whole.course.pictures.keys()


def test_targets_that_no_medium_has_are_refused(tmp_path: Path) -> None:
    """A checkerboard has no two neighbours of one phase, and a limit of 2 sees no more than these."""
    labels = (np.indices((12, 12)).sum(axis=0) % 2).astype(np.uint8)
    np.save(tmp_path / "board.npy", labels)
    config = options("descriptors.limit=2", source=tmp_path / "board.npy", size=(10, 10))
    wanted = goal(config)
    np.testing.assert_allclose(wanted.targets["s2"][0], [[0.5, 0.0]] * 2, atol=1e-9)
    broken = AnnealingGoal({"s2": np.zeros((1, 2, 2))}, wanted.fractions, 1, None)
    with pytest.raises(InputError, match="expected values of s2 above 0"):
        anneal(config, broken, 0, tmp_path, title="t")
