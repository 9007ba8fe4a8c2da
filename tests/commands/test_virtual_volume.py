from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcrgen
from mcrgen.errors import InputError

SIZE = (20, 23, 26)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("v") / "v.npy"
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=path, size=SIZE, seed=3, device="cpu"))
    volume: np.ndarray = np.load(path)
    return volume


@pytest.fixture
def virtual(checkpoint: Path) -> mcrgen.VirtualVolume:
    return mcrgen.VirtualVolume(checkpoint, 3, size=SIZE, block_size=8, device="cpu", cached_blocks=5)


def almost(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and int((a != b).sum()) <= 1e-4 * a.size


@pytest.mark.parametrize(
    "index",
    [
        np.s_[:], np.s_[...], np.s_[3:11, 5:6, 0:26], np.s_[7], np.s_[-1, ..., 2:9], np.s_[..., 5], np.s_[4, 5, 6],
        np.s_[2:18:5, ::-3, 7:8], np.s_[5:5], np.s_[:100, 30:], np.s_[np.int64(2), 1:3],
    ],
)  # fmt: skip
def test_indexing_equals_the_written_volume(virtual: mcrgen.VirtualVolume, whole: np.ndarray, index: object) -> None:
    assert almost(virtual[index], whole[index])


def test_it_looks_like_an_array(virtual: mcrgen.VirtualVolume, whole: np.ndarray) -> None:
    assert (virtual.shape, virtual.dtype, virtual.ndim, len(virtual)) == (SIZE, np.uint8, 3, 20)
    assert almost(np.asarray(virtual), whole)
    assert np.asarray(virtual, dtype=np.int32).dtype == np.int32
    assert repr(virtual) == "VirtualVolume(shape=(20, 23, 26), seed=3)"


def test_dask_takes_it(virtual: mcrgen.VirtualVolume, whole: np.ndarray) -> None:
    array = pytest.importorskip("dask.array").from_array(virtual, chunks=10)
    assert array.shape == SIZE
    assert float(array.mean().compute()) == pytest.approx(whole.mean(), abs=1e-4)


def test_blocks_are_cached_and_let_go(virtual: mcrgen.VirtualVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcrgen.generation.generator import Generator

    asked: list[object] = []
    scores = Generator.scores
    monkeypatch.setattr(Generator, "scores", lambda self, *a, **k: asked.append(a) or scores(self, *a, **k))
    first = virtual[0:8, 0:16, 0:8]
    assert len(asked) == 2
    np.testing.assert_array_equal(virtual[0:8, 0:16, 0:8], first)
    assert len(asked) == 2
    _ = virtual[:]
    assert len(virtual._cache) == 5


def test_bad_input(checkpoint: Path, virtual: mcrgen.VirtualVolume) -> None:
    for changes, message in (
        ({"size": (3, 4)}, r"size: expected one or three edge lengths greater than 0, got \(3, 4\)"),
        ({"seed": -1}, r"seed: expected 0 or more"),
        ({"precision": "fp8"}, r"precision: expected one of auto, fp32, bf16, fp16, got 'fp8'"),
        ({"phase_fraction": 1.0}, r"phase_fraction: expected a phase fraction between 0 and 1"),
        ({"block_size": 0}, r"block_size: expected a number greater than 0"),
    ):
        with pytest.raises(InputError, match=message):
            mcrgen.VirtualVolume(checkpoint, **changes)
    for index in (np.s_[0, 0, 0, 0], [1, 2], "a"):
        with pytest.raises(IndexError, match="expected up to 3 integers or slices"):
            _ = virtual[index]
    with pytest.raises(IndexError):
        _ = virtual[20]
