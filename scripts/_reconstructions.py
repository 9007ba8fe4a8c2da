"""What the scripts that repeat experiments with reconstruction from descriptors share: options, media, errors.

Everything is kept under one folder: a script that was stopped goes on from there when it is called again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mcrgen
from mcrgen.commands import reconstruct as command
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._hardware import resolve_device
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands._reconstruct_sources import read_sources, working_folder
from mcrgen.commands._reconstruction import errors_of
from mcrgen.commands._targets import Goal, goal_of_images
from mcrgen.errors import InputError, require_seed, require_writable
from mcrgen.io.provenance import sidecar

ERRORS = {"s2": "E(S2)", "s3": "E(S3)", "gram": "E(G)", "variation": "E(V)"}
"""Descriptors as they are called in tables."""


@dataclass(kw_only=True)
class Options:
    """What to make and where."""

    output: Path
    """Folder for everything; what is finished there is not made again."""
    quick: bool = False
    """Small media and few steps: for two CPU cores instead of a GPU."""
    seed: int = 0
    """Seed of the media to start from."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    settings: tuple[str, ...] = ()
    """Settings over those of the recipes, such as optimization.max_steps=50 descriptors.limit=8."""


@dataclass(frozen=True)
class Reconstruction:
    """A medium, what stands beside it, and how long it took; None if it was interrupted."""

    labels: NDArray[np.uint8]
    record: dict[str, Any]
    seconds: float | None

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return int(self.record["run"]["steps"])


def begin(options: Options) -> None:
    """Check the options, and that what is in the folder belongs to them.

    Raises:
        InputError: an option is wrong, or the folder holds something else.
    """
    require_seed(options.seed)
    require_writable("output", options.output)
    resolve_device(options.device)
    path, settings = options.output / "settings.json", _settings(options)
    if options.output.is_dir() and any(options.output.iterdir()) and not path.exists():
        raise InputError(
            f"output: expected a new folder, or one of this script, '{options.output}' is neither; choose another."
        )
    before = json.loads(path.read_text()) if path.exists() else settings
    for key in (key for key in settings if before.get(key) != settings[key]):
        raise InputError(
            f"output: '{options.output}' was made with {key} {before.get(key)}, not {settings[key]}; choose another folder."
        )
    options.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2))


def _settings(options: Options) -> dict[str, Any]:
    """What settles the results, as it is read back from JSON."""
    values = {"script": Path(sys.argv[0]).stem} | asdict(options)
    del values["output"]
    plain = {key: value.resolve() if isinstance(value, Path) else value for key, value in values.items()}
    settings: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return settings


def configured(options: Options, recipe: str, image: Path, output: Path, size: tuple[int, ...], *own: str) -> ReconstructConfig:
    """A recipe with the settings of an experiment and, over them, those of the options; the limit is settled by the image."""
    overrides = ["logging.wandb=disabled", f"optimization.device={options.device}", f"seed={options.seed}", *own]
    required = [f"size=[{','.join(map(str, size))}]", "paths=[]"]  # names of files may hold what YAML reads otherwise
    config = mcrgen.load_config(ReconstructConfig, Path(recipe), [*required, *overrides, *options.settings])
    config = replace(config, paths=(image.resolve(), output))
    settled, _ = read_sources(config)
    return replace(config, descriptors=settled[0].descriptors)


def reconstruct(config: ReconstructConfig) -> Reconstruction:
    """Reconstruct a .npy medium, or take the one that is there; an interrupted run goes on."""
    output = config.paths[-1]
    told = output.with_name(f"{output.name}.seconds.json")
    if not told.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        resumed, start = working_folder(output).exists(), time.perf_counter()
        command.run(replace(config, resume=resumed))
        told.write_text(json.dumps(None if resumed else time.perf_counter() - start))
    return Reconstruction(np.load(output), json.loads(sidecar(output).read_text()), json.loads(told.read_text()))


def measured_goal(config: ReconstructConfig) -> Goal:
    """The descriptors of a configuration's exemplar."""
    return goal_of_images(config, read_exemplars(replace(config.data, image=config.paths[0])))


def relative_errors(labels: NDArray[np.uint8], config: ReconstructConfig, goal: Goal) -> dict[str, float]:
    """E = |D - D*| / |D*| of the mean descriptors of all sections, averaged over section normals and parts, by name."""
    found = errors_of(labels, config, goal, curves=False)
    return {name: values["mean"] for name, values in found.items() if name in ERRORS}
