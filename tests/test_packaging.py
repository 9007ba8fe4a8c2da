from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mcrgen
from mcrgen import descriptors
from mcrgen.cli import COMMANDS, parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_wheel_carries_package_recipes_and_licence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "mcrgen").rglob("*.py")}
    recipes = {f"mcrgen/configs/{p.name}" for p in (ROOT / "configs").glob("*.yaml")}
    assert sources | recipes <= names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert not any(n.startswith("tests") for n in names)


def test_constraints_pin_every_dependency() -> None:
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    extras = PROJECT["optional-dependencies"]
    wanted = [w for w in PROJECT["dependencies"] + extras["test"] + extras["view"] if not w.startswith("mcrgen[")]
    assert {re.split(r"[>=\[]", w)[0] for w in wanted} <= pinned


def test_every_bound_has_its_reason() -> None:
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'\s+"[a-z-]+>=', line):
            assert re.search(r"# \w+", line), line


def test_version() -> None:
    assert mcrgen.__version__.count(".") == 2


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("mcrgen ")]


@pytest.mark.parametrize("line", readme_commands())
def test_readme_commands_parse(line: str) -> None:
    _, name, *args = shlex.split(line, comments=True)
    assert name in COMMANDS
    if "--config" not in args or not args[args.index("--config") + 1].startswith("runs/"):
        run = getattr(mcrgen, name.replace("-", "_"))
        parsed = type(parse(name, run, args)).__name__.lower()
        assert parsed in (f"{name.replace('-', '')}config", "ganconfig" if name == "train" else "")


def readme_python(word: str) -> str:
    (code,) = (b for b in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if word in b)
    return code


def test_readme_example_of_commands_in_python_builds_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(mcrgen, "train", lambda config: given.append(config) or SimpleNamespace(checkpoint=Path("model.ckpt")))
    monkeypatch.setattr(mcrgen, "generate", given.append)
    exec(readme_python("mcrgen.train("), {})
    train, generate = given
    assert isinstance(train, mcrgen.TrainConfig)
    assert (train.data.image, train.output) == (Path("labels.tif"), Path("runs/rock"))
    assert generate == mcrgen.GenerateConfig(checkpoint=Path("model.ckpt"), output=Path("rock.tif"), size=(512,))


def test_readme_example_of_descriptors_runs() -> None:
    names: dict[str, Any] = {}
    exec(readme_python("mcrgen.descriptors"), names)
    assert names["s2"].shape == (4, 1, 33)
    assert names["s2"].requires_grad
    assert names["p6"].shape == (4, 1, 1, 21)


def test_readme_names_descriptors_that_exist() -> None:
    section = README[README.index("| descriptor |") : README.index("Each is a pure function")]
    named = set(re.findall(r"`([a-z_0-9]+_[a-z_0-9]+)`", section))
    public = {
        n
        for m in pkgutil.iter_modules(descriptors.__path__)
        for n in dir(importlib.import_module(f"{descriptors.__name__}.{m.name}"))
    }
    assert len(named) > 12
    assert named <= public


def test_readme_begins_with_the_two_commands() -> None:
    assert {"make demo", "make test"} <= {line.split("#")[0].strip() for line in README.splitlines()}
    assert len(readme_commands()) >= 5
