from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from tiny_reconstruction import ANNEALED, CURVES, read, record, run, tiny_reconstruction
from torch import Tensor

import mcrgen
from mcrgen.cli import main
from mcrgen.commands import reconstruct
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._reconstruction import build_task
from mcrgen.commands._targets import goal_of_images
from mcrgen.commands.reconstruct import working_folder
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.lattices import cuboidal_precipitates
from mcrgen.data.symmetry import ELEMENTS, Symmetry, turn
from mcrgen.descriptors.bit_quads import bit_quads
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.pattern_characteristic import pattern_characteristic, pattern_frequencies
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.descriptors.variation import normalised_variation
from mcrgen.errors import InputError
from mcrgen.io.provenance import sha256
from mcrgen.plotting import convergence

CORRELATIONS = ["descriptors.names=[s2,s3,variation,phase-fraction]"]


@pytest.mark.parametrize(
    ("suffix", "size", "phases", "method"),
    [
        ("tif", (12, 14), 2, CORRELATIONS),
        ("png", (14, 12), 3, CORRELATIONS),
        ("npy", (6, 8, 10), 2, [*CORRELATIONS, "descriptors.slices=each", "optimization.slices_per_batch=3"]),
        ("png", (9, 13), 3, ANNEALED),
        ("tif", (8, 10, 6), 3, CORRELATIONS),
        ("npy", (6, 8, 10), 3, ANNEALED),
        ("zarr", (6, 9, 7), 2, CORRELATIONS),
        ("tif", (6, 9, 7), 2, ANNEALED),
    ],
)
def test_outputs(
    image: Path, image3: Path, tmp_path: Path, suffix: str, size: tuple[int, ...], phases: int, method: list[str]
) -> None:
    output = tmp_path / f"medium.{suffix}"
    result = run([image if phases == 2 else image3, output], size, *method)
    assert result.outputs == (output,)
    labels = read(output)
    assert labels.shape == size
    assert labels.dtype == np.uint8
    fractions = result.errors[0]["phase_fractions"]
    found = np.bincount(labels.ravel(), minlength=phases) / labels.size
    assert fractions["found"] == pytest.approx(found)
    assert np.abs(found - fractions["wanted"]).max() < 2.0 / labels.size + 1e-4
    with Image.open(working_folder(output) / "convergence.png") as picture:
        assert picture.width > 700
    assert record(output)["errors"] == json.loads(json.dumps(result.errors[0]))


@pytest.mark.parametrize(("phases", "wraps"), [(2, True), (3, False)])
def test_errors_in_the_record_are_those_of_the_file(
    image: Path, image3: Path, tmp_path: Path, phases: int, wraps: bool
) -> None:
    source, output = image if phases == 2 else image3, tmp_path / "medium.tif"
    run(
        [source, output],
        (8, 10, 6),
        "descriptors.names=[s2,lineal_path,variation]",
        "descriptors.multigrid=false",
        f"periodic={wraps}",
    )
    labels, exemplar = read(output), tifffile.imread(source) if phases == 2 else np.load(source)
    values, wanted_labels = np.unique(exemplar), range(1 if phases == 2 else 0, phases)

    def descriptors(indicator: Tensor, *, periodic: bool) -> dict[str, Tensor]:
        path = torch.stack([lineal_path(indicator, 2, axis, periodic=periodic) for axis in (0, 1)], dim=2)
        variation = normalised_variation(indicator, periodic=periodic)
        return {"s2": two_point_map(indicator, 2, periodic=periodic), "lineal_path": path, "variation": variation}

    one = torch.from_numpy(np.stack([exemplar == values[i] for i in wanted_labels]).astype(np.float64))[None]
    turned = [descriptors(turn(one, element), periodic=False) for element in ELEMENTS[Symmetry.square]]
    slices = torch.from_numpy(np.stack([labels == i for i in wanted_labels]).astype(np.float64))
    errors = record(output)["errors"]
    for normal in range(3):
        found = descriptors(slices.movedim(1 + normal, 0), periodic=wraps)
        for name, values_found in found.items():
            wanted = torch.stack([t[name] for t in turned]).mean(dim=(0, 1))
            error = float((values_found.mean(dim=0) - wanted).norm() / wanted.norm())
            assert errors[name]["zyx"[normal]] == pytest.approx(error, rel=1e-4)
    for name in ("s2", "lineal_path", "variation"):
        assert errors[name]["mean"] == pytest.approx(np.mean([errors[name][axis] for axis in "zyx"]))


def test_the_error_of_patterns_is_that_of_their_characteristic_function(image3: Path, tmp_path: Path) -> None:
    output = tmp_path / "medium.npy"
    run(
        [image3, output],
        (8, 10, 6),
        *("descriptors.names=[patterns]", "descriptors.pattern_size=3", "descriptors.pattern_features=32", "seed=4"),
    )
    frequencies = pattern_frequencies(32, 3, 3, torch.Generator().manual_seed(4)).double()
    image = np.unique(np.load(image3), return_inverse=True)[1].reshape(np.load(image3).shape)
    exemplar, labels = (torch.eye(3, dtype=torch.float64)[torch.from_numpy(m).long()] for m in (image, read(output)))
    turned = [turn(exemplar.movedim(-1, 0)[None], element) for element in ELEMENTS[Symmetry.square]]
    wanted = torch.cat([pattern_characteristic(t, frequencies) for t in turned]).mean(dim=0)
    for normal, axis in enumerate("zyx"):
        slices = labels.movedim(normal, 0).movedim(-1, 1)
        found = pattern_characteristic(slices, frequencies, periodic=True).mean(dim=0)
        error = float((found - wanted).norm() / wanted.norm())
        assert record(output)["errors"]["patterns"][axis] == pytest.approx(error, rel=1e-4)


def test_patterns_sharpen_a_blunt_medium(tmp_path: Path) -> None:
    """Cells whose corners a Gaussian has rounded get most of them back, at the same places."""
    np.save(tmp_path / "image.npy", cuboidal_precipitates((128, 128), 9, 2, 0))
    blunt = gaussian_filter(cuboidal_precipitates((48, 48), 9, 2, 1).astype(float), 1.5, mode="wrap")
    np.save(tmp_path / "start.npy", (blunt > np.quantile(blunt, 0.57)).astype(np.uint8))
    options = [f"start={tmp_path / 'start.npy'}", "descriptors.names=[patterns]", "optimization.max_steps=40"]
    run([tmp_path / "image.npy", tmp_path / "sharp.npy"], (48, 48), *options)
    media = [torch.from_numpy(np.load(tmp_path / f"{name}.npy")) for name in ("image", "start", "sharp")]
    image, start, sharp = (float(bit_quads(m[None, None])[0, 0, 1]) for m in media)
    assert start - image > 0.2
    assert sharp - image < 0.5 * (start - image)
    assert (media[1] == media[2]).double().mean() > 0.8


def test_the_record_tells_where_it_came_from(image: Path, tmp_path: Path) -> None:
    output = tmp_path / "medium.npy"
    result = run([image, output], (12, 12), CURVES, "data.voxel_size_um=0.25")
    found = record(output)
    assert found["command"] == "reconstruct"
    assert found["inputs"] == {"image": {"path": str(image), "sha256": sha256(image)}}
    assert found["config"]["size"] == [12, 12]
    assert found["config"]["descriptors"]["limit"] == 3
    assert found["config"]["seed"] == 0
    assert found["run"]["steps"] == 8  # six, and two on the coarser level
    assert found["run"]["ended"] == "all steps were done"
    assert 0 < found["run"]["loss"] < 10
    assert found["errors"].keys() == result.errors[0].keys() == {"s2", "lineal_path", "phase_fractions"}
    assert found["versions"]["torch"]


MATCHED = ["descriptors.names=[s2,phase-fraction]", "descriptors.multigrid=false", "optimization.max_steps=40"]
SWAPPED = ["method=annealing", "descriptors.names=[s2]", "annealing.swaps=100"]


def long_features(folder: Path, along: int, normals: str) -> list[str]:
    """Options of images of a medium with features that are long along an axis, six sections for each normal."""
    shape = [12 if axis == along else 24 for axis in range(3)]
    volume = np.repeat(gaussian_level_cut((shape[0], shape[1], shape[2]), (0.5, 0.5), 1.0, seed=2), 4, axis=along)
    found = []
    for axis in normals:
        paths = [folder / f"{axis}{number}.npy" for number in range(6)]
        for number, path in enumerate(paths):
            np.save(path, volume.take(4 * number, axis="zyx".index(axis)))
        found.append(f"data.images_{axis}=[{','.join(map(str, paths))}]")
    return found


def neighbours(path: Path) -> list[float]:
    """S2 of neighbours along z, y and x, the medium wrapped around."""
    medium = torch.from_numpy(read(path).astype(np.float64))[None, None]
    return [float(two_point_correlation(medium, 1, axis, periodic=True)[0, 0, 1]) for axis in range(3)]


@pytest.mark.parametrize("method", [MATCHED, SWAPPED])
def test_sections_of_each_normal_make_an_anisotropic_medium(tmp_path: Path, method: list[str]) -> None:
    result = run([tmp_path / "out.npy"], (12, 12, 12), *long_features(tmp_path, 2, "zyx"), *method)
    z, y, x = neighbours(tmp_path / "out.npy")
    assert x > max(z, y) + 0.04  # 0.47 and 0.39 in the source
    assert abs(z - y) < 0.03
    assert result.errors[0]["s2"]["mean"] < 0.1
    inputs = {f"images_{axis} {number}" for axis in "zyx" for number in range(1, 7)}
    assert record(tmp_path / "out.npy")["inputs"].keys() == inputs


@pytest.mark.parametrize("method", [MATCHED, SWAPPED])
def test_a_transverse_axis(tmp_path: Path, method: list[str]) -> None:
    """The sections normal to z serve for those normal to x as well, turned."""
    run([tmp_path / "out.npy"], (12, 12, 12), *long_features(tmp_path, 1, "zy"), "data.transverse_axis=y", *method)
    z, y, x = neighbours(tmp_path / "out.npy")
    assert y > max(z, x) + 0.025
    assert abs(z - x) < 0.03


def test_a_laminate_has_sections_without_an_interface(tmp_path: Path) -> None:
    np.save(tmp_path / "laminate.npy", np.broadcast_to((np.arange(12) // 3 % 2)[:, None, None], (12, 8, 10)).astype(np.uint8))
    run(
        [tmp_path / "laminate.npy", tmp_path / "out.npy"],
        (12, 8, 8),
        "descriptors.names=[s2,variation]",
        "optimization.max_steps=30",
    )
    errors = record(tmp_path / "out.npy")["errors"]["variation"]
    slices = torch.from_numpy(read(tmp_path / "out.npy").astype(np.float64))[:, None]
    assert errors["z"] == pytest.approx(float(normalised_variation(slices, periodic=True).mean()), abs=1e-6)


def test_smoothing_lessens_the_interface_and_keeps_the_fraction(image: Path, tmp_path: Path) -> None:
    result = [
        run([image, tmp_path / f"{name}.npy"], (8, 10, 8), CURVES, *more)
        for name, more in (("plain", []), ("smooth", ["smoothing=1.0"]))
    ]
    plain, smooth = (read(tmp_path / f"{name}.npy") for name in ("plain", "smooth"))
    assert abs(smooth.mean() - result[1].errors[0]["phase_fractions"]["wanted"][1]) < 2.0 / smooth.size
    assert (np.diff(smooth.astype(int)) != 0).sum() < 0.8 * (np.diff(plain.astype(int)) != 0).sum()


@pytest.mark.parametrize("method", [["descriptors.names=[s2,phase-fraction]"], ANNEALED])
def test_the_run_of_the_lowest_loss_is_kept(image: Path, tmp_path: Path, method: list[str]) -> None:
    alone = []
    for seed in (4, 5, 6):
        run([image, tmp_path / f"{seed}.npy"], (12, 14), *method, f"seed={seed}")
        alone.append((record(tmp_path / f"{seed}.npy")["run"]["loss"], read(tmp_path / f"{seed}.npy")))
    run([image, tmp_path / "best.npy"], (12, 14), *method, "seed=4", "optimization.restarts=3")
    loss, labels = min(alone, key=lambda one: one[0])
    assert len({one[0] for one in alone}) == 3
    assert record(tmp_path / "best.npy")["run"]["loss"] == loss
    np.testing.assert_array_equal(read(tmp_path / "best.npy"), labels)


@pytest.mark.parametrize("method", [["descriptors.names=[s2,phase-fraction]"], ANNEALED])
def test_media_between_two_images(tmp_path: Path, method: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Images of two sizes, of 30 % and of 60 %: phase fractions go in equal steps."""
    for name, size, fraction in (("a", (30, 26), 0.3), ("b", (20, 24), 0.6)):
        np.save(tmp_path / f"{name}.npy", gaussian_level_cut(size, (1 - fraction, fraction), 1.5, seed=1))
    images = [tmp_path / "a.npy", tmp_path / "b.npy"]
    folder = tmp_path / "between"
    result = run(images, (12, 14), *method, "interpolate=3", f"output={folder}")
    assert result.outputs == tuple(folder / f"medium_{number:02d}.tif" for number in range(3))
    runs = [record(path)["run"] for path in result.outputs]
    assert result.ended == tuple(one["ended"] for one in runs)
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ medium_0")]
    for number, (row, one) in enumerate(zip(rows, runs, strict=True)):
        cells = [f"medium_0{number}", f"{one['loss']:.3g}", str(one["steps"]), one["ended"]]
        assert [cell.strip() for cell in (row[0], *row[2:])] == cells
    wanted = [errors["phase_fractions"]["wanted"][1] for errors in result.errors]
    np.testing.assert_allclose(wanted, [0.3, 0.45, 0.6], atol=1e-3)
    for path, fraction in zip(result.outputs, wanted, strict=True):
        assert abs(read(path).mean() - fraction) < 2.0 / (12 * 14)
        assert set(record(path)["inputs"]) == {"image 1", "image 2"}
        assert (working_folder(path) / "convergence.png").exists()


def test_media_between_two_images_are_compared_with_the_nearer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And shown with both; windows are as large as there is room for."""
    images = {name: gaussian_level_cut((24, 20), (1 - f, f), 1.5, seed=1) for name, f in (("a", 0.3), ("b", 0.6))}
    for name, labels in images.items():
        np.save(tmp_path / f"{name}.npy", labels)
    shown: list[dict[str, NDArray[np.float32]]] = []
    monkeypatch.setattr(convergence, "plot_convergence", lambda path, course, beside, **_: shown.append(beside))
    monitored = ["record.monitor_every=2", f"output={tmp_path}", "optimization.max_steps=1"]
    outputs = run([tmp_path / "a.npy", tmp_path / "b.npy"], (12, 14), CURVES, "interpolate=4", *monitored).outputs
    for output, nearer, beside in zip(outputs, "aabb", shown, strict=True):
        with next(working_folder(output).glob("monitor/*.csv")).open() as file:
            rows = [row for row in csv.DictReader(file) if row["curve"] == "s2"]
        assert [float(row["r"]) for row in rows] == list(range(12 // 2 + 1))
        assert float(rows[0]["exemplar"]) == pytest.approx(images[nearer].mean(), abs=1e-6)
        np.testing.assert_array_equal(beside["exemplar 1"], images["a"])
        np.testing.assert_array_equal(beside["exemplar 2"], images["b"])
        assert list(beside) == ["exemplar 1", "exemplar 2", "reconstructed"]


@pytest.mark.parametrize(
    ("schedule", "ended", "swaps"),
    [
        (["annealing.swaps=0.5"], "all swaps were done", 84),  # half of 12 x 14
        (["annealing.tolerance=10"], "the energy reached the tolerance", 0),
        (
            ["annealing.swaps=500", "annealing.rule=quench", "annealing.patience=0.25"],
            "no swap was accepted in 0.25 sweeps",
            None,
        ),
    ],
)
def test_why_annealing_ended(image: Path, tmp_path: Path, schedule: list[str], ended: str, swaps: int | None) -> None:
    result = run([image, tmp_path / "m.npy"], (12, 14), *ANNEALED, *schedule)
    end = record(tmp_path / "m.npy")["run"]
    assert result.ended == (end["ended"],) == (ended,)
    assert end["steps"] == swaps if swaps is not None else 0 < end["steps"] < 500 * 168


@pytest.mark.parametrize("wraps", [True, False])
def test_minimised_variation_is_that_of_a_finite_medium_if_it_is_one(image: Path, wraps: bool) -> None:
    names = ["descriptors.names=[variation,phase-fraction]", "descriptors.variation=minimised", f"periodic={wraps}"]
    config = tiny_reconstruction([Path("out.npy")], (5, 7, 6), *names, f"data.image={image}")
    goal = goal_of_images(config, read_exemplars(config.data))
    task = build_task(config, goal, 0, curves=False, device=torch.device("cpu"))
    task.evaluate()
    expected = float(normalised_variation(task.medium.detach()[None], periodic=wraps))
    assert task.errors["minimised_variation"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", [[*CORRELATIONS, "descriptors.multigrid=false"], ANNEALED])
@pytest.mark.parametrize("phases", [2, 3])
def test_an_image_that_wraps_around_is_measured_so(tmp_path: Path, phases: int, method: list[str]) -> None:
    """Started from the image itself, nothing is left to do; its finite windows have other descriptors."""
    image = np.kron(np.random.default_rng(0).permutation(16).reshape(4, 4) % phases, np.ones((3, 3))).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    found = {}
    for wraps in (True, False):
        options = [*method, f"start={tmp_path / 'image.npy'}", f"exemplar_periodic={wraps}"]
        options += ["annealing.tolerance=1e-9"] if method is ANNEALED else ["optimization.max_steps=1"]
        errors = run([tmp_path / "image.npy", tmp_path / f"{wraps}.npy"], (12, 12), *options, "data.symmetry=none").errors[0]
        found[wraps] = [values["mean"] for name, values in errors.items() if name != "phase_fractions"]
    np.testing.assert_array_equal(read(tmp_path / "True.npy"), image)
    assert max(found[True]) < 1e-6
    assert min(found[False]) > 1e-3


@pytest.mark.parametrize("recipe", ["dmcr_sv", "dmcr_g", "dmcr_sgv", "dmcr_patterns", "dmcr_table", "yeong_torquato"])
def test_shipped_recipes(image: Path, tmp_path: Path, recipe: str) -> None:
    size = ["16", "16"]
    flags = ["--descriptors.limit", "4", "--logging.wandb", "disabled", "--optimization.device", "cpu"]
    short = ["--optimization.max-steps", "2", "--optimization.levels", "1"]
    plain = ["--annealing.swaps", "5"] if recipe == "yeong_torquato" else short
    output = tmp_path / "medium.png"
    assert main(["reconstruct", str(image), str(output), "--config", recipe, "--size", *size, *flags, *plain]) == 0
    assert read(output).shape == (16, 16)
    assert record(output)["errors"]["phase_fractions"]["found"][1] == pytest.approx(0.3, abs=0.03)


def test_a_table_from_the_shell(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    assert (
        main(["characterize", str(image), "--descriptors", "s2", "lineal-path", "--max-lag", "5", "--output", str(folder)]) == 0
    )
    common = [
        "--size",
        "8",
        "9",
        "7",
        "--descriptors.limit",
        "3",
        "--optimization.device",
        "cpu",
        "--logging.wandb",
        "disabled",
    ]
    for recipe, short in (("dmcr_table", "--optimization.max-steps=4"), ("yeong_torquato", "--annealing.swaps=5")):
        output, table = tmp_path / f"{recipe}.zarr", folder / "characterization.json"
        assert main(["reconstruct", str(table), str(output), "--config", recipe, short, *common]) == 0
        assert read(output).shape == (8, 9, 7)
        assert record(output)["inputs"]["source"]["sha256"] == sha256(table)
        assert record(output)["errors"]["phase_fractions"]["wanted"][1] == pytest.approx(0.3, abs=0.01)


def test_a_medium_from_a_table_has_its_surface(tmp_path: Path) -> None:
    """Without coarse levels it is left with noise, which S2 hardly shows: a variation of a tenth more."""
    np.save(tmp_path / "image.npy", gaussian_level_cut((96, 96), (0.6, 0.4), 2.0, seed=0))
    settings = {"descriptors": ("s2", "lineal-path"), "max_lag": 24}
    mcrgen.characterize(mcrgen.CharacterizeConfig(medium=tmp_path / "image.npy", output=tmp_path / "c", **settings))
    names = ["descriptors.names=[s2,lineal-path,variation,phase-fraction]", "descriptors.limit=4"]
    more = ["optimization.max_steps=60", "optimization.coarse_steps=60"]
    run([tmp_path / "c" / "characterization.json", tmp_path / "m.npy"], (16, 16, 16), *names, *more)
    medium = torch.from_numpy(read(tmp_path / "m.npy").astype(np.float64))[None, None]
    wanted = json.loads((tmp_path / "c" / "characterization.json").read_text())["interface_density"]
    variation = float(normalised_variation(medium, periodic=True))
    assert variation == pytest.approx(1.5 * sum(wanted.values()), rel=0.05)


def test_pictures_and_the_monitor_of_coarse_levels(image: Path, tmp_path: Path) -> None:
    """Two steps on each of three levels: the first windows are of a coarse one."""
    options = ["record.preview_every=4", "record.monitor_every=3", "record.monitor_size=8", "optimization.max_steps=2"]
    run([image, tmp_path / "m.npy"], (24, 24), "descriptors.names=[s2]", *options)
    folder = working_folder(tmp_path / "m.npy")
    assert sorted(p.stem for p in (folder / "previews").iterdir()) == ["step_000004", "step_000006"]
    assert sorted(p.stem for p in (folder / "monitor").glob("step_*.csv")) == ["step_000003", "step_000006"]


def test_nothing_is_overwritten_unasked(image: Path, tmp_path: Path) -> None:
    output = tmp_path / "medium.npy"
    np.save(output, np.zeros(3))
    for more in ([], ["resume=true"]):  # that run is not one to go on with
        with pytest.raises(InputError, match=r"output: '.*medium.npy' exists already"):
            run([image, output], (12, 12), CURVES, *more)
    run([image, output], (12, 12), CURVES, "overwrite=true")
    output.unlink()
    with pytest.raises(InputError, match=r"output: '.*medium.npy.reconstruction' exists already"):
        run([image, output], (12, 12), CURVES)
    with pytest.raises(InputError, match=r"resume: size differ.* from the run in '.*medium.npy.reconstruction'"):
        run([image, output], (12, 14), CURVES, "resume=true")
    run([image, output], (12, 14), CURVES, "overwrite=true")
    assert read(output).shape == (12, 14)


def test_the_options_may_come_from_a_file(image: Path, tmp_path: Path) -> None:
    """Of annealing too, whose section is not a plain one."""
    sections = "annealing: {rule: quench, swaps: 5}\ndescriptors: {names: [s2], limit: 3}\n"
    (tmp_path / "o.yaml").write_text(f"data: {{image: {image}}}\nmethod: annealing\n{sections}")
    flags = ["--size", "8", "8", "--logging.wandb", "disabled"]
    assert main(["reconstruct", str(tmp_path / "m.npy"), "--config", str(tmp_path / "o.yaml"), *flags]) == 0
    assert record(tmp_path / "m.npy")["config"]["annealing"]["rule"] == "quench"


def test_the_same_options_make_the_same_medium_without_touching_them(image: Path, tmp_path: Path) -> None:
    config = tiny_reconstruction([image, tmp_path / "a.npy"], (12, 14), CURVES)
    before, state = replace(config), torch.random.get_rng_state()
    reconstruct.run(config)
    assert config == before
    assert torch.equal(torch.random.get_rng_state(), state)
    run([image, tmp_path / "b.npy"], (12, 14), CURVES)
    np.testing.assert_array_equal(read(tmp_path / "a.npy"), read(tmp_path / "b.npy"))
    run([image, tmp_path / "c.npy"], (12, 14), CURVES, "seed=1")
    assert (read(tmp_path / "c.npy") != read(tmp_path / "a.npy")).any()


@pytest.mark.parametrize("overrides", [["optimization.max_steps=1"], ["method=annealing", "annealing.swaps=0.01"]])
def test_a_given_medium_is_what_is_started_from(tmp_path: Path, overrides: list[str]) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", (rng.random((16, 16)) < 0.4).astype(np.uint8))
    start = np.kron(rng.permutation(16).reshape(4, 4) < 6, np.ones((3, 3))).astype(np.uint8)
    np.save(tmp_path / "start.npy", start)
    settings = [f"start={tmp_path / 'start.npy'}", "descriptors.names=[s2]", "descriptors.limit=3", *overrides]
    result = run([tmp_path / "image.npy", tmp_path / "out.npy"], (12, 12), *settings)
    assert (read(result.outputs[0]) == start).mean() > 0.9
    assert record(result.outputs[0])["inputs"]["start"]["sha256"] == sha256(tmp_path / "start.npy")


def test_a_medium_to_start_from_must_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", (np.random.default_rng(0).random((16, 16)) < 0.4).astype(np.uint8))
    np.save(tmp_path / "start.npy", np.arange(3, dtype=np.uint8).repeat(48).reshape(12, 12))
    for size in ((12, 12), (12, 14)):
        with pytest.raises(InputError, match=r"start: expected 12 x 1[24] voxels and 2 phases, .* has 12 x 12 voxels and 3"):
            run([tmp_path / "image.npy", tmp_path / "out.npy"], size, f"start={tmp_path / 'start.npy'}")
