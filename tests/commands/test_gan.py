from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

import mcrgen
from mcrgen import config
from mcrgen.cli import main, parse
from mcrgen.commands import train as train_command
from mcrgen.data.examples import gaussian_level_cut

pytestmark = pytest.mark.filterwarnings("ignore::mcrgen.callbacks.descriptor_monitor.CollapseWarning")

TINY = [
    "network.size=16", "network.latent_channels=4", "network.features=4", "network.critic_features=4",
    "loss.critic_steps=2", "trainer.batch_size=4", "trainer.volumes=2", "trainer.max_steps=4", "trainer.device=cpu",
    "trainer.precision=fp32", "trainer.checkpoint_every=2", "trainer.preview_every=2", "trainer.log_every=1",
    "monitor.every=2", "monitor.samples=4", "monitor.windows=8", "calibration.samples=4", "data.stride=4",
    "logging.wandb=disabled",
]  # fmt: skip


def gan_config(image: Path | None, output: Path, *overrides: str, recipe: str | None = None) -> mcrgen.GanConfig:
    given = [] if image is None else [f"data.image={image}"]
    path = None if recipe is None else config.recipe(recipe)
    return config.load(mcrgen.GanConfig, path, [f"output={output}", *given, *TINY, *overrides])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rock.tif"
    tifffile.imwrite(path, gaussian_level_cut((60, 80), (0.65, 0.35), 2.0, 0) * 255)
    return path


@pytest.fixture(scope="module")
def images_of_three_phases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("three")
    paths = [folder / f"{axis}.npy" for axis in "zyx"]
    for seed, path in enumerate(paths):
        np.save(path, gaussian_level_cut((48, 40), (0.5, 0.3, 0.2), (1.0, 2.0), seed))
    return paths


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tomogram") / "rock.npy"
    np.save(path, gaussian_level_cut((40, 24, 28), (0.6, 0.4), 2.0, 1))
    return path


@pytest.fixture(scope="module")
def images_model(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mcrgen.train(gan_config(image, tmp_path_factory.mktemp("run"))).checkpoint


@pytest.fixture(scope="module")
def volumes_model(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mcrgen.train(gan_config(image, tmp_path_factory.mktemp("run"), recipe="slicegan")).checkpoint


def test_a_run_leaves_model_curves_pictures_and_log(images_model: Path) -> None:
    folder = images_model.parent
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"model.ckpt", "best.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "losses.png"} <= names
    assert {"previews/step_000002.png", "monitor/step_000004.png", "monitor/step_000004.csv"} <= names
    with (folder / "log/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = {int(row["step"]) for row in rows if row.get("train/critic_loss")}
    assert steps == {0, 1, 2, 3}
    assert {int(row["step"]) for row in rows if row.get("monitor/s2_mse")} == {2, 4}
    found = torch.load(images_model, weights_only=True)["mcrgen"]
    assert found["kind"] == "wgan_gp"
    assert found["selected"]["metric"] == "s2_mse"
    assert found["calibration"]["fractions"][1] == pytest.approx(0.35, abs=1e-3)
    assert len(list((folder / "held_out").iterdir())) == 6  # 16 x 60 pixels, neighbours overlap by half
    assert found["calibration"]["achieved"][1] == pytest.approx(found["calibration"]["fractions"][1], abs=1e-3)


@pytest.mark.parametrize(
    ("recipe", "overrides", "shape"),
    [
        ("dcgan", ["network.upsampling=resize", "data.window=24", "data.held_out=0.4"], (16, 16)),
        ("wgan_gp", ["network.latent=field", "data.balanced=true", "network.spectral_norm=true"], (16, 16)),
        ("dcgan", ["network.dimensions=3", "network.latent=field", "loss.instance_noise=0.1"], (16, 16, 16)),
    ],
)
def test_every_choice_runs(recipe: str, overrides: list[str], shape: tuple[int, ...], image: Path, tmp_path: Path) -> None:
    model = mcrgen.train(gan_config(image, tmp_path / "run", *overrides, recipe=recipe)).checkpoint
    made = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "made.tif", size=(16,)))
    assert tifffile.imread(made.path).shape == shape


def test_sections_of_three_phases_and_of_a_transversely_isotropic_medium(
    images_of_three_phases: list[Path], tmp_path: Path
) -> None:
    top, _, side = images_of_three_phases
    by_normal = [f"data.images_z=[{top}]", f"data.images_x=[{side}]", "data.held_out=0.4"]
    model = mcrgen.train(gan_config(None, tmp_path / "two", *by_normal, recipe="slicegan")).checkpoint
    judged = torch.load(model, weights_only=True)["hyper_parameters"]["judged"]
    assert [list(map(tuple, kinds)) for kinds in judged] == [[(0, 1, 2)], [(2, 0, 1)]]
    across = [*by_normal, "data.transverse_axis=z"]
    model = mcrgen.train(gan_config(None, tmp_path / "across", *across, recipe="slicegan")).checkpoint
    judged = torch.load(model, weights_only=True)["hyper_parameters"]["judged"]
    assert [list(map(tuple, kinds)) for kinds in judged] == [[(0, 1, 2)], [(2, 0, 1), (1, 0, 2)]]  # rows along z in both
    made = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "made.npy", size=(16, 20, 24)))
    assert set(np.unique(np.load(made.path))) <= {0, 1, 2}
    assert made.shape == (16, 20, 24)


def test_a_tomogram_gives_a_generator_of_volumes_judged_whole(tomogram: Path, tmp_path: Path) -> None:
    model = mcrgen.train(gan_config(tomogram, tmp_path / "run", "data.held_out=0.4")).checkpoint
    assert torch.load(model, weights_only=True)["hyper_parameters"]["judged"] == ()
    made = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "made.tif", exact=True))
    assert tifffile.imread(made.path).shape == (16, 16, 16)


def test_a_resumed_run_ends_like_an_uninterrupted_one(image: Path, tmp_path: Path, images_model: Path) -> None:
    folder = tmp_path / "run"
    half = gan_config(image, folder)

    class _Stop(BaseException):
        pass

    from mcrgen.callbacks.resumable import Resumable

    original: Callable[..., None] = Resumable.on_train_batch_end

    def stop(self: Resumable, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 2:
            self.stopped = True
        original(self, trainer, *args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Resumable, "on_train_batch_end", stop)
        with pytest.raises(mcrgen.StoppedError, match="stopped at step 2 of 4; go on with"):
            mcrgen.train(half)
    model = mcrgen.train(gan_config(image, folder, "resume=true")).checkpoint
    resumed, whole = (torch.load(path, weights_only=True)["state_dict"] for path in (model, images_model))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    with pytest.raises(mcrgen.InputError, match=r"network\.features differ from the run"):
        mcrgen.train(gan_config(image, folder, "resume=true", "network.features=8"))
    with pytest.raises(mcrgen.InputError, match="method dcgan differs from the run"):
        mcrgen.train(gan_config(image, folder, "resume=true", "method=dcgan"))


def test_images_of_any_count_size_fraction_and_name(images_model: Path, tmp_path: Path) -> None:
    def generate(output: str, **options: Any) -> NDArray[np.uint8]:
        made = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=images_model, output=tmp_path / output, **options))
        found: NDArray[np.uint8] = np.load(made.path) if made.path.suffix == ".npy" else tifffile.imread(made.path)
        return found

    one = generate("one.npy", seed=1)
    assert one.shape == (16, 16)
    record = json.loads((tmp_path / "one.npy.json").read_text())
    assert record["phase_fractions"][1] == pytest.approx(one.mean())
    assert generate("wide.tif", size=(20, 50)).shape == (20, 50)
    assert generate("exact.npy", exact=True, phase_fraction=0.25, seed=4).mean() == pytest.approx(0.25, abs=2 / 256)
    made = mcrgen.generate(mcrgen.GenerateConfig(checkpoint=images_model, output=tmp_path / "many", count=12))
    files = sorted((tmp_path / "many").glob("*.tif"))
    assert [file.name for file in files] == [f"sample_{i:02d}.tif" for i in range(12)]
    assert np.array_equal(tifffile.imread(files[1]), one)  # sample 1 of seed 0 is the one of seed 1
    assert made.phase_fractions[1] == pytest.approx(np.mean([tifffile.imread(file) for file in files]))


def test_an_interrupted_count_goes_on(images_model: Path, tmp_path: Path) -> None:
    def many(count: int, **options: Any) -> mcrgen.GenerateConfig:
        return mcrgen.GenerateConfig(checkpoint=images_model, output=tmp_path / "many", count=count, **options)

    mcrgen.generate(many(3))
    first, last = (tmp_path / "many" / f"sample_{i}.tif" for i in (0, 2))
    expected, kept = last.read_bytes(), first.stat().st_mtime_ns
    last.unlink()
    mcrgen.generate(many(3))
    assert last.read_bytes() == expected
    assert first.stat().st_mtime_ns == kept
    with pytest.raises(mcrgen.InputError, match="exists already"):
        mcrgen.generate(many(2))
    (tmp_path / "many" / "notes.txt").write_text("mine")
    mcrgen.generate(many(2, overwrite=True))
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == [
        "notes.txt", "sample_0.tif", "sample_0.tif.json", "sample_1.tif", "sample_1.tif.json", "samples.json",
    ]  # fmt: skip


@pytest.mark.parametrize("record", ["[]", '{"settled": {}}', "no json"])
def test_nothing_foreign_is_deleted_or_taken_for_a_sample(record: str, images_model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "sub").mkdir(parents=True)
    (foreign / "samples.json").write_text(record)
    (foreign / "sample_0.tif").write_text("no image")
    (foreign / "sub" / "thesis.txt").write_text("mine")
    wanted = mcrgen.GenerateConfig(checkpoint=images_model, output=foreign, count=2)
    with pytest.raises(mcrgen.InputError, match="exists already"):
        mcrgen.generate(wanted)
    wanted.overwrite = True
    mcrgen.generate(wanted)
    assert (foreign / "sub" / "thesis.txt").read_text() == "mine"
    assert tifffile.imread(foreign / "sample_0.tif").shape == (16, 16)
    (tmp_path / "x.tif.json").write_text("mine")
    with pytest.raises(mcrgen.InputError, match=r"x\.tif\.json' exists already"):
        mcrgen.generate(mcrgen.GenerateConfig(checkpoint=images_model, output=tmp_path / "x.tif"))


def test_a_folder_of_samples_is_of_one_model(images_model: Path, volumes_model: Path, image: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.ckpt"
    model.write_bytes(images_model.read_bytes())
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "many", count=2))
    made = (tmp_path / "many" / "sample_1.tif").read_bytes()
    (tmp_path / "many" / "sample_1.tif").unlink()
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=images_model, output=tmp_path / "many", count=2))  # the same elsewhere
    assert (tmp_path / "many" / "sample_1.tif").read_bytes() == made
    other = mcrgen.train(gan_config(image, tmp_path / "run", "seed=1")).checkpoint
    model.write_bytes(other.read_bytes())
    with pytest.raises(mcrgen.InputError, match="exists already"):
        mcrgen.generate(mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "many", count=2))


def test_a_folder_that_is_no_run_is_left_alone(image: Path, tmp_path: Path) -> None:
    for name in ("log", "wandb", "monitor"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(mcrgen.InputError, match="exists already"):
        mcrgen.train(gan_config(image, tmp_path, "resume=true"))
    mcrgen.train(gan_config(image, tmp_path, "overwrite=true"))
    assert all((tmp_path / name / "mine.txt").exists() for name in ("log", "wandb", "monitor"))


def test_volumes_grow_in_blocks_to_the_same_medium(volumes_model: Path, tmp_path: Path) -> None:
    made = []
    for block in (16, 64):
        output = tmp_path / f"{block}.npy"
        mcrgen.generate(
            mcrgen.GenerateConfig(checkpoint=volumes_model, output=output, size=(20, 40, 33), block_size=block, device="cpu")
        )
        made.append(np.load(output))
    assert (made[0] != made[1]).mean() < 1e-4  # rounding of the convolutions
    output = tmp_path / "part.npy"
    box = "8:20,3:40,10:30"
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=volumes_model, output=output, box=box, device="cpu"))
    assert (np.load(output) != made[0][8:20, 3:40, 10:30]).mean() < 1e-4


def test_periodic_volumes_wrap_and_exact_ones_have_the_fraction(volumes_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "cell.npy"
    options = {"size": (32, 24, 40), "periodic": "all", "exact": True, "phase_fraction": 0.3, "keep_scores": True}
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=volumes_model, output=output, **options))  # type: ignore[arg-type]
    assert np.load(output).mean() == pytest.approx(0.3, abs=1e-4)
    scores = np.load(tmp_path / "cell.npy.scores.npy").astype(float)
    for axis in range(3):
        steps = np.abs(np.diff(scores, axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))
        seam = np.abs(np.take(scores, 0, axis) - np.take(scores, -1, axis)).mean()
        assert seam < 1.5 * steps.max()


def test_several_volumes_in_a_folder(volumes_model: Path, tmp_path: Path) -> None:
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=volumes_model, output=tmp_path / "many", count=2, size=(12,)))
    first, second = (tifffile.imread(tmp_path / "many" / f"sample_{i}.tif") for i in range(2))
    assert first.shape == second.shape == (12, 12, 12)
    assert not np.array_equal(first, second)


def test_the_volume_that_was_interrupted_goes_on_from_its_blocks(volumes_model: Path, tmp_path: Path) -> None:
    from mcrgen.commands._samples import missing_samples

    wanted = mcrgen.GenerateConfig(checkpoint=volumes_model, output=tmp_path / "many", count=2, size=(12,))
    assert [each.overwrite for each in missing_samples(wanted)] == [True, True]  # whatever else has these names
    assert [(each.overwrite, each.seed) for each in missing_samples(wanted)] == [(False, 0), (False, 1)]  # its blocks are kept


def test_regions_of_a_gan_and_of_a_label(volumes_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.repeat(np.uint8([0, 1]), 8)[:, None, None] * np.ones((16, 16, 16), np.uint8))
    output = tmp_path / "made.npy"
    given = {"regions": tmp_path / "map.npy", "region": ("1=2",), "size": (16,)}
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=volumes_model, output=output, **given))  # type: ignore[arg-type]
    made = np.load(output)
    assert (made[8:] == 2).all()
    assert set(np.unique(made[:8])) == {0, 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_mean": "0.1"}, "noise_mean: expected with a generator that has noise in every voxel"),
        ({"periodic": "z", "size": (20, 16, 16)}, "periodic: expected a size that is a multiple of 8 voxels"),
        ({"count": 0}, "count: expected a number greater than 0"),
        ({"count": 2, "output": Path("a.tif")}, "output: expected the name of a folder for 2 samples"),
    ],
)
def test_bad_options_for_volumes(options: dict[str, Any], message: str, volumes_model: Path, tmp_path: Path) -> None:
    with pytest.raises(mcrgen.InputError, match=message):
        mcrgen.generate(mcrgen.GenerateConfig(**({"checkpoint": volumes_model, "output": tmp_path / "x.tif"} | options)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"periodic": "all"}, "periodic: expected with a generator of volumes of any size"),
        ({"size": (8, 8, 8)}, "size: expected one or 2 edge lengths greater than 0 for a generator of 2D media, got '8 8 8'"),
        ({"output": Path("x.vol")}, "output: expected a name ending in .tif"),
        ({"phase_fraction": 1.5}, "phase_fraction: expected a phase fraction between 0 and 1"),
        ({"size": (2_000_000,)}, "size: whole samples of that size need about .* GiB"),
    ],
)
def test_bad_options_for_images(options: dict[str, Any], message: str, images_model: Path, tmp_path: Path) -> None:
    with pytest.raises(mcrgen.InputError, match=message):
        mcrgen.generate(mcrgen.GenerateConfig(**({"checkpoint": images_model, "output": tmp_path / "x.tif"} | options)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.size=20"], "network.size: expected 16, 32, 64, 128, 256 or 512 in 2D, got 20"),
        (["network.dimensions=3", "network.size=256"], "network.size: expected 16, 32, 64 or 128 in 3D, got 256"),
        (["network.dimensions=4"], "network.dimensions: expected 2, 3 or 0"),
        (["network.features=600"], "network.features: expected at most network.max_features = 512, got 600"),
        (["data.window=100"], "data.window: expected at most 60 voxels, the shortest edge of .* got 100"),
        (["data.stride=64", "trainer.batch_size=64"], "data.stride: expected one that leaves at least trainer.batch_size=64"),
        (["data.held_out=1.0"], "data.held_out: expected 0 or more and less than 1"),
        (["loss.label_smoothing=0.1"], "loss.label_smoothing: expected with --method dcgan only"),
        (["optimizer.betas=[0.5,1.0]"], "optimizer.betas: expected 0 or more and less than 1, got 1.0"),
        (["monitor.select=s3_mse"], "monitor.select: expected one of .* perhaps 's2_mse' is meant"),
        (["monitor.samples=1"], "monitor.samples: expected 2 or more"),
        (["loss.gradient_penalty=-1"], "loss.gradient_penalty: expected 0"),
        (["loss.instance_noise=.nan"], "loss.instance_noise: expected 0 .* got nan"),
        (["data.voxel_size_um=-1"], "data.voxel_size_um: expected a number greater than 0, got -1"),
        (["data.phase_names=[a,b,c]"], "data.phase_names: expected a different name for each of the 2 phases"),
        (["monitor.windows=1"], "monitor.windows: expected 2 or more"),
        (
            ["network.size=64"],
            "network.size: expected at most 60, the shortest edge of .*rock.tif.*or a --data.window to resize",
        ),
        (
            ["network.dimensions=3", "trainer.volumes=3"],
            "trainer.batch_size: expected a multiple of trainer.volumes = 3, got 4",
        ),
        (["network.dimensions=3", "trainer.batch_size=200"], "trainer.batch_size: expected at most 96 for 2 volumes of 48"),
    ],
)
def test_bad_options_of_training(overrides: list[str], message: str, image: Path, tmp_path: Path) -> None:
    with pytest.raises(mcrgen.InputError, match=message):
        mcrgen.train(gan_config(image, tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_mixed_and_single_phase_media_are_refused(image: Path, tomogram: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", tifffile.imread(image) // 255)
    with pytest.raises(mcrgen.InputError, match="expected only images or only volumes"):
        mcrgen.train(gan_config(None, tmp_path / "run", f"data.images=[{tmp_path / 'image.npy'},{tomogram}]"))
    flat = np.zeros((80, 60), np.uint8)
    flat[70:] = 1
    np.save(tmp_path / "flat.npy", flat)
    with pytest.raises(mcrgen.InputError, match=r"flat\.npy.* one phase|one phase.*flat\.npy"):
        mcrgen.train(gan_config(tmp_path / "flat.npy", tmp_path / "run", "data.held_out=0.5"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("looked", [True, False])
def test_a_loss_that_is_no_number_ends_with_the_best_model_before_it(looked: bool, image: Path, tmp_path: Path) -> None:
    from mcrgen.data.crops import Crops

    original = Crops.batch
    wanted = gan_config(image, tmp_path / "run", "monitor.every=2" if looked else "monitor.every=0")
    kept = "the model of the best step before it is '.*model.ckpt'" if looked else "'.*last.ckpt' is of a step before it"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Crops, "batch", lambda self, step: original(self, step) * (np.nan if step == 3 else 1.0))
        with pytest.raises(
            mcrgen.InputError, match=f"diverged to NaN after step 3 at 0.0001; {kept}; train anew with a smaller"
        ):
            mcrgen.train(wanted)
    half = mcrgen.train(gan_config(image, tmp_path / "half", "trainer.max_steps=2", "monitor.every=0")).checkpoint
    found = torch.load(tmp_path / "run" / ("model.ckpt" if looked else "last.ckpt"), weights_only=True)["state_dict"]
    expected = torch.load(half, weights_only=True)["state_dict"]
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_held_out_part_of_one_phase_is_told_before_any_work(tmp_path: Path) -> None:
    labels = gaussian_level_cut((60, 100), (0.6, 0.4), 2.0, 0)
    labels[:, 75:] = 0
    np.save(tmp_path / "gap.npy", labels)
    with pytest.raises(mcrgen.InputError, match=r"data.held_out: .* found nothing of the value 1"):
        mcrgen.train(gan_config(tmp_path / "gap.npy", tmp_path / "run", "data.held_out=0.25"))
    assert not (tmp_path / "run").exists()
    mcrgen.train(gan_config(tmp_path / "gap.npy", tmp_path / "run", "data.held_out=0"))


@pytest.mark.parametrize("phase", [3, 10, 17])
def test_any_of_three_phases_may_be_of_interest(phase: int, tmp_path: Path) -> None:
    values = np.array([3, 10, 17], np.uint8)
    np.save(tmp_path / "rock.npy", values[gaussian_level_cut((60, 80), (0.5, 0.3, 0.2), 2.0, 0)])
    model = mcrgen.train(gan_config(tmp_path / "rock.npy", tmp_path / "run", f"data.phase={phase}")).checkpoint
    made = mcrgen.generate(
        mcrgen.GenerateConfig(checkpoint=model, output=tmp_path / "made.npy", phase_fraction=0.4, exact=True, size=(64,))
    )
    assert made.phase_fractions[values.tolist().index(phase)] == pytest.approx(0.4, abs=2e-3)
    assert len(made.phase_fractions) == 3


def test_windows_of_another_size_make_other_voxels(tmp_path: Path) -> None:
    from mcrgen.io.images import write_labels

    write_labels(tmp_path / "rock.tif", gaussian_level_cut((80, 120), (0.6, 0.4), 4.0, 0), 2.0)
    model = mcrgen.train(gan_config(tmp_path / "rock.tif", tmp_path / "run", "data.window=24", "data.held_out=0.3")).checkpoint
    assert torch.load(model, weights_only=True)["mcrgen"]["voxel_size_um"] == pytest.approx(3.0)
    assert tifffile.imread(tmp_path / "run" / "held_out" / "window_0000.tif").shape == (16, 16)


def test_cells_of_a_region_must_fit_the_period(volumes_model: Path, image: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.repeat(np.uint8([0, 1]), 10)[:, None, None] * np.ones((20, 20, 20), np.uint8))
    other = mcrgen.train(
        gan_config(image, tmp_path / "run", "network.size=32", "data.held_out=0.5", recipe="slicegan")
    ).checkpoint  # cells of 16
    wanted = mcrgen.GenerateConfig(
        checkpoint=volumes_model, output=tmp_path / "x.npy", size=(24,), periodic="all", regions=tmp_path / "map.npy",
        region=(f"1={other}",),
    )  # fmt: skip
    with pytest.raises(mcrgen.InputError, match="periodic: expected a size that is a multiple of 16 voxels"):
        mcrgen.generate(wanted)


def test_the_method_chooses_the_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert isinstance(parse("train", train_command.run, ["--config", "dcgan"]), mcrgen.GanConfig)
    assert isinstance(parse("train", train_command.run, ["--method=wgan_gp"]), mcrgen.GanConfig)
    assert isinstance(parse("train", train_command.run, ["--config", "swnn_quick"]), mcrgen.TrainConfig)
    assert isinstance(parse("train", train_command.run, []), mcrgen.TrainConfig)
    assert main(["train", "--method", "wgangp"]) == 2
    assert "method: expected one of swnn, wgan_gp, dcgan, got 'wgangp'; perhaps 'wgan_gp' is meant" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("method: gan\n")
    assert main(["train", "--config", str(tmp_path / "mine.yaml")]) == 2
