from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_reconstruction import CURVES, run

import mcrgen
from mcrgen.cli import main
from mcrgen.commands._reconstruct_config import Method, ReconstructConfig, descriptor_names
from mcrgen.config import load
from mcrgen.errors import InputError

SQUARE, CUBE = (12, 12), (12, 12, 12)
ANNEALING = "method=annealing"
PATTERNS = "descriptors.names=[patterns]"


@pytest.mark.parametrize(
    ("size", "overrides", "message"),
    [
        ((12,), [], r"size: expected two or three numbers of voxels, such as 64 64 64, got 12\."),
        ((12, 12, 12, 12), [], r"size: expected two or three numbers"),
        ((12, 0), [], r"size: expected two or three numbers of voxels, such as 64 64 64, got 12 0"),
        (SQUARE, ["seed=-1"], r"seed: expected 0 or more, got -1"),
        (SQUARE, ["descriptors.limit=0"], r"descriptors.limit: expected a number greater than 0, got 0"),
        (SQUARE, ["descriptors.limit=7"], r"descriptors.limit: expected 1 to 6, half the shortest edge of the medium, got 7"),
        ((12, 10, 6), ["descriptors.limit=4"], r"descriptors.limit: expected 1 to 3, half the shortest edge"),
        (SQUARE, [ANNEALING, "descriptors.names=[s2_map]", "descriptors.limit=7"], r"descriptors.limit: expected 1 to 6"),
        (
            SQUARE,
            ["descriptors.names=[lineal]"],
            r"expected any of s2, .*, got 'lineal'; perhaps 'lineal-path' is meant",
        ),
        (SQUARE, [ANNEALING, "descriptors.names=[s3]"], r"descriptors.names: expected any of s2, s2-diagonal, .*, got 's3'"),
        (SQUARE, ["descriptors.names=[p4]"], r"descriptors.names: expected any of .*, got 'p4'; leave it out"),
        (CUBE, [ANNEALING, "descriptors.names=[s2_map]"], r"expected s2-map for an image only, .* use s2 and s2-diagonal"),
        (
            SQUARE,
            ["descriptors.weights.gram=2"],
            r"weights.gram: expected weights of s2, .*, phase-fraction only; add gram to --de",
        ),
        (SQUARE, ["descriptors.weights.s2=0"], r"descriptors.weights.s2: expected a number greater than 0, got 0"),
        ((12, 20), ["descriptors.names=[gram]"], r"size: expected 16 voxels or more along each edge for Gram matrices, got 12"),
        (
            SQUARE,
            [PATTERNS, "descriptors.pattern_size=7"],
            r"descriptors.pattern_size: expected at most 6, half the shortest edge of the medium, got 7; use smaller",
        ),
        (
            SQUARE,
            [PATTERNS, "descriptors.pattern_size=0"],
            r"descriptors.pattern_size: expected a number greater than 0, got 0",
        ),
        (SQUARE, [PATTERNS, "descriptors.pattern_features=0"], r"pattern_features: expected a number greater than 0, got 0"),
        (
            SQUARE,
            [CURVES, "descriptors.pattern_size=5", "descriptors.pattern_features=64"],
            r"^descriptors.pattern_size, descriptors.pattern_features: expected with patterns among the descriptors only",
        ),
        (SQUARE, [ANNEALING, "descriptors.names=[patterns]"], r"descriptors.names: expected any of s2, .*, got 'patterns'"),
        (SQUARE, ["optimization.slices_per_normal=2"], r"slices_per_normal: expected with the optimizer adam"),
        (SQUARE, ["optimization.levels=-1"], r"optimization.levels: expected 0 or more, got -1"),
        (SQUARE, ["optimization.tolerance=-1"], r"optimization.tolerance: expected 0 or more"),
        (SQUARE, ["optimization.restarts=0"], r"optimization.restarts: expected a number greater than 0, got 0"),
        (SQUARE, ["optimization.device=abacus"], r"device: expected .*abacus"),
        (SQUARE, ["record.checkpoint_every=0"], r"record.checkpoint_every: expected a number greater than 0, got 0"),
        (
            SQUARE,
            ["record.monitor_every=5", "record.monitor_size=32"],
            r"record.monitor_size: expected 12 or less, the shortest edge of the medium, got 32",
        ),
        (SQUARE, ["descriptors.sum_weight=-1"], r"descriptors.sum_weight: expected 0 or more, got -1"),
        (SQUARE, ["smoothing=0"], r"smoothing: expected a number greater than 0, got 0"),
        (SQUARE, [ANNEALING, "smoothing=1"], r"^smoothing: expected with the method differentiable only; leave it out"),
        (
            SQUARE,
            [ANNEALING, "descriptors.slices=each", "optimization.max_steps=5", "record.monitor_every=4"],
            r"^descriptors.slices, optimization.max_steps, record.monitor_every: expected with the method differentiable only; "
            "leave them out",
        ),
        (
            SQUARE,
            [ANNEALING, "optimization.device=cuda"],
            r"optimization.device: expected auto or cpu with the method annealing",
        ),
        (
            SQUARE,
            ["annealing.swaps=5", "annealing.rule=quench"],
            r"^annealing.rule, annealing.swaps: expected with --method annealing only; leave them out",
        ),
        (
            SQUARE,
            ["optimization.learning_rate=1"],
            r"^optimization.learning_rate: expected with the optimizer adam only; leave",
        ),
        (
            SQUARE,
            ["optimization.optimizer=adam", "optimization.history=3"],
            r"^optimization.history: .* the optimizer lbfgs only",
        ),
        (SQUARE, ["descriptors.vgg_weights=f.pt"], r"^descriptors.vgg_weights: expected with gram among the descriptors only"),
        (SQUARE, [CURVES, "descriptors.variation=minimised"], r"^descriptors.variation: expected with variation among the"),
        (SQUARE, ["record.monitor_size=8"], r"^record.monitor_size: expected with --record.monitor-every only; leave it out"),
        (SQUARE, ["phase_fraction=1"], r"phase_fraction: expected a phase fraction between 0 and 1 \(exclusive\), got 1"),
        (SQUARE, ["phase_fraction=0.5"], r"phase_fraction: expected with a table in CSV only, an image has its own"),
        (SQUARE, ["interpolate=1"], r"interpolate: expected 2 or more media, those at the ends included, got 1"),
        (SQUARE, ["output=folder"], r"output: expected with --interpolate only; give the output as the second path"),
        (SQUARE, [ANNEALING, CURVES, "annealing.factor=2"], r"factor: expected a number between 0 and 1 \(exclusive\), got 2"),
        (SQUARE, ["data.image=other.tif"], r"data.image: expected without the source '.*'; give the image in one way only"),
        (SQUARE, ["data.phase=7"], r"data.phase: expected one of the label values 0, 255, got 7"),
    ],
)
def test_options(image: Path, tmp_path: Path, size: tuple[int, ...], overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run([image, tmp_path / "out.npy"], size, *overrides)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (
            "out.zarr",
            SQUARE,
            r"output: expected a name ending in .tif, .tiff, .png, .bmp or .npy for an image, got '.*out.zarr'",
        ),
        ("out.png", CUBE, r"output: expected a name ending in .*\.tif.*, got '.*out.png'"),
        ("out", SQUARE, r"output: expected a name ending in"),
        ("", SQUARE, r"output: expected a name ending in"),
    ],
)
def test_outputs_of_another_kind(image: Path, tmp_path: Path, name: str, size: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run([image, tmp_path / name], size, CURVES)


def test_paths(image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"paths: expected SOURCE OUT, .* got 3 paths; media between .* by --interpolate"):
        run([image, image, tmp_path / "out.tif"], SQUARE, CURVES)
    with pytest.raises(InputError, match=r"paths: expected SOURCE OUT, .* got 0 paths"):
        run([], SQUARE, CURVES)
    with pytest.raises(InputError, match=r"data.image: a value is required"):
        run([tmp_path / "out.tif"], SQUARE, CURVES)
    with pytest.raises(InputError, match=r"data.image: no such file '.*none.tif'"):
        run([tmp_path / "none.tif", tmp_path / "out.tif"], SQUARE, CURVES)
    with pytest.raises(InputError, match=r"paths: expected SOURCE OUT, got '.*' alone; name the output after it"):
        run([image], SQUARE, CURVES)
    with pytest.raises(InputError, match=r"interpolate: expected two or more images to go between, got 1"):
        run([image], SQUARE, CURVES, "interpolate=2")


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    labels = (np.random.default_rng(0).random((12, 12)) < 0.5).astype(np.uint8)
    np.save(tmp_path / "m.npy", labels)
    with pytest.raises(InputError, match=r"output: expected another file than the source '.*m.npy'; choose another name"):
        run([tmp_path / "m.npy", tmp_path / "m.npy"], SQUARE, CURVES, "overwrite=true")
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), labels)


def test_sources_to_go_between(image: Path, image3: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"interpolate: expected sources with equally many phases, got 2, 3"):
        run([image, image3], SQUARE, CURVES, "interpolate=3", f"output={tmp_path / 'f'}")
    (tmp_path / "s2.csv").write_text("lag,mean\n0,0.25\n1,0.2\n2,0.1\n3,0.0625\n")
    with pytest.raises(InputError, match=r"interpolate: expected images, '.*s2.csv' is a table of descriptors; give its image"):
        run([image, tmp_path / "s2.csv"], SQUARE, CURVES, "interpolate=3", f"output={tmp_path / 'f'}")
    (tmp_path / "f" / "medium_01.tif").parent.mkdir()
    (tmp_path / "f" / "medium_01.tif").touch()
    with pytest.raises(InputError, match=r"output: '.*medium_01.tif' exists already"):
        run([image, image], SQUARE, CURVES, "interpolate=3", f"output={tmp_path / 'f'}")


@pytest.mark.parametrize(
    ("shape", "overrides", "message"),
    [
        ((5, 12), [CURVES], r"data.image: expected at least 6 pixels along each edge for these descriptors, '.*' has 5 x 12"),
        ((5, 12), [ANNEALING, "descriptors.names=[s2_diagonal]"], r"data.image: expected at least 6 pixels"),
        ((15, 20), ["descriptors.names=[gram]"], r"data.image: expected at least 16 pixels .* use a larger image\.$"),
        (
            (9, 20),
            [PATTERNS, "descriptors.pattern_size=5"],
            r"data.image: expected at least 10 pixels .* or a smaller --descriptors.pat",
        ),
        ((5, 8, 8), [CURVES], r"data.image: expected at least 6 pixels .* has 5 x 8 x 8"),
    ],
)
def test_images_that_are_too_small(tmp_path: Path, shape: tuple[int, ...], overrides: list[str], message: str) -> None:
    np.save(tmp_path / "m.npy", (np.random.default_rng(0).random(shape) < 0.5).astype(np.uint8))
    with pytest.raises(InputError, match=message):
        run([tmp_path / "m.npy", tmp_path / "out.npy"], (20, 20), *overrides)


def test_a_phase_that_is_too_rare(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5, 5] = 1
    np.save(tmp_path / "m.npy", labels)
    with pytest.raises(InputError, match=r"size: expected 400 voxels or more for one of the rarest phase, got 144"):
        run([tmp_path / "m.npy", tmp_path / "out.npy"], SQUARE, CURVES)


@pytest.mark.parametrize(("value", "message"), [(0, "found only the value 0"), (1, "found only the value 1")])
def test_an_image_of_one_phase(tmp_path: Path, value: int, message: str) -> None:
    np.save(tmp_path / "m.npy", np.full((12, 12), value, np.uint8))
    with pytest.raises(InputError, match=message):
        run([tmp_path / "m.npy", tmp_path / "out.npy"], SQUARE, CURVES)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two phases, with lags up to 4: s2 and the lineal path."""
    folder = tmp_path_factory.mktemp("tables")
    np.save(folder / "m.npy", (np.random.default_rng(0).random((14, 14)) < 0.4).astype(np.uint8))
    names = ("s2", "lineal-path")
    mcrgen.characterize(mcrgen.CharacterizeConfig(medium=folder / "m.npy", output=folder / "c", max_lag=4, descriptors=names))
    return folder / "c"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "characterization.json",
            ["descriptors.names=[s3]"],
            r"names: expected any of s2, lineal-path, variation, phase-fraction, ",
        ),
        (
            "characterization.json",
            ["descriptors.names=[gram]"],
            r"which '.*characterization.json' holds, got gram; leave it out",
        ),
        ("characterization.json", ["descriptors.limit=6"], r"limit: expected 5 or less, as '.*' has lags up to 4, got 6"),
        (
            "characterization.json",
            ["phase_fraction=0.3"],
            r"phase_fraction: expected with a table in CSV only, '.*' holds its own",
        ),
        (
            "s2.csv",
            ["exemplar_periodic=true"],
            r"exemplar_periodic: expected with images, '.*s2.csv' is measured already; leave",
        ),
        (
            "s2.csv",
            ["record.preview_every=5"],
            r"^record.preview_every: expected with an image as the source only; leave it out",
        ),
        ("s2.csv", [], r"names: expected any of s2, phase-fraction, which '.*s2.csv' holds, got lineal-path; leave it out"),
        ("s2.csv", [ANNEALING], r"got lineal-path; leave it out"),
        ("s2.csv", ["descriptors.names=[s2,variation]"], r"got variation; leave it out or give the image"),
        ("none.csv", [], r"source: no such file '.*none.csv'"),
    ],
)
def test_tables_that_do_not_fit(tables: Path, tmp_path: Path, name: str, overrides: list[str], message: str) -> None:
    size = (12, 12) if "descriptors.names=[gram]" not in overrides else (16, 16)
    with pytest.raises(InputError, match=message):
        run([tables / name, tmp_path / "out.npy"], size, CURVES, *overrides)


def test_the_variation_of_a_table_without_it_may_be_minimised(tables: Path, tmp_path: Path) -> None:
    names = ["descriptors.names=[s2,variation,phase-fraction]", "descriptors.variation=minimised"]
    result = run([tables / "s2.csv", tmp_path / "out.npy"], SQUARE, *names, "phase_fraction=0.45")
    assert result.errors[0].keys() == {"s2", "phase_fractions"}
    assert result.errors[0]["phase_fractions"]["wanted"] == pytest.approx([0.55, 0.45])


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_table_of_one_phase(tables: Path, tmp_path: Path, fraction: float) -> None:
    data = json.loads((tables / "characterization.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps(data | {"phase_fraction": fraction}))
    with pytest.raises(InputError, match=r"source: expected a phase fraction between 0 and 1 \(exclusive\)"):
        run([tmp_path / "t.json", tmp_path / "out.npy"], SQUARE, CURVES)


def test_a_table_of_three_phases(image3: Path, tmp_path: Path) -> None:
    mcrgen.characterize(
        mcrgen.CharacterizeConfig(medium=image3, output=tmp_path / "c", max_lag=4, descriptors=("s2", "lineal-path"))
    )
    with pytest.raises(InputError, match=r"two phases, '.*' is of one with 3; give its image"):
        run([tmp_path / "c" / "characterization.json", tmp_path / "out.npy"], SQUARE, CURVES)


def test_one_sentence_and_exit_code_two_from_the_shell(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reconstruct", str(image), str(tmp_path / "o.tif"), "--size", "12", "12", "--descriptors.limit", "16"]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "mcrgen: descriptors.limit: expected 1 to 6, half the shortest edge of the medium, got 16; "
        "use a larger --size or --descriptors.limit 6.\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("paths", "overrides", "message"),
    [
        (["none.tif", "out.tif"], [], r"data.image: no such file '.*none.tif'"),
        (["none.json", "out.tif"], [], r"source: no such file '.*none.json'"),
        (["out.tif"], ["data.images=[{image},{none}]"], r"data.images: no such file '.*none'"),
        (["out.tif"], ["data.images_z=[{image}]", "data.images_x=[{none}]"], r"data.images_x: no such file '.*none'"),
        (["{image}", "out.tif"], ["start={none}"], r"start: no such file '.*none'"),
        (["{image}", "none.tif"], ["interpolate=2"], r"data.image: no such file '.*none.tif'"),
        (["folder", "out.tif"], [], r"data.image: expected a file, got the folder '.*folder'; name the file in it"),
    ],
)
def test_a_missing_file_is_told_before_a_wrong_limit(
    image: Path, tmp_path: Path, paths: list[str], overrides: list[str], message: str
) -> None:
    """And before a file that is no image at all is read."""
    (tmp_path / "folder").mkdir()
    names = {"image": image, "none": tmp_path / "none"}
    given = [tmp_path / path.format(**names) for path in paths]
    with pytest.raises(InputError, match=message):
        run(given, SQUARE, *(override.format(**names) for override in overrides), "descriptors.limit=99")


def test_each_method_has_its_usual_descriptors() -> None:
    config = load(ReconstructConfig, None, ["paths=[a.tif]", "size=[8,8]"])
    assert descriptor_names(config) == ("s2", "s3", "variation", "phase_fraction")
    assert descriptor_names(replace(config, method=Method.annealing)) == ("s2", "lineal_path")
    given = replace(config, descriptors=replace(config.descriptors, names=("lineal-path",)))
    assert descriptor_names(given) == ("lineal_path",)
