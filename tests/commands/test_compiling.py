from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from mcrgen.commands import _compiling
from mcrgen.commands._compiling import compile_kernels, told_compilation


class Shown:
    """What became of a spinner."""

    def __init__(self) -> None:
        self.course: list[str] = []

    def start(self) -> None:
        self.course.append("start")

    def stop(self) -> None:
        self.course.append("stop")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    found = Shown()
    monkeypatch.setattr(_compiling.console, "status", lambda text: found)
    return found


def test_a_spinner_shows_what_is_compiled_and_only_then(shown: Shown, tmp_path: Path) -> None:
    kernel = njit(lambda x: 2 * x + 1)
    with told_compilation():
        assert shown.course == []
        assert kernel(3) == 7
        assert shown.course[0] == "start"
    assert shown.course[-1] == "stop"
    shown.course.clear()
    with told_compilation():
        assert kernel(4) == 9
    assert "start" not in shown.course
    kernel(np.float32(1.0))  # of another type, and nobody is told
    assert "start" not in shown.course


def test_an_error_takes_the_spinner_away(shown: Shown) -> None:
    def broken() -> None:
        with told_compilation():
            njit(lambda x: x + 1)(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert shown.course[-1] == "stop"


NOTHING_IS_LEFT = """
import sys
from pathlib import Path
import numpy as np
import torch
from mcrgen import config
from mcrgen.commands import reconstruct
from mcrgen.commands._compiling import compile_kernels
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.reconstruction import _swaps
from mcrgen.descriptors import _three_point_backward, _three_point_forward

def known():
    modules = _swaps, _three_point_backward, _three_point_forward
    kernels = {f"{m.__name__}.{n}": k for m in modules for n, k in vars(m).items() if hasattr(k, "signatures")}
    return {name: set(kernel.signatures) for name, kernel in kernels.items()}

folder = Path(sys.argv[1])
np.save(folder / "image.npy", (np.random.default_rng(0).random((24, 24)) < 0.4).astype(np.uint8))
runs = [
    ("a", (16, 16), ["descriptors.names=[s3]", "descriptors.limit=8", "optimization.max_steps=2"]),
    ("b", (8, 8, 8), ["method=annealing", "descriptors.names=[s2,s2-diagonal,lineal-path,p3h,p6]", "annealing.swaps=2"]),
    ("c", (9, 8), ["method=annealing", "descriptors.names=[s2-map]", "annealing.swaps=2", "periodic=false"]),
]
for name, size, more in runs:
    paths = f"paths=[{folder / 'image.npy'},{folder / name}.npy]"
    common = [paths, f"size={list(size)}", "descriptors.limit=4", "logging.wandb=disabled", "optimization.device=cpu"]
    options = config.load(ReconstructConfig, None, [*common, *more])
    compile_kernels(options, torch.device("cpu"))
    before = known()
    assert any(before.values())
    reconstruct.run(options)
    assert known() == before, (name, before, known())
"""


def test_nothing_is_left_to_compile_when_a_run_begins(tmp_path: Path) -> None:
    """In an interpreter of its own, where no other test has called the kernels with other types."""
    subprocess.run([sys.executable, "-c", NOTHING_IS_LEFT, tmp_path], check=True)


def test_what_is_not_called_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from tiny_reconstruction import tiny_reconstruction

    def never(*arguments: object) -> None:
        raise AssertionError

    for name in ("_anneal_a_little", "_correlate_a_little", "told_compilation"):
        monkeypatch.setattr(_compiling, name, never)
    cpu = torch.device("cpu")
    for options in (["descriptors.names=[s2]"], ["descriptors.names=[s3]", "periodic=false"]):
        compile_kernels(tiny_reconstruction([Path("out.npy")], (12, 12), *options), cpu)
    compile_kernels(tiny_reconstruction([Path("out.npy")], (64, 64), "descriptors.limit=16"), torch.device("meta"))
