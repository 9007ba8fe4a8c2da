"""Running MCRpy from another environment, by a stand-in for its interpreter: a program that notes what it is asked."""

from __future__ import annotations

import itertools
import json
import stat
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mcrgen.errors import InputError
from mcrgen.tasks.reconstruction import ReconstructionTask

PEERS = pytest.mark.parametrize("script", ["_peers"], indirect=True)
STAND_IN = """#!{python}
import json, os, sys
import numpy as np
driver, asked, answered = sys.argv[1:]
request = json.load(open(asked))
image = np.load(request["image"])
json.dump(
    request | {{"driver": driver, "image": image.tolist(), "threads": os.environ["OMP_NUM_THREADS"]}},
    open({notes!r}, "w"),
)
if request["limit"] == 16 and request["depth"]:
    sys.exit(3)
if request["volume"]:
    np.save(request["volume"], np.stack([image] * request["depth"]) if request["depth"] else image)
json.dump(
    {{"direct_seconds": [3.0, 1.0, 8.0], "cpu_seconds": [2.0], "optimiser_seconds": [], "total_seconds": 12.0}},
    open(answered, "w"),
)
"""


@pytest.fixture
def environment(script: ModuleType, tmp_path: Path) -> Path:
    """One that counts as built, for _peers or a script that imports it."""
    peers, folder = getattr(script, "_peers", script), tmp_path / "environment"
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN.format(python=sys.executable, notes=str(tmp_path / "notes.json")))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (folder / "peer.txt").write_text("\n".join((peers.PEER, *peers.REQUIREMENTS)))
    return folder


def notes(environment: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((environment.parent / "notes.json").read_text())
    return found


@PEERS
def test_a_case_is_asked_for_as_it_is_defined(script: ModuleType, environment: Path) -> None:
    options = script.Options(environment=environment, cases=("slice_sv_8",), threads=3, evaluations=5, seed=7)
    found = script.measure_mcrpy(options)["slice_sv_8"]
    asked = notes(environment)
    assert Path(asked["driver"]) == script.DRIVER
    assert (asked["descriptors"], asked["limit"]) == (["Correlations", "Variation"], 8)
    assert (asked["edge"], asked["depth"], asked["volume"]) == (64, 64, None)
    assert (asked["threads"], asked["evaluations"], asked["seed"], asked["seconds"]) == ("3", 5, 7, None)
    assert np.mean(asked["image"]) == pytest.approx(0.4, abs=1e-3)
    assert (found["direct_median"], found["direct_minimum"], found["cpu_median"]) == (3.0, 1.0, 2.0)
    assert "optimiser_median" not in found
    assert "medium" not in found


@PEERS
def test_a_reconstruction_comes_back_as_a_file(script: ModuleType, environment: Path, tmp_path: Path) -> None:
    image = (np.random.default_rng(0).random((12, 12)) < 0.5).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    options = script.Options(
        environment=environment, cases=("slice_sv_8", "board_s"), image=tmp_path / "image.npy", seconds=2.0, multigrid=True,
        output=tmp_path / "media",
    )  # fmt: skip
    found = script.measure_mcrpy(options)
    np.testing.assert_array_equal(np.load(found["slice_sv_8"]["medium"]), np.stack([image] * 12))
    assert Path(found["board_s"]["medium"]) == tmp_path / "media" / "board_s.npy"
    assert (notes(environment)["seconds"], notes(environment)["multigrid"], notes(environment)["depth"]) == (2.0, True, None)


@PEERS
def test_a_peer_that_fails_is_told(script: ModuleType, environment: Path) -> None:
    with pytest.raises(InputError, match=r"cases: MCRpy failed on slice_sv_16 \(see above\)"):
        script.measure_mcrpy(script.Options(environment=environment, cases=("slice_sv_16",)))


@PEERS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": ("board",)}, r"cases: expected some of board_s, .*, got 'board'; perhaps 'board_s' is meant"),
        ({"evaluations": 0}, r"evaluations: expected a number greater than 0"),
        ({"seconds": -1.0}, r"seconds: expected a number greater than 0"),
        ({"seed": -1}, r"seed: expected 0 or more"),
        ({"image": "long.npy"}, r"image: expected a square image, got the shape \(12, 14\)"),
    ],
)
def test_bad_input_starts_nothing(
    script: ModuleType, environment: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    np.save(tmp_path / "long.npy", (np.indices((12, 14)).sum(axis=0) % 2).astype(np.uint8))
    changes |= {"image": tmp_path / changes["image"]} if "image" in changes else {}
    with pytest.raises(InputError, match=message):
        script.measure_mcrpy(script.Options(environment=environment, **changes))
    assert not (tmp_path / "notes.json").exists()


@PEERS
def test_an_environment_of_other_versions_is_built_anew(
    script: ModuleType, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.shutil, "which", lambda name: None)
    (environment / "pyvenv.cfg").touch()
    assert script.peer_python(environment) == environment / "bin" / "python"
    (environment / "peer.txt").write_text("mcrpy==0.1.0")
    with pytest.raises(InputError, match=r"environment: mcrpy==0.2.0 needs an interpreter python3.11, found none"):
        script.peer_python(environment)
    (environment / "pyvenv.cfg").unlink()
    with pytest.raises(InputError, match=r"environment: expected a virtual environment or no such folder, '.*' is neither"):
        script.peer_python(environment)


def s2_map(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """S2 of finite windows at all lags below 16, counted pair by pair."""
    found = np.zeros((31, 31))
    for dy, dx in itertools.product(range(16), range(-15, 16)):
        here, there = image[dy:, max(0, dx) :], image[: len(image) - dy, max(0, -dx) :]
        width = image.shape[1] - abs(dx)
        found[15 + dy, 15 + dx] = found[15 - dy, 15 - dx] = (here[:, :width] * there[:, :width]).mean()
    return found


BENCHMARK = pytest.mark.parametrize("script", ["benchmark_reconstruction"], indirect=True)


@BENCHMARK
def test_the_race_judges_all_alike(
    script: ModuleType,
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The peer stacks the image, mcrgen here its negative."""
    image = (np.random.default_rng(0).random((32, 32)) < 0.3).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    monkeypatch.setattr(script, "ours_within", lambda path, seconds, *rest: (np.stack([1 - np.load(path)] * 32), seconds))
    options = script.Options(peers=True, environment=environment, image=tmp_path / "image.npy", seconds=5.0)
    script.measure_race(options)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(("| mcrgen", "| MCRpy"))]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[0] for row in rows] == ["mcrgen, S3 + V", "mcrgen, dmcr_sv", "MCRpy 0.2.0", "MCRpy 0.2.0, multigrid"]
    assert notes(environment)["multigrid"] is True
    for row, medium in zip(rows, [np.stack([1 - image] * 32)] * 2 + [np.stack([image] * 32)] * 2, strict=True):
        sections = [medium.take(place, axis) for axis in range(3) for place in range(32)]
        found, wanted = np.mean([s2_map(section) for section in sections], axis=0), s2_map(image)
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert float(row[2].rstrip("%")) / 100 == pytest.approx(error, abs=1e-4)
        three, squared = (float(cell.rstrip("%")) / 100 for cell in row[3:5])
        assert squared == pytest.approx(three**2, rel=0.01)
        assert row[1] == ("5 s" if "mcrgen" in row[0] else "12 s")
        assert row[5] == f"{medium.mean():.4f} of {image.mean():.4f}"


@BENCHMARK
def test_our_runner_uses_its_time(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are made slow; those of the coarser levels and of measuring count too."""
    monkeypatch.setitem(script.OURS, "slice_sv_8", ((12, 12, 12), 3, ("s2",)))
    np.save(tmp_path / "image.npy", (np.random.default_rng(0).random((24, 24)) < 0.4).astype(np.uint8))
    evaluate, levels = ReconstructionTask.training_step, list[int]()

    def slow(self: Any, *batch: int) -> None:
        levels.append(self.level)
        time.sleep(0.05)
        evaluate(self, *batch)

    monkeypatch.setattr(ReconstructionTask, "training_step", slow)
    few = "optimization.coarse_steps=3"
    medium, seconds = script.ours_within(tmp_path / "image.npy", 2.0, tmp_path, few)
    assert medium.shape == (12, 12, 12)
    assert 2.0 <= seconds < 3.5
    assert levels[:4] == [1, 1, 1, 0]
    medium, _ = script.ours_within(tmp_path / "image.npy", 0.01, tmp_path, few)
    assert medium.shape == (12, 12, 12)  # not of the coarse level
