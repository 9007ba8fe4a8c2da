from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

import mcrgen
from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.errors import InputError, StoppedError

GRAVEL = Path(__file__).parents[2] / "checkpoints" / "gravel_quick.ckpt"


def generate(checkpoint: Path, output: Path, **changes: object) -> np.ndarray:
    settings = {"size": (24,), "precision": "fp32", "device": "cpu"} | changes
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=output, **settings))
    return np.load(output) if output.suffix == ".npy" else tifffile.imread(output)


def test_size_formats_and_provenance(checkpoint: Path, tmp_path: Path) -> None:
    volume = generate(checkpoint, tmp_path / "v.tif", size=(10, 30, 20))
    assert volume.shape == (10, 30, 20)
    assert set(np.unique(volume)) == {0, 1}
    np.testing.assert_array_equal(generate(checkpoint, tmp_path / "v.npy", size=(10, 30, 20)), volume)
    record = json.loads((tmp_path / "v.tif.json").read_text())
    assert record["phase_fractions"][1] == pytest.approx(volume.mean())
    assert record["config"]["seed"] == 0
    assert len(record["inputs"]["checkpoint"]["sha256"]) == 64


def test_block_size_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    volumes = [generate(checkpoint, tmp_path / f"{b}.npy", size=(45, 40, 50), block_size=b) for b in (50, 16, 23)]
    for volume in volumes[1:]:
        assert (volume != volumes[0]).mean() <= 1e-6


def test_a_larger_volume_holds_the_smaller(checkpoint: Path, tmp_path: Path) -> None:
    small = generate(checkpoint, tmp_path / "s.npy", size=(12, 14, 16))
    large = generate(checkpoint, tmp_path / "l.npy", size=(20, 30, 40), block_size=11)
    assert (large[:12, :14, :16] != small).mean() <= 1e-6


def test_seeds(checkpoint: Path, tmp_path: Path) -> None:
    a = generate(checkpoint, tmp_path / "a.npy", seed=1)
    b = generate(checkpoint, tmp_path / "b.npy", seed=2)
    np.testing.assert_array_equal(generate(checkpoint, tmp_path / "c.npy", seed=1), a)
    assert (a != b).mean() > 0.05


@pytest.mark.parametrize("wanted", [0.25, 0.3, 0.35])
def test_phase_fraction(checkpoint: Path, tmp_path: Path, wanted: float) -> None:
    volume = generate(checkpoint, tmp_path / "v.npy", size=(96,), phase_fraction=wanted)
    assert volume.mean() == pytest.approx(wanted, rel=0.03)


def test_trained_fraction_in_both_precisions(checkpoint: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        volume = generate(checkpoint, tmp_path / f"{precision}.npy", size=(96,), precision=precision)
        assert volume.mean() == pytest.approx(0.3, rel=0.05)


def test_far_fraction_warns(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(checkpoint, tmp_path / "near.npy", phase_fraction=0.33)
    assert "warning" not in capsys.readouterr().out
    generate(checkpoint, tmp_path / "far.npy", phase_fraction=0.45)
    assert "warning: phase_fraction 0.45 is +50% off the trained 0.3000" in " ".join(capsys.readouterr().out.split())


def test_phase_of_interest_zero(image: Path, tmp_path: Path) -> None:
    from tiny import tiny_config

    model = mcrgen.train(tiny_config(image, tmp_path / "run", "data.phase=0")).checkpoint
    volume = generate(model, tmp_path / "v.npy", size=(96,))
    assert (volume == 0).mean() == pytest.approx(0.7, rel=0.03)


def test_three_phases(checkpoint3: Path, tmp_path: Path) -> None:
    volume = generate(checkpoint3, tmp_path / "v.npy", size=(80,))
    np.testing.assert_allclose(np.bincount(volume.ravel()) / volume.size, (0.5, 0.3, 0.2), atol=0.02)
    more = generate(checkpoint3, tmp_path / "w.npy", size=(80,), phase_fraction=0.25)
    np.testing.assert_allclose(np.bincount(more.ravel()) / more.size, (0.469, 0.281, 0.25), atol=0.02)


def test_voxel_size_goes_through(image: Path, tmp_path: Path) -> None:
    from tiny import tiny_config

    model = mcrgen.train(tiny_config(image, tmp_path / "run", "data.voxel_size_um=0.65", "trainer.max_steps=1")).checkpoint
    generate(model, tmp_path / "v.tif")
    generate(model, tmp_path / "v.npy")
    from mcrgen.io.images import read_raster

    for name in ("v.tif", "v.npy"):
        assert read_raster(tmp_path / name, "x").voxel_size_um == pytest.approx(0.65)


def test_overwrite(checkpoint: Path, tmp_path: Path) -> None:
    generate(checkpoint, tmp_path / "v.npy")
    with pytest.raises(InputError, match=r"output: '.*v\.npy' exists already; .*--overwrite"):
        generate(checkpoint, tmp_path / "v.npy")
    assert generate(checkpoint, tmp_path / "v.npy", overwrite=True, size=(8,)).shape == (8, 8, 8)


def test_a_run_that_has_not_ended_is_no_generator(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint: this is the state of a training run that has not ended"):
        generate(checkpoint.with_name("last.ckpt"), tmp_path / "v.npy")
    other = torch.load(checkpoint, weights_only=True)
    other["mcrgen"]["kind"] = "stylegan"
    torch.save(other, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"checkpoint: expected a generator of the kind swnn, dcgan, wgan_gp, got .* stylegan"):
        generate(tmp_path / "other.ckpt", tmp_path / "v.npy")


def test_output_that_is_a_folder_or_inside_a_file(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "d.npy").mkdir()
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match=r"output: expected a file name, '.*d\.npy' is a folder"):
        generate(checkpoint, tmp_path / "d.npy", overwrite=True)
    with pytest.raises(InputError, match=r"output: expected a folder, '.*f' is a file"):
        generate(checkpoint, tmp_path / "f" / "v.npy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (0,)}, r"size: expected one or three edge lengths greater than 0, got '0'"),
        ({"size": (4, 5)}, r"size: expected one or three edge lengths .* got '4 5'"),
        ({"block_size": 0}, r"block_size: expected a number greater than 0"),
        ({"seed": -1}, r"seed: expected 0 or more, got -1"),
        ({"phase_fraction": 1.0}, r"phase_fraction: expected a phase fraction between 0 and 1"),
        ({"output": Path("v.jpg")}, r"output: expected a name ending in"),
        ({"checkpoint": Path("nowhere.ckpt")}, r"checkpoint: no such file 'nowhere\.ckpt'"),
        pytest.param(
            {"device": "cuda"},
            r"device: 'cuda' was asked for, this machine has 0 CUDA devices; use --device cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there"),
        ),
    ],
)
def test_bad_input_before_any_work(checkpoint: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    settings = {"checkpoint": checkpoint, "output": tmp_path / "v.tif"} | changes
    with pytest.raises(InputError, match=message):
        mcrgen.generate(mcrgen.GenerateConfig(**settings))
    assert not list(tmp_path.iterdir())


def test_a_box_is_cut_from_any_larger_volume(checkpoint: Path, tmp_path: Path) -> None:
    whole = generate(checkpoint, tmp_path / "whole.npy", size=(20, 24, 28), seed=2)
    box = generate(checkpoint, tmp_path / "box.npy", box="3:17,8:24,0:13", seed=2, size=None)
    assert (box != whole[3:17, 8:24, 0:13]).mean() <= 1e-4
    before = generate(checkpoint, tmp_path / "before.npy", box="-4:6, 0:9, -3:5", seed=2, size=None)
    assert before.shape == (10, 9, 8)
    assert (before[4:, :, 3:] != whole[:6, :9, :5]).mean() <= 1e-3
    assert json.loads((tmp_path / "box.npy.json").read_text())["origin"] == [3, 8, 0]


@pytest.mark.parametrize("axes", ["all", "x", "zy"])
def test_periodic_volumes_fit_together(tmp_path: Path, axes: str) -> None:
    """Two copies side by side have the surface of one: no seam; along the other axes there is one."""
    labels = generate(GRAVEL, tmp_path / "p.npy", size=(40, 42, 44), periodic=axes, block_size=21, exact=True).astype(float)
    names = "zyx" if axes == "all" else axes
    for axis, name in enumerate("zyx"):
        inside = np.abs(np.diff(labels, axis=axis)).mean(axis=tuple(a for a in range(3) if a != axis))
        across = np.abs(labels.take(0, axis) - labels.take(-1, axis)).mean()
        assert (across < inside.mean() + 4 * inside.std()) == (name in names)
    record = json.loads((tmp_path / "p.npy.json").read_text())
    assert record["period"] == [n if name in names else None for n, name in zip((40, 42, 44), "zyx", strict=True)]


@pytest.mark.parametrize("kept", [0.0, 0.25])
@pytest.mark.parametrize("wanted", [None, 0.41])
def test_exact_fraction(
    checkpoint: Path, tmp_path: Path, wanted: float | None, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcrgen.commands._sources._KEPT_SHARE", kept)
    labels = generate(checkpoint, tmp_path / "e.npy", size=(50, 40, 45), exact=True, phase_fraction=wanted, block_size=20)
    record = json.loads((tmp_path / "e.npy.json").read_text())
    assert record["residual"] <= 1e-4
    assert labels.mean() == pytest.approx(0.3 if wanted is None else wanted, abs=1e-4)


def test_exact_fractions_of_three_phases(checkpoint3: Path, tmp_path: Path) -> None:
    labels = generate(checkpoint3, tmp_path / "e.npy", size=(40,), exact=True)
    np.testing.assert_allclose(np.bincount(labels.ravel()) / labels.size, (0.5, 0.3, 0.2), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box": "0:4,0:4"}, r"box: expected z0:z1,y0:y1,x0:x1 in voxels"),
        ({"box": "0:4,4:4,0:4"}, r"box: expected each end beyond its start"),
        ({"box": "0:4,0:4,0:4", "size": (4,)}, r"box: expected without a size"),
        ({"box": "0:4,0:4,0:4", "periodic": "x"}, r"box: expected of an unlimited field"),
        ({"periodic": "xw"}, r"periodic: expected none, all or axes such as x or zy, got 'xw'"),
        ({"periodic": "xx"}, r"periodic: expected none, all or axes"),
    ],
)
def test_bad_regions(checkpoint: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=tmp_path / "v.npy", **changes))
    assert not (tmp_path / "v.npy").exists()


def test_the_fraction_of_the_training_needs_no_calibration(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name it is still that; another one, or other arithmetic, is calibrated for."""
    asked: list[float] = []

    def noted(generator: Any, fractions: tuple[float, ...], *, phase: int, **_: Any) -> Any:
        asked.append(fractions[phase])

    monkeypatch.setattr("mcrgen.generation.calibration.calibrate", noted)
    stored = torch.load(checkpoint, weights_only=True)["mcrgen"]["calibration"]
    used = Precision(stored["precision"])
    loaded = load_generator(checkpoint, "cpu", used)
    own = stored["fractions"][loaded.phase]
    assert loaded.calibration(own) == loaded.calibration(None)
    assert loaded.calibration(own).bias == tuple(stored["bias"])
    loaded.calibration(0.4)
    load_generator(checkpoint, "cpu", Precision.bf16 if used == Precision.fp32 else Precision.fp32).calibration(own)
    assert asked == [0.4, own]


def test_block_size_follows_the_memory(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = generate(checkpoint, tmp_path / "a.npy", size=(70, 20, 20))
    assert "blocks of up to 256 voxels" in capsys.readouterr().out
    need = load_generator(checkpoint, "cpu", Precision.fp32).generator.memory((48, 20, 20))
    monkeypatch.setattr("mcrgen.commands._generators._available_memory", lambda device: int(2.01 * need))
    small = generate(checkpoint, tmp_path / "b.npy", size=(70, 20, 20))
    assert "blocks of up to 48 voxels" in capsys.readouterr().out
    assert (small != whole).mean() <= 1e-4
    monkeypatch.setattr("mcrgen.commands._generators._available_memory", lambda device: int(1.05 * need))
    with pytest.raises(InputError, match=r"block_size: blocks of 128 voxels need about 0.0 GiB, .* use --block-size 16"):
        generate(checkpoint, tmp_path / "c.npy", size=(70, 20, 20), block_size=128)
    monkeypatch.setattr("mcrgen.commands._generators._available_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"block_size: blocks of 16 voxels need .* free some memory"):
        generate(checkpoint, tmp_path / "c.npy", size=(70, 20, 20))
    assert not (tmp_path / "c.npy").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import mcrgen
from mcrgen.commands._generators import load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.io import volume_writer
volume_writer._COMMIT_SECONDS = 0.0
write, left = volume_writer.BlockWriter.write, [int(sys.argv[3])]
def mortal(self, *block):
    write(self, *block)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
volume_writer.BlockWriter.write = mortal
mcrgen.generate(mcrgen.GenerateConfig(
    checkpoint=Path(sys.argv[1]), output=Path(sys.argv[2]), size=(30, 20, 20), block_size=10, precision="fp32", device="cpu",
))
"""


@pytest.mark.parametrize(("suffix", "after"), [("tif", 1), ("npy", 5), ("raw", 11)])
def test_a_killed_run_goes_on_to_the_same_bytes(
    checkpoint: Path,
    tmp_path: Path,
    suffix: str,
    after: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"size": (30, 20, 20), "block_size": 10, "precision": "fp32", "device": "cpu"}
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"v.{suffix}"
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=whole, **settings))
    done = subprocess.run([sys.executable, "-c", KILLED, str(checkpoint), str(path), str(after)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    with pytest.raises(InputError, match=r"begun by another run \(seed was 0, is 7\); finish it with those options"):
        mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=path, **settings | {"seed": 7}))
    monkeypatch.setattr("mcrgen.commands._medium.Medium.settle", None)  # what the first run chose is not chosen anew
    capsys.readouterr()
    result = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=path, **settings | {"block_size": None}))
    assert f"going on: {after} of 12 blocks are finished" in capsys.readouterr().out
    assert path.read_bytes() == whole.read_bytes()
    record = json.loads(path.with_name(path.name + ".json").read_text())
    assert record["phase_fractions"] == list(result.phase_fractions)
    assert record["dtype"] == "uint8"
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.{suffix}{e}" for n in ("v", "whole") for e in ("", ".json")}


def test_ctrl_c_tells_how_to_go_on(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcrgen.generation.generator import Generator

    asked, scores = [0], Generator.scores

    def interrupted(self: Generator, *args: Any, **options: Any) -> torch.Tensor:
        asked[0] += 1
        if asked[0] == 4:
            raise KeyboardInterrupt
        return scores(self, *args, **options)

    monkeypatch.setattr(Generator, "scores", interrupted)
    with pytest.raises(StoppedError, match=r"stopped: [1-3] of 12 blocks are finished; the same command goes on"):
        generate(checkpoint, tmp_path / "v.npy", size=(30, 20, 20), block_size=10)
    monkeypatch.undo()
    whole = generate(checkpoint, tmp_path / "whole.npy", size=(30, 20, 20), block_size=10)
    np.testing.assert_array_equal(generate(checkpoint, tmp_path / "v.npy", size=(30, 20, 20), block_size=10), whole)


def test_zarr_and_raw(checkpoint: Path, tmp_path: Path) -> None:
    labels = generate(checkpoint, tmp_path / "v.npy", size=(20, 24, 28))
    for name in ("v.zarr", "v.raw"):
        mcrgen.generate(
            mcrgen.GenerateConfig(
                checkpoint=checkpoint, output=tmp_path / name, size=(20, 24, 28), precision="fp32", device="cpu"
            )
        )
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "v.zarr", mode="r")["0"][:], labels)
    record = json.loads((tmp_path / "v.raw.json").read_text())
    raw = np.fromfile(tmp_path / "v.raw", record["dtype"]).reshape(record["shape"])
    np.testing.assert_array_equal(raw, labels)
