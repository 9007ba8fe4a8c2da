"""What all descriptors share."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch

import mcrgen.descriptors
from mcrgen.descriptors.module import Descriptor
from mcrgen.descriptors.scaled_autocovariance import ScaledAutocovariance

MODULES = [importlib.import_module(f"mcrgen.descriptors.{m.name}") for m in pkgutil.iter_modules(mcrgen.descriptors.__path__)]
DESCRIPTORS = sorted(
    {c for m in MODULES for c in vars(m).values() if inspect.isclass(c) and issubclass(c, Descriptor)} - {Descriptor}, key=str
)


def test_all_are_found() -> None:
    assert len(DESCRIPTORS) >= 18


@pytest.mark.parametrize("module", DESCRIPTORS, ids=lambda c: c.__name__)
def test_module_stands_beside_its_documented_function(module: type[Descriptor]) -> None:
    function = module.function
    assert function.__module__ == module.__module__
    text = inspect.getdoc(function)
    assert text
    for section in ("Args:", "Returns:"):
        assert section in text, f"{function.__name__} does not tell its {section}"
    for name, parameter in inspect.signature(function).parameters.items():
        assert f"{name}:" in text, f"{function.__name__} does not explain {name}"
        assert parameter.annotation is not inspect.Parameter.empty


def test_settings_are_stored_shown_and_checked() -> None:
    module = ScaledAutocovariance(order=3)
    assert repr(module) == "ScaledAutocovariance(order=3)"
    curve = torch.tensor([0.5, 0.2])
    assert module(curve, 0.5)[0] == 1.0
    assert list(module.parameters()) == []
    with pytest.raises(TypeError, match="ScaledAutocovariance has no setting 'ordr'"):
        ScaledAutocovariance(ordr=3)
