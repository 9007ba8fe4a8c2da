"""The import floors of the house, top to bottom, and the lightness of the entry."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mcrgen"
FLOORS = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"tasks"},
    {"callbacks", "losses", "data", "generation", "reconstruction"},
    {"descriptors", "networks", "io", "config", "plotting"},
    {"errors"},
]
FLOOR_OF = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
FORBIDDEN = {
    "tasks": ("mcrgen.data", "mcrgen.io", "mcrgen.callbacks", "wandb", "omegaconf"),
    "callbacks": ("mcrgen.tasks",),
    "generation": ("pytorch_lightning", "lightning"),
    "networks": ("pytorch_lightning", "lightning"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        if not name.startswith("mcrgen."):
            continue
        other = name.split(".")[1]
        if other in FLOOR_OF and other != room:
            assert FLOOR_OF[other] > FLOOR_OF[room], f"{path.name} ({room}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_forbidden_imports(path: Path) -> None:
    for name in imports(path):
        assert not name.startswith(FORBIDDEN.get(room_of(path), ("\0",))), f"{path} imports {name}"
        if name.startswith("omegaconf"):
            assert path.name == "config.py"


def test_every_room_is_on_a_floor() -> None:
    rooms = {room_of(p) for p in FILES} - {"__init__"}
    assert rooms <= set(FLOOR_OF), rooms - set(FLOOR_OF)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, mcrgen.cli; mcrgen.cli.main(['--help']); "
        "heavy = {'torch', 'pytorch_lightning', 'wandb', 'matplotlib', 'numpy', 'tyro'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_public_names_resolve() -> None:
    import mcrgen

    assert all(getattr(mcrgen, name) for name in mcrgen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        _ = mcrgen.tain
