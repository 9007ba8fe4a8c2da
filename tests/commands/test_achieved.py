"""What is written of a phase fraction field: recomputed here from the volume itself."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

import mcrgen
from mcrgen.errors import InputError, StoppedError
from mcrgen.io.images import read_raster
from mcrgen.io.journal import Journal
from mcrgen.io.stored import StoredArray
from mcrgen.io.volume_writer import BlockWriter
from mcrgen.plotting import profiles

SHAPE = (22, 30, 43)
EDGE = 5  # a quarter of the shortest edge
WRITTEN = ("tif", "csv", "png")


def generate(checkpoint: Path, output: Path, **options: Any) -> dict[str, Any]:
    """The provenance of a volume."""
    settings: dict[str, Any] = {"size": SHAPE, "device": "cpu", "precision": "fp32", "block_size": 16}
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=output, **settings | options))
    return dict(json.loads(output.with_name(f"{output.name}.json").read_text()))


def beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name}.phase_fraction.{suffix}")


def written(output: Path) -> dict[str, bytes]:
    return {suffix: beside(output, suffix).read_bytes() for suffix in WRITTEN}


def rows(output: Path, axis: str) -> NDArray[np.float64]:
    """Position, requested, achieved, each ``(N,)``."""
    with beside(output, "csv").open() as file:
        table = list(csv.DictReader(file))
    return np.array(
        [[float(row[key]) for key in ("position", "requested", "achieved")] for row in table if row["axis"] == axis]
    ).T


def slabs(number: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + EDGE, SHAPE[number])) for start in range(0, SHAPE[number], EDGE)]


def labels_of(path: Path) -> NDArray[Any]:
    with StoredArray(path, "volume") as stored:
        return stored.read((slice(None),) * 3)


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_what_is_written_is_of_the_volume(checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"v.{suffix}"
    record = generate(checkpoint, output, phase_fraction_field="0.2:0.5:x")
    labels, cells = labels_of(output), tifffile.imread(beside(output, "tif"))
    assert cells.dtype == np.float32
    assert cells.shape == (5, 6, 9)
    for index in np.ndindex(*cells.shape):
        cell = labels[tuple(slice(EDGE * i, EDGE * (i + 1)) for i in index)]
        assert cells[index] == np.float32(cell.mean())
    ramp = np.linspace(0.2, 0.5, SHAPE[2]) * np.ones(SHAPE)
    told = record["phase_fraction_field"]
    assert told["cell_edge"] == EDGE
    for number, axis in enumerate("zyx"):
        expected = [[s.mean(), ramp.take(s, number).mean(), labels.take(s, number).mean()] for s in slabs(number)]
        found = rows(output, axis)
        np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-6)
        difference = found[2] - found[1]
        assert told["rms_difference"][axis] == pytest.approx(np.sqrt((difference**2).mean()))
        assert told["largest_difference"][axis] == pytest.approx(np.abs(difference).max())
    with Image.open(beside(output, "png")) as figure:
        assert np.asarray(figure.convert("L")).std() > 5
    assert {path.name for path in tmp_path.iterdir()} == {
        output.name,
        f"{output.name}.json",
        *(beside(output, written).name for written in WRITTEN),
    }


def test_only_what_is_inside_a_mask_counts(checkpoint: Path, tmp_path: Path) -> None:
    inside = np.random.default_rng(0).random(SHAPE) < 0.6
    inside[:EDGE] = inside[:, :, 2 * EDGE : 3 * EDGE] = False
    field = np.random.default_rng(1).uniform(0.2, 0.4, SHAPE).astype(np.float32)
    np.save(tmp_path / "mask.npy", inside)
    np.save(tmp_path / "field.npy", field)
    output = tmp_path / "v.npy"  # the label outside is that of the phase of interest
    generate(checkpoint, output, phase_fraction_field=str(tmp_path / "field.npy"), mask=tmp_path / "mask.npy", outside=1)
    labels, cells = np.load(output), tifffile.imread(beside(output, "tif"))
    assert (labels[~inside] == 1).all()
    assert np.isnan(cells[0]).all()
    assert np.isnan(cells[:, :, 2]).all()
    for index in [(1, 0, 0), (2, 3, 4), (4, 5, 8)]:
        cell = tuple(slice(EDGE * i, EDGE * (i + 1)) for i in index)
        assert cells[index] == np.float32(labels[cell][inside[cell]].mean())
    for number, axis in enumerate("zyx"):
        counted = [s for s in slabs(number) if inside.take(s, number).any()]
        means = [[v.take(s, number)[inside.take(s, number)].mean(dtype=float) for s in counted] for v in (field, labels)]
        np.testing.assert_allclose(rows(output, axis), [[s.mean() for s in counted], *means], rtol=1e-12)
    assert len(rows(output, "z")[0]) == 4
    assert len(rows(output, "x")[0]) == 8


def test_a_mask_that_is_lost_leaves_nothing_to_follow(checkpoint: Path, tmp_path: Path) -> None:
    dot = np.zeros((60, 60, 60), np.uint8)
    dot[0, 0, 0] = 1
    np.save(tmp_path / "dot.npy", dot)
    with pytest.raises(InputError, match=r"mask: expected some voxels of the volume where it is not 0, got none"):
        generate(checkpoint, tmp_path / "out" / "v.npy", phase_fraction_field="0.3", mask=tmp_path / "dot.npy")
    assert not list((tmp_path / "out").glob("*"))


def test_the_cells_know_their_size(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["mcrgen"]["voxel_size_um"] = 0.65
    torch.save(content, tmp_path / "sized.ckpt")
    record = generate(tmp_path / "sized.ckpt", tmp_path / "v.npy", phase_fraction_field="0.3")
    assert read_raster(beside(tmp_path / "v.npy", "tif"), "x").voxel_size_um == pytest.approx(EDGE * 0.65)
    rms = record["phase_fraction_field"]["rms_difference"]
    told = " ".join(capsys.readouterr().out.split())
    assert f"rms difference of the profiles {rms['z']:.4f} along z, {rms['y']:.4f} along y, {rms['x']:.4f} along x" in told
    assert "see v.npy.phase_fraction.tif, .csv and .png" in told
    assert "phase_fraction_field" not in generate(tmp_path / "sized.ckpt", tmp_path / "plain.npy")
    assert not list(tmp_path.glob("plain.npy.phase_fraction*"))


def test_an_axis_apart_is_that_of_the_ramp(checkpoint: Path, tmp_path: Path) -> None:
    generate(checkpoint, tmp_path / "a.tif", phase_fraction_field="0.2:0.5:y")
    generate(checkpoint, tmp_path / "b.tif", phase_fraction_field="0.2:0.5", gradient_axis="y")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert written(tmp_path / "a.tif") == written(tmp_path / "b.tif")


@pytest.mark.parametrize("shape", [SHAPE, (2, 3, 4)])
def test_a_file_of_another_shape_is_stretched_on_demand(checkpoint: Path, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    np.save(tmp_path / "f.npy", np.full(shape, 0.3, np.float32))
    options: dict[str, Any] = {"phase_fraction_field": str(tmp_path / "f.npy"), "size": None, "box": "5:27,-10:20,0:43"}
    if shape != SHAPE:
        expected = (
            r"expected the volume's shape \(22, 30, 43\), '.*f\.npy' has \(2, 3, 4\); add --resample-field to stretch it\."
        )
        with pytest.raises(InputError, match=f"^phase_fraction_field: {expected}$"):
            generate(checkpoint, tmp_path / "v.npy", **options)
        assert {path.name for path in tmp_path.iterdir()} == {"f.npy"}
    generate(checkpoint, tmp_path / "v.npy", **options, resample_field=shape != SHAPE)
    generate(checkpoint, tmp_path / "w.npy", **options | {"phase_fraction_field": "0.3"})
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "owner", "name", "call"),
    [
        ("tif", BlockWriter, "write", 5),  # amid the blocks
        ("zarr", profiles, "plot_profiles", 1),  # with the table written and the figure not
        ("npy", Journal, "remove", 2),  # with the volume named and the journal of its blocks, after that of none, still there
        ("zarr", Journal, "remove", 2),
    ],
)
def test_a_run_that_was_stopped_leaves_the_same(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, owner: Any, name: str, call: int
) -> None:
    output, whole, options = tmp_path / f"v.{suffix}", tmp_path / "whole" / f"v.{suffix}", {"phase_fraction_field": "0.2:0.5:z"}
    record = generate(checkpoint, whole, **options)
    calls, real = [0], getattr(owner, name)

    def stopping(*args: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return real(*args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping)
        with pytest.raises(StoppedError):
            generate(checkpoint, output, **options)
    assert output.exists() == (owner is Journal)
    assert beside(output, "csv").exists() == (owner is not BlockWriter)
    assert beside(output, "png").exists() == (owner is Journal)
    again = generate(checkpoint, output, **options)
    assert again["phase_fraction_field"] == record["phase_fraction_field"]
    assert written(output) == written(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", *(path.name for path in whole.parent.iterdir())}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_there_is_not_replaced_unasked(checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / "v.npy"
    beside(output, suffix).write_text("mine")
    with pytest.raises(InputError, match=rf"output: '.*v\.npy\.phase_fraction\.{suffix}' exists already; choose another name"):
        generate(checkpoint, output, phase_fraction_field="0.3")
    assert {path.name for path in tmp_path.iterdir()} == {beside(output, suffix).name}
    generate(checkpoint, output)
    assert beside(output, suffix).read_text() == "mine"
    generate(checkpoint, output, phase_fraction_field="0.3", overwrite=True)
    assert beside(output, suffix).read_bytes() != b"mine"
    field = beside(output, "tif")
    with pytest.raises(InputError, match=r"output: expected a file of its own, '.*\.tif' is the phase_fraction_field; choose"):
        generate(checkpoint, output, phase_fraction_field=str(field), resample_field=True, overwrite=True)


def test_overwriting_leaves_nothing_of_another_volume(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.npy"
    generate(checkpoint, output, phase_fraction_field="0.3", keep_scores=True)
    assert len(list(tmp_path.iterdir())) > 4
    generate(checkpoint, output, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"v.npy", "v.npy.json"}
