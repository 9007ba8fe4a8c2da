from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import mcrgen
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.errors import InputError
from mcrgen.io.images import read_medium


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    truth = gaussian_level_cut((60, 50), (1 / 3,) * 3, 4.0, 0)
    grey = np.array([40, 120, 220])[truth] + np.random.default_rng(0).normal(0, 8, truth.shape)
    tifffile.imwrite(
        tmp_path / "photo.tif", grey.clip(0, 255).astype(np.uint8), resolution=(5000, 5000), resolutionunit="CENTIMETER"
    )
    return tmp_path / "photo.tif"


def segment(photo: Path, output: Path, **changes: object) -> mcrgen.commands.segment.SegmentResult:
    return mcrgen.segment(mcrgen.SegmentConfig(photo=photo, output=output, **changes))


def test_segment_writes_labels_picture_and_provenance(photo: Path, tmp_path: Path) -> None:
    result = segment(photo, tmp_path / "l.tif", phases=3, crop=(4, 2, 48, 40), scale=0.5)
    medium = read_medium(tmp_path / "l.tif", "x", phase=None, phase_name="y")
    assert medium.labels.shape == (24, 20)
    assert medium.phases.count == 3
    assert medium.voxel_size_um == pytest.approx(4.0)
    assert sum(result.phase_fractions) == pytest.approx(1)
    with Image.open(tmp_path / "l.tif.preview.png") as picture:
        assert picture.width > 400
    record = json.loads((tmp_path / "l.tif.json").read_text())
    assert len(record["thresholds"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": (0, 0, 100, 10)}, r"crop: expected a part of the 60 x 50 photograph, got 100 x 10 at 0, 0"),
        ({"crop": (0, 0, 10)}, r"crop: expected four numbers"),
        ({"phases": 1}, r"phases: expected 2 to 5, got 1"),
        ({"phases": 3, "threshold": 0.5}, r"threshold: expected with two phases only"),
        ({"threshold": 1.5}, r"threshold: expected a grey value between 0 and 1"),
        ({"threshold": 0.999}, r"threshold: a phase came out empty"),
        ({"scale": 0.0}, r"scale: expected a number greater than 0"),
        ({"output": Path("x.jpg")}, r"output: expected a name ending in"),
    ],
)
def test_segment_bad_input(photo: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    settings = {"photo": photo, "output": tmp_path / "l.tif"} | changes
    with pytest.raises(InputError, match=message):
        mcrgen.segment(mcrgen.SegmentConfig(**settings))
    assert not (tmp_path / "l.tif").exists()


def test_segment_does_not_overwrite_unasked(photo: Path, tmp_path: Path) -> None:
    segment(photo, tmp_path / "l.png")
    with pytest.raises(InputError, match=r"exists already"):
        segment(photo, tmp_path / "l.png")
    segment(photo, tmp_path / "l.png", overwrite=True, invert=True)


def test_demo_checks_first(tmp_path: Path) -> None:
    for changes, message in (({"device": "abacus"}, "device"), ({"seed": -1}, "seed"), ({"max_steps": 0}, "max_steps")):
        with pytest.raises(InputError, match=message):
            mcrgen.demo(mcrgen.DemoConfig(output=tmp_path / "demo", **changes))
    assert not (tmp_path / "demo").exists()


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = mcrgen.doctor(mcrgen.DoctorConfig())
    assert {"torch", "CPU bfloat16", "CUDA devices", "memory", "disk here", "Weights & Biases"} <= set(result.facts)
    assert result.facts["torch"] in capsys.readouterr().out
    monkeypatch.setattr("mcrgen.commands.doctor._MIN_MEMORY_GIB", 1e9)
    monkeypatch.setattr("mcrgen.commands.doctor._MIN_DISK_GIB", 1e9)
    advice = " ".join(mcrgen.doctor(mcrgen.DoctorConfig()).advice)
    assert "--block-size" in advice
    assert "free here" in advice


def test_demo_end_to_end(tmp_path: Path) -> None:
    result = mcrgen.demo(mcrgen.DemoConfig(output=tmp_path / "demo", size=40, max_steps=2))
    assert result.figure.exists()
    assert result.metrics["candidates"]["volume"]["phase_fraction"]["relative_error"] < 0.2
    assert tifffile.imread(tmp_path / "demo" / "volume.tif").shape == (40, 40, 40)
    with pytest.raises(InputError, match="exists already"):
        mcrgen.demo(mcrgen.DemoConfig(output=tmp_path / "demo"))
