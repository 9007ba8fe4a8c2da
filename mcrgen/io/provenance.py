"""Where an output came from: versions, input hashes, the resolved configuration."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "mcrgen",
    "torch",
    "pytorch-lightning",
    "numpy",
    "scipy",
    "scikit-image",
    "tifffile",
    "zarr",
    "omegaconf",
    "wandb",
)


def versions() -> dict[str, str]:
    """Installed versions of Python and the packages results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def sha256(path: Path) -> str:
    """Hash of a file's bytes; of a folder, of the names and hashes of the files in it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(command: str, config: dict[str, Any], inputs: dict[str, Path]) -> dict[str, Any]:
    """Record of a run as plain data: command, time, versions, platform, inputs with their hashes, configuration."""
    return {
        "command": command,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "platform": platform.platform(),
        "inputs": {name: {"path": str(path), "sha256": sha256(path)} for name, path in inputs.items()},
        "config": config,
    }


def sidecar(output: Path) -> Path:
    """The file beside an output that tells where it came from."""
    return output.with_name(output.name + ".json")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write plain data as indented JSON, complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
    os.replace(partial, path)
