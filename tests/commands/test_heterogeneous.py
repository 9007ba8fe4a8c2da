from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from tiny import tiny_config

import mcrgen
from mcrgen.cli import main
from mcrgen.commands._generators import LoadedGenerator, load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.errors import InputError, StoppedError
from mcrgen.generation.calibration import classify
from mcrgen.generation.generator import Generator
from mcrgen.generation.noise import gaussian_noise
from mcrgen.io.volume_writer import BlockWriter

HALO = 2
SHAPE = (30, 34, 40)
Made = tuple[NDArray[np.uint8], dict[str, Any]]
Generate = Callable[..., Made]


@pytest.fixture
def generate(checkpoint: Path, tmp_path: Path) -> Generate:
    """Labels and provenance of a volume, the shared generator's unless another checkpoint is named."""
    number = iter(range(1000))

    def made(**options: Any) -> Made:
        settings = {"checkpoint": checkpoint, "output": tmp_path / f"{next(number)}.npy", "device": "cpu", "precision": "fp32"}
        settings |= {} if "box" in options else {"size": SHAPE}
        result = mcrgen.generate(mcrgen.GenerateConfig(**settings | options))
        path = result.path
        if path.suffix == ".zarr":
            labels = np.asarray(zarr.open_group(path, mode="r")["0"])
        else:
            labels = np.load(path) if path.suffix == ".npy" else tifffile.imread(path)
        return labels, json.loads(path.with_name(f"{path.name}.json").read_text())

    return made


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> LoadedGenerator:
    return load_generator(checkpoint, "cpu", Precision.fp32)


@pytest.fixture(scope="module")
def of_pores(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another two-phase generator, whose phase of interest is 0."""
    config = tiny_config(image, tmp_path_factory.mktemp("run") / "zero", "data.phase=0", "seed=5")
    return mcrgen.train(config).checkpoint


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, NDArray[Any]], Path]:
    def saved(name: str, values: NDArray[Any]) -> Path:
        np.save(tmp_path / f"{name}.npy", values)
        return tmp_path / f"{name}.npy"

    return saved


Save = Callable[[str, NDArray[Any]], Path]


def ball(shape: tuple[int, int, int] = SHAPE, share: float = 0.42) -> NDArray[np.uint8]:
    places = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    z, y, x = np.meshgrid(*places, indexing="ij")
    return (z**2 + y**2 + x**2 < share**2).astype(np.uint8)


def deep(inside: NDArray[np.bool_], *, periodic: bool = False) -> NDArray[np.bool_]:
    """Voxels whose receptive field is all inside; beyond the volume, what is at its face goes on, or it repeats."""
    kept: NDArray[np.bool_] = ndimage.minimum_filter(inside, 2 * HALO + 1, mode="wrap" if periodic else "nearest")
    return kept


def changed(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Share of unequal labels: convolutions of another block round differently, which tips a voxel over now and then."""
    assert a.shape == b.shape
    return float((a != b).mean())


# --- masks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", ["none", "all"])
def test_a_mask_leaves_the_medium_as_it_is_away_from_its_zeros(generate: Generate, save: Save, periodic: str) -> None:
    open_there = np.roll(ball(), 9, axis=2)  # across a face, so that going on and repeating differ
    mask = save("mask", open_there)
    plain, _ = generate(periodic=periodic, seed=4)
    masked, _ = generate(periodic=periodic, seed=4, mask=mask)
    same = deep(open_there > 0, periodic=periodic == "all")
    assert 0.1 < same.mean() < 0.5
    assert changed(masked[same], plain[same]) <= 1e-4
    dead = deep(open_there == 0, periodic=periodic == "all")
    assert len(np.unique(masked[dead])) == 1
    for label in (0, 3):
        labelled, _ = generate(periodic=periodic, seed=4, mask=mask, outside=label)
        assert (labelled[open_there == 0] == label).all()
        np.testing.assert_array_equal(labelled[open_there > 0], masked[open_there > 0])


def test_a_mask_leaves_no_rim_at_the_faces_and_no_seam_between_blocks(generate: Generate, save: Save) -> None:
    holed = np.ones((15, 17, 20), np.uint8)
    holed[6:9, 7:10, 8:12] = 0
    mask = save("mask", holed)
    masked, _ = generate(mask=mask, outside=2)
    plain, _ = generate()
    inner = (slice(3, -3),) * 3
    shell = np.ones(SHAPE, bool)
    shell[inner] = False
    assert changed(masked[shell], plain[shell]) <= 1e-4
    for size in (7, 16):
        assert changed(generate(mask=mask, outside=2, block_size=size)[0], masked) <= 1e-4


def test_weights_of_the_phases_of_a_mask(generate: Generate, save: Save) -> None:
    """Noise times a weight is noise of that deviation, and floating-point masks are weights themselves."""
    phases = np.repeat([4, 7, 9], (10, 14, 16)).astype(np.int32) * np.ones(SHAPE, np.int32)
    weights = (0.0, 0.4, 1.0)
    weighted, _ = generate(mask=save("phases", phases), mask_weights=weights, outside=5)
    graded = np.select([phases == 4, phases == 7], weights[:2], 1.0)
    np.testing.assert_array_equal(generate(mask=save("graded", graded), outside=5)[0], weighted)
    fainter, _ = generate(noise_deviation="0.4")
    middle = deep(phases == 7)
    assert changed(weighted[middle], fainter[middle]) <= 1e-4
    assert changed(fainter, generate()[0]) > 0.05
    even, _ = generate(mask=save("phases", phases))
    np.testing.assert_array_equal(even, generate(mask=save("phases", phases), mask_weights=(0.0, 0.5, 1.0))[0])


@pytest.mark.parametrize("outside", [None, 0, 1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_exact_fraction_inside_a_mask(generate: Generate, save: Save, outside: int | None, smoothing: float) -> None:
    inside = ball()
    options: dict[str, Any] = {"mask": save("mask", inside), "exact": True, "phase_fraction": 0.35, "smoothing": smoothing}
    labels, record = generate(**options, outside=outside, block_size=19)
    tolerance = 2e-4 if smoothing == 0 else 1e-3
    assert (labels[inside > 0] == 1).mean() == pytest.approx(0.35, abs=tolerance)
    if outside is None:
        assert "residual" not in record  # what the generator makes of no noise is no phase fraction to aim at
    else:
        assert record["residual"] <= tolerance
        assert (labels == 1).mean() == pytest.approx(record["calibration"]["fractions"][1], abs=tolerance)


def test_a_mask_that_is_lost_at_the_size_of_the_volume(generate: Generate, save: Save, tmp_path: Path) -> None:
    dot = np.zeros((60, 60, 60), np.uint8)
    dot[0, 0, 0] = 1
    mask = save("dot", dot)
    for options in ({"exact": True}, {"smoothing": 1.0}):
        with pytest.raises(InputError, match=r"mask: expected some voxels of the volume where it is not 0, got none"):
            generate(mask=mask, output=tmp_path / "out" / "v.npy", **options)
        assert not list((tmp_path / "out").glob("*"))


# --- fields -----------------------------------------------------------------------------------------------------------------


def network_of(loaded: LoadedGenerator, modulation: Callable[[NDArray[Any], tuple[int, int, int]], NDArray[Any]]) -> Any:
    """Labels of SHAPE from noise that the test modulates itself."""

    def noise(origin: tuple[int, int, int], shape: tuple[int, int, int], channels: int, *, threads: int = 1) -> NDArray[Any]:
        return modulation(gaussian_noise(0, origin, shape, channels), origin).astype(np.float32)

    scores = loaded.generator.scores(noise, (0, 0, 0), SHAPE)  # type: ignore[arg-type]
    return classify(scores, loaded.calibration(None).bias, loaded.phase).numpy()


def test_ramps_of_mean_and_deviation(generate: Generate, loaded: LoadedGenerator) -> None:
    def modulated(noise: NDArray[Any], origin: tuple[int, int, int]) -> NDArray[Any]:
        rows, columns = (start + np.arange(n) for start, n in zip(origin[1:], noise.shape[1:3], strict=True))
        mean = np.interp(columns, [0, SHAPE[2] - 1], [-1.0, 0.5])
        deviation = np.interp(rows, [0, SHAPE[1] - 1], [0.3, 1.4])
        result: NDArray[Any] = mean[:, None] + deviation[:, None, None] * noise
        return result

    both, _ = generate(noise_mean="-1:0.5:x", noise_deviation="0.3:1.4:y", block_size=17)
    assert changed(both, network_of(loaded, modulated)) <= 1e-4


def test_ramps_end_at_their_ends(generate: Generate, save: Save) -> None:
    plateaus = np.repeat([-1.5, 1.0], (15, 25)) * np.ones(SHAPE)
    stepped, _ = generate(noise_mean=str(save("mean", plateaus)))
    for value in (-1.5, 1.0):
        constant, _ = generate(noise_mean=str(value))
        there = deep(plateaus == value)
        assert changed(stepped[there], constant[there]) <= 1e-4
    ramp, _ = generate(noise_mean="-1.5:1:x", size=(30, 34, 400))
    low, high = (
        generate(noise_mean=value, box=f"0:30,0:34,{start}:{start + 3}")[0] for value, start in (("-1.5", 0), ("1", 397))
    )
    assert changed(ramp[..., :3], low) <= 0.01
    assert changed(ramp[..., -3:], high) <= 0.01


def test_a_phase_fraction_field_is_followed(generate: Generate, save: Save) -> None:
    size = (50, 50, 60)
    ramp, _ = generate(phase_fraction_field="0.2:0.5:x", size=size)
    slabs = ramp.mean((0, 1)).reshape(6, 10).mean(1)
    wanted = np.linspace(0.2, 0.5, 60).reshape(6, 10).mean(1)
    np.testing.assert_allclose(slabs, wanted, atol=0.02)  # 25000 voxels, about 10 of them to a feature
    stored = np.array([0.15, 0.55])[:, None, None] * np.ones((2, 3, 4))
    coarse = {"phase_fraction_field": str(save("field", stored)), "resample_field": True}
    upper, lower = np.split(generate(**coarse, size=size)[0], 2)
    assert upper[:12].mean() == pytest.approx(0.15, abs=0.02)  # constant out to the stored centre
    assert lower[-12:].mean() == pytest.approx(0.55, abs=0.02)
    constant, _ = generate(phase_fraction_field="0.35", size=size)
    assert changed(constant, generate(phase_fraction=0.35, size=size)[0]) <= 1e-3


def test_a_phase_fraction_field_met_on_the_whole(generate: Generate, of_pores: Path) -> None:
    for options in ({}, {"checkpoint": of_pores}):
        labels, record = generate(phase_fraction_field="0.2:0.5:z", exact=True, **options)
        phase = record["phases"]["phase"]
        assert (labels == phase).mean() == pytest.approx(0.35, abs=2e-4)
        assert record["calibration"]["fractions"][phase] == pytest.approx(0.35, abs=1e-6)
        planes = (labels == phase).mean((1, 2))
        assert planes[:6].mean() < 0.3 < 0.4 < planes[-6:].mean()


def test_a_phase_fraction_field_met_inside_a_mask(generate: Generate, save: Save) -> None:
    inside = ball()
    inside[:15] = 0
    labels, _ = generate(phase_fraction_field="0.2:0.5:z", exact=True, mask=save("mask", inside), outside=0)
    wanted = (np.linspace(0.2, 0.5, 30)[:, None, None] * inside).sum() / inside.sum()
    assert labels[inside > 0].mean() == pytest.approx(wanted, abs=5e-4)


def test_fields_cover_the_box(generate: Generate, save: Save) -> None:
    """A ramp begins and ends at the box, wherever it is."""
    mask = save("mask", ball((9, 9, 9)))
    box, _ = generate(box="100:130,-7:27,40:80", noise_mean="-1.5:1.5:x", mask=mask, outside=2, seed=1)
    far = generate(box="0:30,0:34,0:40", noise_mean="-1.5:1.5:x", mask=mask, outside=2, seed=1)[0]
    np.testing.assert_array_equal(box == 2, far == 2)
    inside = box != 2
    shares = [(labels[..., part] == 1)[inside[..., part]].mean() for labels in (box, far) for part in (np.s_[:12], np.s_[28:])]
    assert abs(shares[0] - shares[1]) > 0.3
    np.testing.assert_allclose(shares[:2], shares[2:], atol=0.06)
    graded, _ = generate(box="100:130,-7:27,40:80", phase_fraction_field="0.1:0.6:y")
    assert graded[:, :12].mean() < 0.3 < graded[:, -12:].mean()


# --- regions ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def map_file(save: Save) -> Path:
    """Regions 0, 2 and 5, as a coarse map."""
    regions = np.zeros((15, 17, 20), np.int16)
    regions[:, 9:] = 2
    regions[:, :, 14:] = 5
    return save("regions", regions)


def regions_of(map_file: Path) -> NDArray[Any]:
    fine: NDArray[Any] = np.load(map_file).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    return fine


@pytest.mark.parametrize("periodic", ["none", "zx"])
def test_each_region_is_its_generator_s_own(
    generate: Generate, checkpoint3: Path, of_pores: Path, map_file: Path, periodic: str
) -> None:
    entries = (f"2={checkpoint3}:4,0,9", f"5={of_pores}")
    labels, record = generate(regions=map_file, region=entries, seed=2, periodic=periodic, block_size=21)
    first, third, second = (
        generate(seed=2, periodic=periodic, **other)[0] for other in ({}, {"checkpoint": of_pores}, {"checkpoint": checkpoint3})
    )
    regions = regions_of(map_file)
    expected = np.select([regions == 0, regions == 2], [first, np.array([4, 0, 9])[second]], third)
    assert changed(labels, expected.astype(np.uint8)) <= 1e-4
    assert set(record["inputs"]) == {"checkpoint", "regions", "region 2", "region 5"}
    counted = np.bincount(labels.ravel(), minlength=10) / labels.size
    np.testing.assert_allclose(record["phase_fractions"], counted)


def test_regions_of_one_label(generate: Generate, map_file: Path) -> None:
    labels, _ = generate(regions=map_file, region=("0=7", "2=1", "5=0"), smoothing=0.0)
    np.testing.assert_array_equal(labels, np.select([regions_of(map_file) == 0, regions_of(map_file) == 2], [7, 1], 0))
    same, _ = generate(regions=map_file, region=("0=3", "2=3", "5=3"), smoothing=2.0)
    assert (same == 3).all()


def test_a_transition_changes_labels_near_boundaries_alone(generate: Generate, of_pores: Path, map_file: Path) -> None:
    options: dict[str, Any] = {"regions": map_file, "region": (f"2={of_pores}", "5=1"), "size": SHAPE}
    sharp, _ = generate(**options)
    soft, _ = generate(**options, transition=8.0)
    assert changed(generate(**options, transition=8.0, block_size=13)[0], soft) <= 1e-4
    rows = (sharp != soft)[:, :, :28].any((0, 2))
    assert 14 <= np.flatnonzero(rows).min() <= 18 <= np.flatnonzero(rows).max() < 22
    assert (soft[:, :, 28:] == 1).all()
    np.testing.assert_array_equal(generate(**options, transition=1.0)[0], sharp)


def test_global_features_from_one_generator_and_local_ones_from_another(
    generate: Generate, checkpoint3: Path, tmp_path: Path
) -> None:
    """The three-phase titanium alloy of the paper: lamellae are a mask, what is between them comes from a trained model."""
    generate(output=tmp_path / "lamellae.tif", size=(10, 12, 13), exact=True)
    size = (30, 36, 39)
    alloy, _ = generate(checkpoint=checkpoint3, regions=tmp_path / "lamellae.tif", region=("1=3",), size=size)
    lamellae = tifffile.imread(tmp_path / "lamellae.tif").repeat(3, 0).repeat(3, 1).repeat(3, 2) == 1
    np.testing.assert_array_equal(alloy == 3, lamellae)
    local, _ = generate(checkpoint=checkpoint3, size=size)
    assert changed(alloy[~lamellae], local[~lamellae]) <= 1e-4
    assert lamellae.mean() == pytest.approx(0.3, abs=1e-3)


def test_regions_inside_a_mask(generate: Generate, map_file: Path, save: Save) -> None:
    inside = ball()
    options: dict[str, Any] = {"regions": map_file, "region": ("2=4", "5=6")}
    masked, _ = generate(**options, mask=save("mask", inside), outside=9)
    unmasked, _ = generate(**options)
    same = deep(inside > 0)
    assert changed(masked[same], unmasked[same]) <= 1e-4
    np.testing.assert_array_equal(masked == 9, inside == 0)


# --- smoothing --------------------------------------------------------------------------------------------------------------


def surface(labels: NDArray[np.uint8]) -> float:
    return float(sum((np.diff(labels, axis=axis) != 0).sum() for axis in range(3)))


@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_smoothing_keeps_the_phase_fractions(generate: Generate, of_pores: Path, checkpoint3: Path, sigma: float) -> None:
    for own, share in (({}, 0.3), ({"checkpoint": of_pores}, 0.3)):
        rough, _ = generate(size=(40,), exact=True, **own)
        smooth, _ = generate(size=(40,), exact=True, smoothing=sigma, **own)
        assert smooth.mean() == pytest.approx(rough.mean(), abs=1e-3)
        assert smooth.mean() == pytest.approx(share, abs=1e-3)
        assert surface(smooth) < 0.6 * surface(rough)
    three, _ = generate(size=(40,), exact=True, smoothing=sigma, checkpoint=checkpoint3)
    np.testing.assert_allclose(np.bincount(three.ravel()) / three.size, (0.5, 0.3, 0.2), atol=2e-3)


@pytest.mark.parametrize("own", [{}, {"noise_deviation": "0.7:1:z"}])
def test_smoothing_keeps_the_phase_fractions_nearly_without_a_first_pass(generate: Generate, own: dict[str, str]) -> None:
    rough, smooth = (generate(size=(64,), smoothing=sigma, **own)[0] for sigma in (0.0, 1.0))
    assert smooth.mean() == pytest.approx(rough.mean(), abs=0.01)


def test_smoothing_of_a_part_is_that_of_the_whole(
    generate: Generate, checkpoint3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the medium is the same everywhere, so are the thresholds, chosen elsewhere."""
    monkeypatch.setattr("mcrgen.commands._smoothing.TYPICAL_SHAPE", (24, 40, 48))
    for own in ({}, {"checkpoint": checkpoint3}):
        whole, _ = generate(smoothing=1.2, seed=3, **own)
        assert changed(generate(smoothing=1.2, seed=3, block_size=11, **own)[0], whole) <= 1e-4
        part, _ = generate(smoothing=1.2, seed=3, box="5:30,2:20,-3:37", **own)
        assert changed(part[:, :, 3:], whole[5:, 2:20, :37]) <= 1e-4


@pytest.mark.parametrize("exact", [False, True])
def test_smooth_periodic_volumes_have_no_seam(generate: Generate, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcrgen.commands._smoothing.TYPICAL_SHAPE", (24, 40, 48))
    labels, _ = generate(smoothing=1.2, periodic="all", exact=exact, block_size=17)
    for axis in range(3):
        inside = (np.diff(labels, axis=axis) != 0).mean(axis=tuple(a for a in range(3) if a != axis))
        across = (labels.take(0, axis) != labels.take(-1, axis)).mean()
        assert across < inside.mean() + 4 * inside.std()


def test_smoothing_of_regions_makes_no_other_labels(generate: Generate, checkpoint: Path, map_file: Path) -> None:
    options: dict[str, Any] = {"regions": map_file, "region": (f"0={checkpoint}:8,2", f"2={checkpoint}:2,8", "5=5")}
    rough, _ = generate(**options)
    smooth, _ = generate(**options, smoothing=1.0)
    counts = [np.bincount(labels.ravel(), minlength=9) for labels in (rough, smooth)]
    assert set(np.flatnonzero(counts[1])) == {2, 5, 8}
    np.testing.assert_allclose(counts[1] / rough.size, counts[0] / rough.size, atol=2e-3)
    assert surface(smooth) < 0.6 * surface(rough)


def test_smoothing_with_labels_that_the_sample_lacks(generate: Generate, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are neither lost nor do they spread, and the sample has some of every region however small."""
    regions = np.zeros(SHAPE, np.uint8)
    regions[:4, :4, :4] = 1
    monkeypatch.setattr("mcrgen.commands._smoothing._SAMPLE_EDGE", 8)
    monkeypatch.setattr("mcrgen.commands._smoothing._SAMPLE_VOXELS", 100)
    labels, _ = generate(regions=save("regions", regions), region=("1=2",), smoothing=0.8)
    assert labels[0, 0, 0] == 2
    assert (labels == 2).sum() == pytest.approx(64, abs=12)
    monkeypatch.setattr("mcrgen.commands._region_source.ManyGenerators.voxels", lambda self, block: np.array([512, 512]))
    lacking, _ = generate(regions=save("regions", regions), region=("1=2",), smoothing=0.8)
    assert lacking[0, 0, 0] == 2
    assert (lacking == 2).sum() == pytest.approx(64, abs=24)


# --- what is written --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["two", "zero", "three", "field", "mask"])
def test_kept_scores_make_the_labels(
    which: str, generate: Generate, of_pores: Path, checkpoint3: Path, save: Save, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "two": {"exact": True},
        "zero": {"checkpoint": of_pores},
        "three": {"checkpoint": checkpoint3},
        "field": {"phase_fraction_field": "0.2:0.5:y"},
        "mask": {"mask": save("mask", ball()), "outside": 4},
    }[which]
    labels, record = generate(output=tmp_path / "v.npy", keep_scores=True, block_size=19, **options)
    scores = np.load(tmp_path / "v.npy.scores.npy")
    assert scores.dtype == np.float16
    assert scores.shape == ((3, *SHAPE) if which == "three" else SHAPE)
    values = np.sort(
        scores.astype(np.float32).reshape(-1, *SHAPE) + np.reshape(record["calibration"]["bias"], (-1, 1, 1, 1)), 0
    )
    if which == "three":
        biased = scores + np.reshape(record["calibration"]["bias"], (3, 1, 1, 1))
        made, margin = biased.argmax(0), values[-1] - values[-2]
    else:
        made, margin = (values[0] > 0) ^ (record["phases"]["phase"] == 0), np.abs(values[0])
    sure = margin > 2e-3 * np.abs(scores.astype(np.float32)).max()  # float16 has 11 bits
    if which == "mask":
        sure &= ball() > 0
    assert sure.mean() > (0.2 if which == "mask" else 0.95)
    np.testing.assert_array_equal(made[sure], labels[sure])


def test_kept_scores_of_a_run_that_was_stopped(generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"keep_scores": True, "block_size": 12, "output": tmp_path / "v.npy"}
    generate(**options | {"output": tmp_path / "whole.npy"})
    asked, scores = [0], Generator.scores

    def interrupted(self: Generator, *args: Any, **keywords: Any) -> Any:
        asked[0] += 1
        if asked[0] == 20:
            raise KeyboardInterrupt
        return scores(self, *args, **keywords)

    monkeypatch.setattr(Generator, "scores", interrupted)
    with pytest.raises(StoppedError):
        generate(**options)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"begun by another run \(keep_scores was True, is False\)"):
        generate(**options | {"keep_scores": False})
    generate(**options)
    for suffix in ("", ".scores.npy"):
        assert (tmp_path / f"v.npy{suffix}").read_bytes() == (tmp_path / f"whole.npy{suffix}").read_bytes()
    with pytest.raises(InputError, match=r"output: '.*v\.npy' exists already"):
        generate(**options)
    (tmp_path / "v.npy").unlink()
    (tmp_path / "v.npy.json").unlink()
    with pytest.raises(InputError, match=r"output: '.*v\.npy\.scores\.npy' exists already"):
        generate(**options)
    generate(**options, overwrite=True, seed=8)
    assert (tmp_path / "v.npy.scores.npy").read_bytes() != (tmp_path / "whole.npy.scores.npy").read_bytes()


def test_a_pyramid_of_a_masked_medium(generate: Generate, save: Save, tmp_path: Path) -> None:
    options: dict[str, Any] = {"mask": save("mask", ball()), "outside": 2, "size": (70, 30, 40)}
    labels, _ = generate(output=tmp_path / "v.zarr", pyramid=True, **options)
    np.testing.assert_array_equal(labels, generate(**options)[0])
    group = zarr.open_group(tmp_path / "v.zarr", mode="r")
    assert [group[str(level)].shape for level in range(2)] == [(70, 30, 40), (35, 15, 20)]
    assert set(np.unique(np.asarray(group["1"]))) <= {0, 1, 2}


def told(path: Path) -> dict[str, Any]:
    """The metadata inside a volume."""
    if path.suffix == ".zarr":
        return dict(zarr.open_group(path, mode="r").attrs["mcrgen"])
    with tifffile.TiffFile(path) as tif:
        lines = tif.pages.first.description.splitlines()
    (line,) = (line for line in lines if line.startswith("mcrgen="))
    return dict(json.loads(line.removeprefix("mcrgen=")))


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_a_volume_tells_where_it_came_from(generate: Generate, save: Save, tmp_path: Path, suffix: str) -> None:
    field = np.random.default_rng(0).uniform(0.2, 0.5, (5, 6, 7)).astype(np.float32)
    options: dict[str, Any] = {"seed": 9, "phase_fraction_field": str(save("field", field)), "resample_field": True}
    options["mask"] = save("mask", ball())
    records = [generate(output=tmp_path / f"{b}.{suffix}", block_size=b, **options)[1] for b in (40, 13)]
    inside = [told(tmp_path / f"{b}.{suffix}") for b in (40, 13)]
    assert inside[0] == inside[1]
    assert inside[0]["seed"] == 9
    for name in ("checkpoint", "mask", "phase_fraction_field"):
        assert records[0]["inputs"][name]["sha256"] in json.dumps(inside[0])
    assert inside[0]["phases"] == records[0]["phases"]
    assert inside[0]["training"]["network"]["layers"] == 2


def test_a_volume_tells_what_fills_its_regions(
    generate: Generate, checkpoint: Path, of_pores: Path, map_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "moved.ckpt"
    copy.write_bytes(of_pores.read_bytes())
    entries = [("0=7", f"2={generator}:3,5") for generator in (of_pores, copy)]
    options: list[dict[str, Any]] = [{"regions": map_file, "region": entry} for entry in entries]
    records = [generate(output=tmp_path / f"{i}.zarr", **options[i])[1] for i in range(2)]
    inside = [told(tmp_path / f"{i}.zarr") for i in range(2)]
    assert inside[0] == inside[1]  # wherever a checkpoint is
    contents = {entry["value"]: entry for entry in inside[0]["contents"]}
    assert contents == {entry["value"]: entry for entry in records[0]["contents"]}
    assert [contents[value]["labels"] for value in (0, 2, 5)] == [[7], [3, 5], [0, 1]]
    assert contents[2]["phases"]["phase"] == 0
    assert contents[2]["training"]["seed"] == 5
    assert records[0]["inputs"]["region 2"]["sha256"] in json.dumps(inside[0])


def test_a_run_with_another_mask_is_told_apart(
    generate: Generate, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, write, left = save("mask", ball()), BlockWriter.write, [2]

    def stopping(self: BlockWriter, *block: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(self, *block)

    monkeypatch.setattr(BlockWriter, "write", stopping)
    with pytest.raises(StoppedError):
        generate(mask=mask, output=tmp_path / "v.npy", block_size=12)
    monkeypatch.undo()
    other = ball()
    other[0] = 1
    for changes in ({"mask": save("other", other)}, {"mask": None}, {"mask": mask, "outside": 0}):
        with pytest.raises(InputError, match=r"begun by another run \(.*(mask|outside).*\); finish it with those options"):
            generate(output=tmp_path / "v.npy", block_size=12, **changes)
    whole, _ = generate(mask=mask, block_size=12)
    renamed = mask.rename(mask.with_name("renamed.npy"))
    np.testing.assert_array_equal(generate(mask=renamed, output=tmp_path / "v.npy", block_size=12)[0], whole)


# --- what is refused --------------------------------------------------------------------------------------------------------

MASKS = {
    "flat": np.eye(5),
    "empty": np.zeros((0, 5, 5), np.float32),
    "no_labels": np.zeros((0, 5, 5), np.uint8),
    "closed": np.zeros((3, 3, 3), np.uint8),
    "closed_too": np.zeros((3, 3, 3), np.float32),
    "nan": np.full((3, 3, 3), np.nan),
    "large": np.full((3, 3, 3), 2.0),
    "good": np.arange(8, dtype=np.uint8).reshape(2, 2, 2) // 4,
    "graded": np.linspace(0.0, 1.0, 27).reshape(3, 3, 3),
    "fractions": np.full((3, 4, 5), 0.3),
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mask flat", r"mask: expected a 3D volume, 'flat\.npy' has the shape \(5, 5\)"),
        ("--mask empty", r"mask: expected a 3D volume, 'empty\.npy' has the shape \(0, 5, 5\)"),
        ("--mask no_labels", r"mask: expected .* a 3D volume, 'no_labels\.npy' has the shape \(0, 5, 5\)"),
        ("--mask closed", r"mask 'closed\.npy': expected at least two phases, found only the value 0"),
        ("--mask closed_too", r"mask: 'closed_too\.npy' is 0 everywhere, which leaves no noise at all; name another mask"),
        ("--mask nan", r"mask: expected finite numbers, 'nan\.npy' has NaN or infinite ones; fill them first"),
        ("--mask large", r"mask 'large\.npy': expected values between 0 and 1, got 2"),
        ("--mask nowhere", r"mask: no such file 'nowhere\.npy'"),
        ("--mask nowhere.zarr", r"mask: no such file 'nowhere\.zarr'"),
        ("--mask good --mask-weights 1", r"mask_weights: expected 2, for the labels 0, 1 of 'good\.npy', got 1"),
        ("--mask good --mask-weights 0 2", r"mask_weights: expected values between 0 and 1, got 2"),
        ("--mask good --mask-weights 0 nan", r"mask_weights: expected values between 0 and 1, got nan"),
        ("--mask good --mask-weights 0 0", r"mask: 'good\.npy' is 0 everywhere"),
        ("--mask-weights 0 1", r"mask: expected a file beside --mask-weights and --outside, got none; add --mask FILE"),
        ("--outside 0", r"mask: expected a file beside --mask-weights and --outside, got none; add --mask FILE"),
        ("--mask good --outside 256", r"outside: expected a label from 0 to 255, got 256"),
        ("--mask good --outside -1", r"outside: expected a label from 0 to 255, got -1"),
        ("--phase-fraction-field 0", r"phase_fraction_field: expected values between 0 and 1 \(exclusive\), got 0"),
        ("--phase-fraction-field 0.2:1:z", r"phase_fraction_field: expected values between 0 and 1 \(exclusive\), got 1"),
        (
            "--phase-fraction-field graded",
            r"phase_fraction_field 'graded\.npy': expected values between 0 and 1 \(exclusive\), got 0",
        ),
        ("--phase-fraction-field nan", r"phase_fraction_field: expected values between 0 and 1 \(exclusive\), got nan"),
        ("--phase-fraction-field nan.npy", r"phase_fraction_field: expected finite numbers, 'nan\.npy' has NaN"),
        ("--phase-fraction-field nowhere", r"phase_fraction_field: no such file 'nowhere\.npy'"),
        (
            "--phase-fraction-field ''",
            r"phase_fraction_field: expected a number, a ramp A:B:AXIS such as 0\.2:0\.5:z, or a file, got ''",
        ),
        (
            "--phase-fraction-field fractions",
            r"phase_fraction_field: expected the volume's shape \(8, 8, 8\), 'fractions\.npy' has \(3, 4, 5\); add --resample",
        ),
        (
            "--phase-fraction-field 0.2:0.5",
            r"phase_fraction_field: expected a ramp with its axis, as in 0\.2:0\.5:z, or --gradient-axis beside it, got '0",
        ),
        (
            "--gradient-axis z",
            r"gradient_axis: expected beside a ramp that names no axis, --phase-fraction-field A:B, got none;",
        ),
        (
            "--phase-fraction-field 0.3 --gradient-axis z",
            r"gradient_axis: .* that names no axis, .*, got '0\.3'; leave the axis",
        ),
        ("--phase-fraction-field good --gradient-axis z", r"gradient_axis: .* that names no axis, .*, got 'good\.npy'; leave"),
        ("--phase-fraction-field 0.2:0.5:z --gradient-axis z", r"gradient_axis: .* that names no axis, .*, got '0\.2:0\.5:z'"),
        ("--phase-fraction-field 0.2:0.5:z --gradient-axis x", r"gradient_axis: .* that names no axis, .*, got '0\.2:0\.5:z'"),
        ("--phase-fraction-field 0.2:b --gradient-axis x", r"gradient_axis: .* that names no axis, .*, got '0\.2:b'"),
        ("--phase-fraction-field 0.2:0.5 --gradient-axis w", r"gradient_axis: expected z, y or x, got 'w'"),
        (
            "--phase-fraction-field 0.2:1 --gradient-axis x",
            r"phase_fraction_field: expected values between 0 and 1 \(exclusive\)",
        ),
        (
            "--noise-mean 0.2:0.5 --gradient-axis x",
            r"gradient_axis: .* that names no axis, --phase-fraction-field A:B, got none",
        ),
        ("--resample-field", r"resample_field: expected beside a file as --phase-fraction-field, got none; leave it out"),
        ("--resample-field --phase-fraction-field 0.3", r"resample_field: expected beside a file .*, got '0\.3'; leave it out"),
        ("--phase-fraction-field 0.3 --phase-fraction 0.3", r"phase_fraction_field: expected without a phase fraction"),
        (
            "--phase-fraction-field 0.3 THREE",
            r"phase_fraction_field: expected a generator of two phases, this one has 3; leave it out",
        ),
        ("--noise-mean nan", r"noise_mean: expected finite values, got nan"),
        ("--noise-mean 1e39", r"noise_mean: expected finite values, got 1e\+39"),
        ("--noise-mean 0:1:x --periodic x", r"noise_mean: expected no ramp along the periodic axis x"),
        ("--noise-mean nowhere", r"noise_mean: no such file 'nowhere\.npy'"),
        ("--noise-mean flat", r"noise_mean: expected a 3D volume, 'flat\.npy' has the shape \(5, 5\)"),
        ("--noise-deviation -1", r"noise_deviation: expected values of 0 or more, got -1"),
        ("--noise-deviation 1:-1:y", r"noise_deviation: expected values of 0 or more, got -1"),
        ("--noise-deviation nan.npy", r"noise_deviation: expected finite numbers, 'nan\.npy'"),
        (
            "--regions good --exact",
            r"exact: expected with one generator, not with one for each region; leave one of the two out",
        ),
        ("--regions good --keep-scores", r"keep_scores: expected with one generator"),
        ("--regions good --phase-fraction 0.3", r"phase_fraction: expected with one generator"),
        ("--regions good --phase-fraction-field 0.3", r"phase_fraction_field: expected with one generator"),
        ("--regions flat", r"regions: expected a 3D volume, 'flat\.npy' has the shape \(5, 5\)"),
        ("--regions closed", r"regions 'closed\.npy': expected at least two phases, found only the value 0"),
        ("--regions nan", r"regions 'nan\.npy': expected labels, found NaN or infinite values"),
        ("--regions nowhere", r"regions: no such file 'nowhere\.npy'"),
        ("--regions nowhere.zarr", r"regions: no such file 'nowhere\.zarr'"),
        ("--regions good --region 4=1", r"region: expected values of the map \(0, 1\), got an entry for 4; leave it out"),
        ("--regions good --region 1=no.ckpt", r"region: no such file 'no\.ckpt'"),
        ("--regions good --region 1=good.npy", r"region: 1=good\.npy: checkpoint: 'good\.npy' is"),
        (
            "--regions good --region 1=1 --region 1=2",
            r"region: expected one entry for each value of the map, got several for 1",
        ),
        (
            "--regions good --region 1=TWO:0,1,2",
            r"region: expected 2 labels in the entry of 1, .* got 3; name them all or none",
        ),
        ("--region 1=2", r"regions: expected a map beside --region and --transition, got none; add --regions MAP"),
        ("--transition 3", r"regions: expected a map beside --region and --transition, got none; add --regions MAP"),
        ("--regions good --transition -3", r"transition: expected from 0, for none, to 500 voxels, got -3"),
        ("--regions good --transition 1e9", r"transition: expected from 0, for none, to 500 voxels, got 1e\+09"),
        ("--smoothing -1", r"smoothing: expected from 0, for none, to 50 voxels, got -1"),
        ("--smoothing nan", r"smoothing: expected from 0, for none, to 50 voxels, got nan"),
        ("--smoothing 1e9", r"smoothing: expected from 0, for none, to 50 voxels, got 1e\+09"),
        ("--smoothing 1 --keep-scores", r"keep_scores: expected without smoothing"),
        ("--pyramid", r"pyramid: only \.zarr holds several resolutions, got '.*v\.npy'"),
        ("--size 4 0 4", r"size: expected one or three edge lengths greater than 0, got '4 0 4'"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(
    options: str,
    message: str,
    checkpoint: Path,
    checkpoint3: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(options)
    model = checkpoint3 if "THREE" in words else checkpoint
    words = [f"{w}.npy" if (w in MASKS and w != "nan") or w == "nowhere" else w for w in words if w != "THREE"]
    words = ["nan.npy" if w == "nan" and words[i - 1] in ("--mask", "--regions") else w for i, w in enumerate(words)]
    for name in {Path(w).stem for w in words} & set(MASKS):
        np.save(tmp_path / f"{name}.npy", MASKS[name])
    words = [w.replace("TWO", str(checkpoint)) for w in words]
    size = [] if "--size" in words else ["--size", "8"]
    before = {p.name for p in tmp_path.iterdir()}
    assert main(["generate", str(model), "out/v.npy", "--device", "cpu", *size, *words]) == 2
    told = capsys.readouterr().err.strip()
    assert re.match(f"mcrgen: {message}", told), told
    assert len(told.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} <= before | {"out"}
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_no_input_is_overwritten(generate: Generate, save: Save, map_file: Path) -> None:
    mask = save("mask", ball())
    with pytest.raises(InputError, match=r"output: expected a file of its own, '.*mask\.npy' is the mask; choose another"):
        generate(mask=mask, output=mask.parent / "x" / ".." / "mask.npy", overwrite=True)
    with pytest.raises(InputError, match=r"output: expected a file of its own, '.*' is the regions; choose another"):
        generate(regions=map_file, output=map_file, overwrite=True)


def test_a_number_is_a_number_whatever_files_there_are(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.5").touch()
    _, record = generate(noise_mean="0.5")
    assert set(record["inputs"]) == {"checkpoint"}


def test_generators_of_other_voxels_are_noticed(
    checkpoint: Path, generate: Generate, map_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    for edge in (0.5, 2.0):
        content["mcrgen"]["voxel_size_um"] = edge
        torch.save(content, tmp_path / f"{edge}.ckpt")
    generate(checkpoint=tmp_path / "0.5.ckpt", regions=map_file, region=(f"2={tmp_path / '2.0.ckpt'}",))
    assert "was trained with voxels of 2 micrometres, the volume has 0.5" in " ".join(capsys.readouterr().out.split())


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    overview, options = capsys.readouterr().out.split("positional arguments")
    for field in dataclasses.fields(mcrgen.GenerateConfig)[2:]:
        flag = f"--{field.name.replace('_', '-')}"
        assert re.search(rf"{flag}[, \n]", overview), flag
        assert f"{flag} " in options.replace(",", " ")
    for words in ("--mask PATH", "--region VALUE=CKPT[:LABELS]|VALUE=LABEL", "--noise-mean FIELD", "--size N|D H W"):
        assert words in options


def test_several_regions_from_the_shell(checkpoint: Path, map_file: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("region: ['5=0']\n")
    options = f"--config {tmp_path / 'c.yaml'} --size 30 34 40 --regions {map_file} --region 0=3 --region 2=1 --device cpu"
    assert main(["generate", str(checkpoint), str(tmp_path / "v.npy"), *shlex.split(options)]) == 0
    labels = np.load(tmp_path / "v.npy")
    np.testing.assert_array_equal(labels, np.select([regions_of(map_file) == 0, regions_of(map_file) == 2], [3, 1], 0))
