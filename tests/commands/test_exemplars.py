from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from tiny import TINY, tiny_config

import mcrgen
from mcrgen import config
from mcrgen.commands._exemplars import Exemplars, read_exemplars
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.errors import InputError


def save(path: Path, shape: tuple[int, ...], correlation: float | tuple[float, ...] = 1.5, seed: int = 0) -> NDArray[np.uint8]:
    labels = gaussian_level_cut(shape, (0.7, 0.3), correlation, seed)
    np.save(path, labels)
    return labels


def read(*overrides: str) -> Exemplars:
    return read_exemplars(config.load(mcrgen.TrainConfig, None, list(overrides)).data)


def train(folder: Path, *overrides: str) -> mcrgen.TrainResult:
    return mcrgen.train(config.load(mcrgen.TrainConfig, None, [*TINY, f"output={folder / 'run'}", *overrides]))


def test_one_image_is_shared_by_all_normals(tmp_path: Path) -> None:
    labels = save(tmp_path / "a.npy", (30, 20))
    found = read(f"data.image={tmp_path / 'a.npy'}")
    assert found.normals == (0, 1, 2)
    assert found.sections[0] is found.sections[1] is found.sections[2]
    assert np.array_equal(found.sections[0][0], labels)
    assert set(found.symmetries) == {"square"}
    assert found.fractions.tolist() == pytest.approx([0.7, 0.3])


def test_images_count_by_their_pixels(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.npy", (30, 20)), save(tmp_path / "b.npy", (25, 48), seed=1)
    second[:, :10] = 1
    np.save(tmp_path / "b.npy", second)
    found = read(f"data.images=[{tmp_path / 'a.npy'},{tmp_path / 'b.npy'}]")
    assert [s.shape for s in found.sections[0]] == [(30, 20), (25, 48)]
    expected = (first.sum() + second.sum()) / (first.size + second.size)
    assert found.fractions[1] == pytest.approx(expected)
    assert list(found.inputs) == ["images 1", "images 2"]


def test_a_volume_gives_its_sections_of_each_normal(tmp_path: Path) -> None:
    volume = save(tmp_path / "v.npy", (20, 21, 22))
    found = read(f"data.image={tmp_path / 'v.npy'}")
    assert [len(sections) for sections in found.sections] == [20, 21, 22]
    assert np.array_equal(found.sections[0][3], volume[3])
    assert np.array_equal(found.sections[1][4], volume[:, 4])
    assert np.array_equal(found.sections[2][5], volume[:, :, 5])
    assert set(found.symmetries) == {"none"}


def test_sections_of_two_normals(tmp_path: Path) -> None:
    save(tmp_path / "z.npy", (20, 21)), save(tmp_path / "x.npy", (22, 23))
    found = read(f"data.images_z=[{tmp_path / 'z.npy'}]", f"data.images_x=[{tmp_path / 'x.npy'}]")
    assert found.normals == (0, 2)
    assert set(found.symmetries) == {"none"}


@pytest.mark.parametrize(
    ("axis", "other", "turned"), [("z", "y", False), ("z", "x", False), ("y", "z", True), ("y", "x", True), ("x", "z", False)]
)
def test_a_transverse_axis_shares_the_sections_along_it(tmp_path: Path, axis: str, other: str, turned: bool) -> None:
    """Rows and columns run along the remaining axes in the order z, y, x: where the axis changes place, sections are turned."""
    across, beside = save(tmp_path / "across.npy", (20, 20)), save(tmp_path / "beside.npy", (21, 24), seed=1)
    given = [f"data.images_{axis}=[{tmp_path / 'across.npy'}]", f"data.images_{other}=[{tmp_path / 'beside.npy'}]"]
    found = read(*given, f"data.transverse_axis={axis}")
    (third,) = set("zyx") - {axis, other}
    sections = dict(zip("zyx", found.sections, strict=True))
    assert found.normals == (0, 1, 2)
    assert np.array_equal(sections[axis][0], across)
    assert np.array_equal(sections[other][0], beside)
    assert np.array_equal(sections[third][0], beside.T if turned else beside)
    assert [s.value for s in found.symmetries] == ["square" if name == axis else "rectangle" for name in "zyx"]


def test_paths_and_options_from_a_file(tmp_path: Path) -> None:
    for name in "zyx":
        save(tmp_path / f"{name}.npy", (20, 21))
    text = "\n".join(f"  images_{name}: [{tmp_path / name}.npy]" for name in "zyx")
    (tmp_path / "c.yaml").write_text(f"data:\n{text}\n  symmetry: rectangle\n")
    found = read_exemplars(config.load(mcrgen.TrainConfig, tmp_path / "c.yaml").data)
    assert [name for name, _ in found.files] == ["data.images_z", "data.images_y", "data.images_x"]
    assert set(found.symmetries) == {"rectangle"}


def test_training_on_sections_of_two_normals_and_on_a_volume(tmp_path: Path) -> None:
    (
        save(tmp_path / "z.npy", (40, 44), (3.0, 1.0)),
        save(tmp_path / "y.npy", (36, 40), (3.0, 1.0)),
        save(tmp_path / "v.npy", (24,) * 3),
    )
    two = train(tmp_path / "a", f"data.images_z=[{tmp_path / 'z.npy'}]", f"data.images_y=[{tmp_path / 'y.npy'}]")
    record = torch.load(two.checkpoint, weights_only=True)
    assert record["hyper_parameters"]["normals"] == [0, 1]
    assert [e["option"] for e in record["mcrgen"]["exemplars"]] == ["data.images_z", "data.images_y"]
    assert [e["shape"] for e in record["mcrgen"]["exemplars"]] == [[40, 44], [36, 40]]
    whole = train(tmp_path / "b", f"data.image={tmp_path / 'v.npy'}")
    assert whole.phase_fractions[1] == pytest.approx(0.3, abs=1e-3)
    assert (whole.folder / "preview.png").exists()
    assert list((whole.folder / "monitor").glob("*.png"))


def test_resuming_wants_the_same_files(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", (30, 30)), save(tmp_path / "b.npy", (30, 30), seed=1)
    files = f"data.images=[{tmp_path / 'a.npy'},{tmp_path / 'b.npy'}]"
    train(tmp_path, files)
    for others in (f"[{tmp_path / 'b.npy'},{tmp_path / 'a.npy'}]", f"[{tmp_path / 'a.npy'}]"):
        with pytest.raises(InputError, match=r"resume: expected all images .* in their order, '.*a\.npy', '.*b\.npy', got '"):
            train(tmp_path, f"data.images={others}", "resume=true")
    save(tmp_path / "b.npy", (30, 30), seed=2)
    with pytest.raises(InputError, match=r"resume: '.*b\.npy' is not the image that the run in .* began with"):
        train(tmp_path, files, "resume=true")


def test_resuming_a_run_of_an_older_version_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", (30, 30))
    last = train(tmp_path, f"data.image={tmp_path / 'a.npy'}").folder / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["mcrgen"]["exemplar"] = content["mcrgen"].pop("exemplars")[0]
    torch.save(content, last)
    with pytest.raises(InputError, match=r"resume: the run in '.*' was begun by an older version of mcrgen, .*--overwrite"):
        train(tmp_path, f"data.image={tmp_path / 'a.npy'}", "resume=true")


def test_feature_weights_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcrgen.networks import vgg_weights

    save(tmp_path / "a.npy", (30, 30)), (tmp_path / "vgg.pth").touch()
    random = vgg_weights.load_vgg("random", padding="zero")
    given: list[Path] = []
    monkeypatch.setattr(vgg_weights, "load_vgg", lambda source, **_: (given.append(source), random)[1])
    monkeypatch.chdir(tmp_path)
    trained = train(tmp_path, "data.image=a.npy", "loss.kind=gram", "loss.vgg_weights=vgg.pth", "trainer.max_steps=1")
    written = config.load(mcrgen.TrainConfig, trained.folder / "config.yaml")
    assert [written.loss.vgg_weights] == given == [tmp_path / "vgg.pth"]


def test_each_phase_gets_its_fraction(image3: Path, tmp_path: Path) -> None:
    trained = mcrgen.train(tiny_config(image3, tmp_path / "run", "data.phase_fractions=[0.4,0.35,0.25]"))
    assert trained.phase_fractions == pytest.approx((0.4, 0.35, 0.25))
    volume = tmp_path / "v.npy"
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=trained.checkpoint, output=volume, size=(32,), exact=True))
    np.testing.assert_allclose(np.bincount(np.load(volume).ravel()) / 32**3, (0.4, 0.35, 0.25), atol=2e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"data\.image: a value is required; give --data\.image, --data\.images or"),
        (
            ["data.image=a.npy", "data.images=[b.npy]"],
            r"data\.images: expected without data\.image; give the exemplar in one way",
        ),
        (
            ["data.images_z=[a.npy]"],
            r"data\.images_z: expected images of two or three section normals, got those normal to z alone",
        ),
        (
            ["data.images_z=[a.npy]", "data.images_y=[b.npy]", "data.transverse_axis=x"],
            r"transverse_axis: .* got z and y; give",
        ),
        (
            ["data.image=a.npy", "data.transverse_axis=z"],
            r"transverse_axis: expected images normal to z and to one other.*got none",
        ),
        (["data.image=a.npy", "data.transverse_axis=w"], r"data\.transverse_axis: expected z, y or x, got 'w'"),
        (
            ["data.images=[a.npy,three.npy]"],
            r"data\.images: expected the label values 0, 1 as in 'a\.npy', 'three\.npy' has 0, 1, 2",
        ),
        (["data.images=[a.npy,v.npy]"], r"data\.images: expected only images or only volumes, 'a\.npy' is an image"),
        (["data.images_z=[v.npy]", "data.images_y=[a.npy]"], r"data\.images_z: expected 2D sections, 'v\.npy' is a volume of"),
        (
            ["data.images=[fine.tif,coarse.tif]"],
            r"data\.images: expected voxels of 2 micrometres as in 'fine\.tif', 'coarse\.tif'",
        ),
        (
            ["data.image=a.npy", "data.phase_fractions=[0.5,0.6]"],
            r"phase_fractions: expected fractions that sum to one, got .* 1\.1",
        ),
        (
            ["data.image=a.npy", "data.phase_fractions=[0.2,0.3,0.5]"],
            r"data\.phase_fractions: expected one for each of the 2 phases",
        ),
        (
            ["data.image=a.npy", "data.phase_fractions=[1.0,0.0]"],
            r"data\.phase_fractions: expected a phase fraction between 0 and 1",
        ),
        (["data.image=a.npy", "data.phase_fraction_range=[0.3,0.2]"], r"phase_fraction_range: expected a lower and a higher"),
        (
            ["data.image=a.npy", "data.phase_fraction_range=[0.2,0.99]"],
            r"range: expected an ascending range within .* reach, 0\.\d",
        ),
        (
            ["data.image=a.npy", "data.phase_fraction=0.3", "data.phase_fractions=[0.5,0.5]"],
            r"expected without data\.phase_fraction",
        ),
        (["data.image=three.npy", "data.phase_fractions=[0.98,0.01,0.01]"], r"data\.phase_fractions: .*reach"),
        (
            ["data.image=a.npy", "loss.vgg_weights=w.pt"],
            r"loss\.vgg_weights: expected with the loss of the kind gram only, got patt",
        ),
        (
            ["data.image=a.npy", "data.phase_fraction_range=[0.2,0.3]", "loss.kind=gram"],
            r"loss\.kind: expected patterns for a range",
        ),
    ],
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    labels = save(Path("a.npy"), (40, 40))
    save(Path("b.npy"), (40, 40)), save(Path("v.npy"), (20, 20, 20))
    np.save("three.npy", gaussian_level_cut((40, 40), (0.5, 0.3, 0.2), 1.5, 0))
    for name, edge in (("fine", 2.0), ("coarse", 3.0)):
        how = {"imagej": True, "resolution": (1 / edge, 1 / edge), "metadata": {"unit": "um"}}
        tifffile.imwrite(f"{name}.tif", labels, **how)
    with pytest.raises(InputError, match=message):
        train(tmp_path, *overrides)
    assert not (tmp_path / "run").exists()


def autocorrelation(volume: NDArray[np.uint8], lag: int) -> list[float]:
    """Scaled autocovariance (S2 - phi^2) / (phi - phi^2) at a lag along z, y and x."""
    indicator = torch.from_numpy(volume == 1)[None, None].double()
    fraction = float(indicator.mean())
    s2 = [float(two_point_correlation(indicator, lag, axis)[0, 0, lag]) for axis in range(3)]
    return [(value - fraction**2) / (fraction - fraction**2) for value in s2]


@pytest.mark.parametrize("axis", ["z", "y"])
def test_layers_come_out_across_the_transverse_axis(tmp_path: Path, axis: str) -> None:
    """Thin layers normal to an axis, known from a section across it and one along it: S2 falls fastest along that axis."""
    number = "zyx".index(axis)
    correlations = tuple(0.8 if a == number else 3.0 for a in range(3))
    medium = gaussian_level_cut((64, 64, 64), (0.5, 0.5), correlations, 0)
    other = (number + 1) % 3
    for normal in (number, other):
        np.save(tmp_path / f"{normal}.npy", np.take(medium, 32, axis=normal))
    trained = train(
        tmp_path, f"data.transverse_axis={axis}", "network.channels=8", "network.layers=4", "trainer.max_steps=100",
        "trainer.slab_size=32", "loss.projections=32", "monitor.every=0",
        *(f"data.images_{'zyx'[n]}=[{tmp_path / str(n)}.npy]" for n in (number, other)),
    )  # fmt: skip
    output = tmp_path / "v.npy"
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=trained.checkpoint, output=output, size=(48,), exact=True))
    found, expected = autocorrelation(np.load(output), 3), autocorrelation(medium, 3)
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert min(found[a] for a in range(3) if a != number) > found[number] + 0.25
