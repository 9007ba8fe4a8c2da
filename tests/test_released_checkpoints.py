from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import mcrgen
from mcrgen.io.checkpoints import read_checkpoint
from mcrgen.io.provenance import sha256

FOLDER = Path(__file__).parent.parent / "checkpoints"
ROWS = re.findall(r"^\| `([\w.]+)` \| `([0-9a-f]{64})` \|", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)


def test_every_file_is_listed_with_its_hash() -> None:
    assert {name: sha256(FOLDER / name) for name, _ in ROWS} == dict(ROWS)
    assert {p.name for p in FOLDER.glob("*.ckpt")} == {name for name, _ in ROWS}
    assert ROWS


@pytest.mark.parametrize("name", [name for name, _ in ROWS])
def test_generates_at_its_fraction(name: str, tmp_path: Path) -> None:
    assert (FOLDER / name).stat().st_size <= 2 * 2**20
    target = read_checkpoint(FOLDER / name, "checkpoint")["mcrgen"]["calibration"]["fractions"]
    result = mcrgen.generate(
        mcrgen.GenerateConfig(checkpoint=FOLDER / name, output=tmp_path / "v.npy", size=(96,), seed=5, device="cpu")
    )
    assert np.load(result.path).shape == (96, 96, 96)
    np.testing.assert_allclose(result.phase_fractions, target, atol=0.03)  # sparse media scatter


@pytest.mark.parametrize("name", [name for name, _ in ROWS if "conditional" in name])
def test_conditional_ones_make_any_fraction_of_their_range(name: str, tmp_path: Path) -> None:
    low, high = read_checkpoint(FOLDER / name, "checkpoint")["hyper_parameters"]["phase_fraction_range"]
    field = f"{low}:{high}"
    result = mcrgen.generate(
        mcrgen.GenerateConfig(
            checkpoint=FOLDER / name, output=tmp_path / "v.npy", size=(96, 32, 96), seed=5, device="cpu",
            phase_fraction_field=field, gradient_axis="z", exact=True,
        )
    )  # fmt: skip
    assert result.phase_fractions[1] == pytest.approx((low + high) / 2, abs=1e-4)
    profile = np.load(result.path).mean(axis=(1, 2)).reshape(3, 32).mean(axis=1)
    np.testing.assert_allclose(profile, low + (high - low) * np.array([1, 3, 5]) / 6, atol=0.05)
