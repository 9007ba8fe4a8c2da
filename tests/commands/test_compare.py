from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import mcrgen
from mcrgen.cli import main
from mcrgen.commands.compare import CompareResult
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.measure import measure
from mcrgen.errors import InputError
from mcrgen.io.images import write_labels

VOLUME = gaussian_level_cut((40, 44, 48), (0.6, 0.4), 1.5, 0)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    np.save(tmp_path / "ref.npy", VOLUME[20] * np.uint8(255))
    return tmp_path / "ref.npy"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "v.tif", VOLUME)
    return tmp_path / "v.tif"


def compare(reference: Path, *candidates: Path, **changes: Any) -> CompareResult:
    settings = {"output": reference.parent / "out", "gram": "none"} | changes
    return mcrgen.compare(mcrgen.CompareConfig(reference=reference, candidates=candidates, **settings))


def test_a_volume_with_its_section(reference: Path, volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compare(reference, volume)
    stored = json.loads((result.folder / "metrics.json").read_text())
    assert stored == json.loads(json.dumps(result.metrics))
    assert set(stored) == {
        "format", "phase", "max_lag", "map_lag", "s3_limit", "gram", "window", "reference", "candidates", "provenance"
    }  # fmt: skip
    assert stored["phase"] == 255
    assert (stored["max_lag"], stored["map_lag"], stored["window"]) == (20, 16, {"edge": 22, "count": 9})
    candidate = stored["candidates"]["v"]
    assert candidate["shape"] == [40, 44, 48]
    assert candidate["phase_fraction"]["candidate"] == pytest.approx(VOLUME.mean())
    assert candidate["curves"]["s2"]["candidate"][0] == pytest.approx(VOLUME.mean())
    assert set(candidate["curves"]) == {"s2", "lineal_path", "chord_length", "p3h", "p3v", "p4", "p6"}
    assert set(candidate["autocovariance_2d"]["relative_l2_per_normal"]) == {"z", "y", "x"}
    assert set(candidate["sections"]) == {"s3", "variation", "bit_quads", "interface_orientation"}
    assert set(candidate["pattern_distance_per_normal"]) == {"z", "y", "x"}
    assert 0 < candidate["pattern_distance"] < 0.2
    assert len(stored["reference"]["curves"]["s2"]["band"]["low"]) == 21
    assert set(stored["provenance"]["inputs"]) == {"reference", "candidate v"}
    assert (result.folder / "comparison.png").stat().st_size > 50_000
    printed = capsys.readouterr().out
    assert "phase fraction" in printed
    assert "hexagons" in printed
    rows = list(csv.DictReader((result.folder / "errors.csv").read_text().splitlines()))
    s2 = next(row for row in rows if row["descriptor"] == "two-point correlation")
    assert float(s2["relative_error"]) == candidate["curves"]["s2"]["relative_l2"]
    assert float(s2["mse_scaled"]) == candidate["curves"]["s2"]["mse_scaled"]
    assert float(s2["squared_error"]) == pytest.approx(float(s2["relative_error"]) ** 2)
    assert float(rows[-1]["distance"]) == candidate["pattern_distance"]


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_a_medium_with_itself(kind: str, reference: Path, volume: Path) -> None:
    path = reference if kind == "image" else volume
    metrics = compare(path, path, gram="random").metrics["candidates"][path.stem]
    for curve in metrics["curves"].values():
        assert curve["relative_l2"] == curve["mse_scaled"] == 0
    assert all(errors["relative"] == errors["squared"] == 0 for errors in metrics["sections"].values())
    assert metrics["pattern_distance"] == 0


def test_several_candidates_in_one_table(
    reference: Path, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = gaussian_level_cut((36, 36), (0.5, 0.5), 3.0, 1)
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "v.npy", other)
    result = compare(reference, volume, tmp_path / "b" / "v.npy", max_lag=12, window=20)
    names = list(result.metrics["candidates"])
    assert names == [f"{tmp_path.name}/v", "b/v"]
    alone = compare(reference, volume, max_lag=12, window=20, overwrite=True).metrics["candidates"]["v"]
    together = result.metrics["candidates"][names[0]]
    assert together["curves"] == alone["curves"]
    printed = capsys.readouterr().out
    assert "relative error" in printed
    assert "MSE of the scaled curve" in printed


def test_gram_weights_that_are_not_there(reference: Path) -> None:
    with pytest.raises(InputError, match=r"gram: no such file '.*vgg.pkl'"):
        compare(reference, reference, gram=str(reference.parent / "vgg.pkl"), output=reference.parent / "other")
    assert not (reference.parent / "other").exists()


def test_three_phases(image3: Path, tmp_path: Path) -> None:
    result = mcrgen.compare(
        mcrgen.CompareConfig(reference=image3, candidates=(image3,), output=tmp_path / "out", phase=5, gram="none")
    )
    assert result.metrics["phase"] == 5
    assert result.metrics["candidates"]["medium"]["phase_fraction"]["reference"] == pytest.approx(0.3, abs=0.001)


def test_bad_input(image: Path, image3: Path, reference: Path, volume: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"candidates: expected 2 phases as in '.*medium\.tif', '.*medium\.npy' has 3"):
        mcrgen.compare(mcrgen.CompareConfig(reference=image, candidates=(image3,), output=tmp_path / "none"))
    for changes, message in (
        ({"max_lag": 40}, r"max_lag: expected 1 to 39 for a shortest edge of 40 voxels, got 40"),
        ({"window": 23}, r"window: expected 2 to 22, half the shortest edge of the reference, got 23"),
        ({"s3_limit": 21}, r"s3_limit: expected 1 to 20 for a shortest edge of 40 voxels, got 21"),
        ({"sections": 0}, r"sections: expected a number greater than 0, got 0"),
        ({"phase": 7}, r"phase: expected one of the label values 0, 255, got 7"),
    ):
        with pytest.raises(InputError, match=message):
            compare(reference, volume, **changes)
    with pytest.raises(InputError, match=r"candidates: expected at least one volume or image to judge, got none"):
        compare(reference)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "out").exists()
    tiny = tmp_path / "tiny.npy"
    np.save(tiny, VOLUME[0, :15, :15])
    with pytest.raises(InputError, match=r"gram: expected media of at least 16 x 16 voxels, the shortest edge is 15"):
        compare(tiny, tiny, gram="random", s3_limit=4)


def test_nothing_is_overwritten_unasked(reference: Path, volume: Path) -> None:
    folder = compare(reference, volume).folder
    with pytest.raises(InputError, match=r"metrics\.json' exists already"):
        compare(reference, volume)
    compare(reference, volume, overwrite=True)
    (folder / "f").write_text("")
    with pytest.raises(InputError, match=r"output: expected a folder, '.*f' is a file"):
        compare(reference, volume, output=folder / "f")


def test_a_flat_volume_and_other_voxels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    medium = gaussian_level_cut((40, 44), (0.6, 0.4), 1.5, 0)
    write_labels(tmp_path / "a.tif", medium, 1.0)
    np.save(tmp_path / "b.npy", medium[None])
    (tmp_path / "b.npy.json").write_text('{"voxel_size_um": 2.0}')
    metrics = compare(tmp_path / "a.tif", tmp_path / "b.npy").metrics["candidates"]["b"]
    assert metrics["curves"]["s2"]["relative_l2"] == 0
    assert metrics["shape"] == [40, 44]
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: the voxels of" in printed
    assert "are 1 µm, those of" in printed
    assert "2 µm" in printed


def test_from_the_shell(reference: Path, volume: Path, tmp_path: Path) -> None:
    args = ["compare", str(reference), str(volume), str(reference), "--output", str(tmp_path / "shell"), "--gram", "none"]
    assert main(args) == 0
    assert len(json.loads((tmp_path / "shell" / "metrics.json").read_text())["candidates"]) == 2


def test_values_of_another_kind_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", VOLUME[0])
    np.save(tmp_path / "b.npy", VOLUME[1] + np.uint8(1))
    compare(tmp_path / "a.npy", tmp_path / "b.npy")
    assert "are compared in ascending order: 0 with 1, 1 with 2" in " ".join(capsys.readouterr().out.split())


def test_thin_media_and_long_chords(tmp_path: Path) -> None:
    strip = gaussian_level_cut((12, 200), (0.5, 0.5), 6.0, 0)
    np.save(tmp_path / "strip.npy", strip)
    metrics = compare(tmp_path / "strip.npy", tmp_path / "strip.npy").metrics
    assert metrics["s3_limit"] == 6
    assert metrics["candidates"]["strip"]["curves"]["chord_length"]["relative_l2"] == 0


def test_a_place_that_cannot_be_written_to(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(InputError, match=r"output: cannot write to '.*link'"):
        compare(reference, reference, output=tmp_path / "link")


@pytest.mark.parametrize("swapped", [False, True])
def test_orientation_is_left_out_where_a_medium_is_too_small(tmp_path: Path, swapped: bool) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for name, shape in (("small", (12, 30)), ("large", (20, 22, 24))):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 2, shape).astype(np.uint8))
        paths.append(tmp_path / f"{name}.npy")
    reference, candidate = reversed(paths) if swapped else paths
    sections = compare(reference, candidate).metrics["candidates"][candidate.stem]["sections"]
    assert set(sections) == {"s3", "variation", "bit_quads"}


def test_a_folder_of_images_is_one_medium(tmp_path: Path) -> None:
    images = [gaussian_level_cut((40, 32), (0.6, 0.4), 2.0, seed) for seed in range(5)]
    images[3][:] = 0  # a sample without the phase counts like any other
    for name, chosen in (("five", images), ("two", images[:2])):
        (tmp_path / name).mkdir()
        for number, image in enumerate(chosen):
            np.save(tmp_path / name / f"sample_{number}.npy", image * 3)
    (tmp_path / "five" / "samples.json").write_text("{}")
    done = mcrgen.compare(
        mcrgen.CompareConfig(
            reference=tmp_path / "two", candidates=(tmp_path / "five", tmp_path / "two"), output=tmp_path / "out", gram="none",
            max_lag=9,
        )
    )  # fmt: skip
    five, two = done.metrics["candidates"]["five"], done.metrics["candidates"]["two"]
    each = [measure(image == 1, max_lag=9, map_lag=9) for image in images]
    assert five["images"] == 5
    assert five["phase_fraction"]["candidate"] == pytest.approx(np.mean([m.fraction for m in each]))
    for name in ("s2", "lineal_path", "p3h", "p4", "p6"):
        expected = np.mean([m.curves[name].mean for m in each], axis=0)
        assert five["curves"][name]["candidate"] == pytest.approx(expected.tolist())
        reference = np.mean([m.curves[name].mean for m in each[:2]], axis=0)
        assert five["curves"][name]["mse"] == pytest.approx(np.mean((expected - reference) ** 2))
    assert two["curves"]["s2"]["relative_l2"] == 0.0
    assert two["curves"]["chord_length"]["relative_l2"] == 0.0
    assert done.metrics["window"] == {"edge": 32, "count": 2}
    usual = mcrgen.compare(
        mcrgen.CompareConfig(reference=tmp_path / "two", candidates=(tmp_path / "five",), output=tmp_path / "u", gram="none")
    )
    assert usual.metrics["max_lag"] == 16  # half an edge


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "expected images .* found none"),
        (("a.npy", "b.npy"), "expected images of one size, 20 x 20 as 'a.npy', .* has 20 x 30"),
        (("a.npy", "c.npy"), "expected a folder of segmented 2D images, .*c.npy' is none"),
    ],
)
def test_bad_folders(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    shapes = {"a.npy": (20, 20), "b.npy": (20, 30), "c.npy": (4, 20, 20)}
    (tmp_path / "many").mkdir()
    for name in names:
        np.save(tmp_path / "many" / name, gaussian_level_cut(shapes[name], (0.5, 0.5), 2.0, 0))
    np.save(tmp_path / "rock.npy", gaussian_level_cut((40, 40), (0.5, 0.5), 2.0, 0))
    with pytest.raises(mcrgen.InputError, match=message):
        mcrgen.compare(
            mcrgen.CompareConfig(reference=tmp_path / "rock.npy", candidates=(tmp_path / "many",), output=tmp_path / "out")
        )
    assert not (tmp_path / "out").exists()
