"""One micrograph in, verified three-dimensional microstructures out.

The commands of the shell are functions here: ``mcrgen.train(mcrgen.TrainConfig(...))``. Importing the package is light; torch
and the rest are loaded when a command needs them.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcrgen.commands._gan_config import GanConfig
    from mcrgen.commands._reconstruct_config import ReconstructConfig
    from mcrgen.commands._train_config import TrainConfig
    from mcrgen.commands._virtual_volume import VirtualVolume
    from mcrgen.commands.characterize import CharacterizeConfig
    from mcrgen.commands.characterize import run as characterize
    from mcrgen.commands.compare import CompareConfig
    from mcrgen.commands.compare import run as compare
    from mcrgen.commands.demo import DemoConfig
    from mcrgen.commands.demo import run as demo
    from mcrgen.commands.doctor import DoctorConfig
    from mcrgen.commands.doctor import run as doctor
    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.commands.generate import run as generate
    from mcrgen.commands.reconstruct import run as reconstruct
    from mcrgen.commands.representative_size import RepresentativeSizeConfig
    from mcrgen.commands.representative_size import run as representative_size
    from mcrgen.commands.segment import SegmentConfig
    from mcrgen.commands.segment import run as segment
    from mcrgen.commands.train import run as train
    from mcrgen.commands.view import ViewConfig
    from mcrgen.commands.view import run as view
    from mcrgen.config import load as load_config
    from mcrgen.errors import InputError, StoppedError

__version__ = "0.1.0"

__all__ = [
    "CharacterizeConfig",
    "CompareConfig",
    "DemoConfig",
    "DoctorConfig",
    "GanConfig",
    "GenerateConfig",
    "InputError",
    "ReconstructConfig",
    "RepresentativeSizeConfig",
    "SegmentConfig",
    "StoppedError",
    "TrainConfig",
    "ViewConfig",
    "VirtualVolume",
    "__version__",
    "characterize",
    "compare",
    "demo",
    "doctor",
    "generate",
    "load_config",
    "reconstruct",
    "representative_size",
    "segment",
    "train",
    "view",
]


_ELSEWHERE = {"VirtualVolume": "mcrgen.commands._virtual_volume", "GanConfig": "mcrgen.commands._gan_config"}


def __getattr__(name: str) -> Any:
    if name == "load_config":
        return importlib.import_module("mcrgen.config").load
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    if name not in __all__:
        raise AttributeError(f"module 'mcrgen' has no attribute '{name}'")
    if name.endswith("Error"):
        return getattr(importlib.import_module("mcrgen.errors"), name)
    command = re.sub("(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Config")).lower()
    module = importlib.import_module(f"mcrgen.commands.{command}")
    return getattr(module, name) if name.endswith("Config") else module.run
