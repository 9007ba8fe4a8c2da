from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mcrgen.callbacks.descriptor_monitor import CollapseWarning, DescriptorMonitor, diversity
from mcrgen.callbacks.metrics import METRICS
from mcrgen.callbacks.reference import Reference
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.measure import measure

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|ModelCheckpoint with manual|Checkpoint directory)"
)
SIZE, LAG = 16, 7
POLYTOPES = {"f3h": "p3h", "f3v": "p3v", "f4": "p4", "f6": "p6"}


class Stub(LightningModule):
    """Hands out prepared scores, one batch after the other."""

    def __init__(self, batches: list[Tensor], *, steps_per_batch: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches = batches
        self.asked: list[tuple[int, int, int]] = []
        self.steps_per_batch = steps_per_batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for _ in range(self.steps_per_batch):
            self.weight.grad = torch.ones(1)
            self.optimizers().step()

    def sample(self, count: int, size: int, seed: int) -> Tensor:
        self.asked.append((count, size, seed))
        return self.batches[min(len(self.asked), len(self.batches)) - 1]


def above_zero(scores: Tensor) -> Tensor:
    return scores[:, 0] > 0


def scores_of(phase: NDArray[np.bool_]) -> Tensor:
    """``(B, 1, *spatial)``."""
    return torch.from_numpy(np.where(phase, 1.0, -1.0).astype(np.float32))[:, None]


def windows(image: NDArray[np.bool_], edge: int) -> NDArray[np.bool_]:
    rows, columns = (range(0, n - edge + 1, edge) for n in image.shape)
    return np.stack([image[i : i + edge, j : j + edge] for i in rows for j in columns])


def fit(
    module: Stub,
    folder: Path,
    reference: Reference,
    *callbacks: ModelCheckpoint,
    steps: int = 1,
    every: int = 1,
    classify: Callable[[Tensor], Tensor] = above_zero,
    phase: int = 1,
) -> tuple[Trainer, list[dict[str, str]]]:
    """Train the stub, and the rows of the log."""
    monitor = DescriptorMonitor(folder / "monitor", reference, classify, phase=phase, every=every, samples=4, size=SIZE)
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=CSVLogger(folder, name="log", version=0),
        callbacks=[monitor, *callbacks], enable_checkpointing=bool(callbacks), enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.zeros(1000, 1)))
    return trainer, list(csv.DictReader((folder / "log/version_0/metrics.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def medium() -> NDArray[np.bool_]:
    return gaussian_level_cut((70, 90), (0.65, 0.35), 1.3, seed=1) == 1


@pytest.fixture(scope="module")
def reference(medium: NDArray[np.bool_]) -> Reference:
    return Reference.measure([medium], size=SIZE, max_lag=LAG)


def expected_errors(samples: NDArray[np.bool_], image: NDArray[np.bool_], lag: int) -> dict[str, float]:
    """The metrics by hand, from the one-pass measurement."""
    names = ("s2", "lineal_path", *POLYTOPES.values())
    target = measure(image, max_lag=lag, curves=names).curves
    found = [measure(s, max_lag=lag, curves=names).curves for s in samples]
    errors = {}
    for name, source in {"s2": "s2", "lineal_path": "lineal_path", "f2": "s2", **POLYTOPES}.items():
        a, b = np.mean([f[source].mean for f in found], axis=0), target[source].mean
        n = min(len(a), len(b))
        a, b, order = a[:n], b[:n], {"f2": 2, "f3h": 3, "f3v": 3, "f4": 4, "f6": 6}.get(name)
        if order:
            a, b = ((p - p[0] ** order) / (p[0] - p[0] ** order) for p in (a, b))
        errors[f"monitor/{name}_mse"] = float(np.mean((a - b) ** 2))
    errors["monitor/phase_fraction_error"] = abs(samples.mean() - image.mean()) / image.mean()
    return errors


@pytest.mark.parametrize("shape", [(4, SIZE, SIZE), (4, SIZE, SIZE, SIZE)])
def test_metrics_by_hand(shape: tuple[int, ...], medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    samples = np.stack([gaussian_level_cut(shape[1:], (0.6, 0.4), 1.0, seed=s) == 1 for s in range(4)])
    trainer, rows = fit(Stub([scores_of(samples)]), tmp_path, reference)
    expected = expected_errors(samples, medium, LAG)
    assert len(rows) == 1
    assert set(rows[0]) == {"step", *(f"monitor/{m}" for m in METRICS)}
    for name, value in expected.items():
        assert float(trainer.callback_metrics[name]) == pytest.approx(value, rel=1e-5)
        assert float(rows[0][name]) == pytest.approx(value, rel=1e-9)


def test_the_exemplar_itself_has_no_error(tmp_path: Path) -> None:
    """Windows that tile a medium: together they have its fraction, and its curves up to what crosses their borders."""
    medium = gaussian_level_cut((256, 256), (0.65, 0.35), 1.0, seed=2) == 1
    reference = Reference.measure([medium], size=64, max_lag=LAG)
    trainer, _ = fit(Stub([scores_of(windows(medium, 64))]), tmp_path, reference)
    values = {name: float(v) for name, v in trainer.callback_metrics.items()}
    assert values["monitor/phase_fraction_error"] < 1e-6
    assert all(v < 2e-5 for name, v in values.items() if name.endswith("mse"))
    assert 0.8 < values["monitor/diversity"] < 1.2


def test_diversity_by_hand(reference: Reference) -> None:
    phase = torch.from_numpy(np.stack([gaussian_level_cut((20,) * 3, (0.6, 0.4), 1.0, seed=s) == 1 for s in range(3)]))
    scatter = []
    for sections in (phase[:, 10], phase[:, :, 10], phase[:, :, :, 10]):
        s2 = [measure(s.numpy()[2:18, 2:18], max_lag=LAG, curves=["s2"]).curves["s2"].mean for s in sections]
        scatter.append(np.std(s2, axis=0, ddof=1).mean())
    expected = np.mean(scatter) / np.std(reference.windows_s2.numpy(), axis=0, ddof=1).mean()
    assert diversity(phase, reference) == pytest.approx(expected, rel=1e-9)


def test_reference_band(medium: NDArray[np.bool_], reference: Reference) -> None:
    """Windows of the samples' size; about 95 % of other windows' values lie in the band, at each lag."""
    assert (reference.edge, reference.max_lag) == (SIZE, LAG)
    assert reference.fraction == pytest.approx(medium.mean())
    assert {len(c) for name, c in reference.curves.items() if name != "f6"} == {LAG + 1}
    other = gaussian_level_cut((320, 320), (0.65, 0.35), 1.3, seed=9) == 1
    s2 = np.stack([measure(w, max_lag=LAG, curves=["s2"]).curves["s2"].mean for w in windows(other, SIZE)])
    inside = (s2 >= reference.low["s2"].numpy()) & (s2 <= reference.high["s2"].numpy())
    assert 0.85 < inside.mean() < 0.99


def test_reference_of_a_small_image_and_of_a_volume() -> None:
    small = Reference.measure([gaussian_level_cut((30, 21), (0.6, 0.4), 1.0, seed=0) == 1], size=64, max_lag=32)
    assert (small.edge, small.max_lag) == (10, 9)
    assert len(small.windows_s2) >= 4
    volume = gaussian_level_cut((24, 30, 26), (0.6, 0.4), 1.0, seed=0) == 1
    solid = Reference.measure([volume], size=10, max_lag=5)
    expected = measure(volume, max_lag=5, curves=["s2"]).curves["s2"].mean
    np.testing.assert_allclose(solid.curves["s2"], expected, rtol=1e-12)
    assert all((solid.low[k] <= solid.high[k]).all() for k in solid.low)


@pytest.mark.parametrize("dimension", [2, 3])
def test_collapse_warns_once_and_draws(dimension: int, reference: Reference, tmp_path: Path) -> None:
    one = gaussian_level_cut((SIZE,) * dimension, (0.65, 0.35), 1.3, seed=5) == 1
    with pytest.warns(CollapseWarning, match=r"samples at step 1 look all alike.*see .*collapse_step_000001\.png") as caught:
        trainer, _ = fit(Stub([scores_of(np.stack([one] * 4))]), tmp_path, reference, steps=3)
    assert len([w for w in caught if issubclass(w.category, CollapseWarning)]) == 1
    assert float(trainer.callback_metrics["monitor/diversity"]) == 0
    assert sorted(p.name for p in (tmp_path / "monitor").glob("collapse*")) == ["collapse_step_000001.png"]
    assert drawn(tmp_path / "monitor/collapse_step_000001.png")


def test_various_samples_are_no_collapse(medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    trainer, _ = fit(Stub([scores_of(windows(medium, SIZE)[:6])]), tmp_path, reference)  # warnings are errors
    assert float(trainer.callback_metrics["monitor/diversity"]) > 0.3
    assert not list((tmp_path / "monitor").glob("collapse*"))


def drawn(path: Path) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    red = (pixels[:, 0] > 180) & (pixels[:, 1] < 120)
    return min(pixels.shape) > 0 and len(np.unique(pixels, axis=0)) > 20 and red.sum() > 100


def test_figure_and_curves_on_disk(medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    samples = windows(medium, SIZE)[:4]
    fit(Stub([scores_of(samples)]), tmp_path, reference, steps=5, every=2)
    names = sorted(p.name for p in (tmp_path / "monitor").iterdir())
    assert names == [f"step_{s:06d}.{kind}" for s in (2, 4, 5) for kind in ("csv", "png")]
    assert drawn(tmp_path / "monitor/step_000005.png")
    rows = list(csv.DictReader((tmp_path / "monitor/step_000002.csv").read_text().splitlines()))
    s2 = [r for r in rows if r["curve"] == "s2"]
    for i, sample in enumerate(samples):
        expected = measure(sample, max_lag=LAG, curves=["s2"]).curves["s2"].mean
        np.testing.assert_allclose([float(r[f"sample_{i}"]) for r in s2], expected, rtol=1e-12)
    np.testing.assert_allclose([float(r["exemplar"]) for r in s2], reference.curves["s2"], rtol=1e-12)
    assert {r["curve"] for r in rows} == {"s2", "lineal_path", "f2", *POLYTOPES}


def test_three_phases(tmp_path: Path) -> None:
    """The largest of three scores decides; the phase of interest is the middle one."""
    labels = gaussian_level_cut((4 * SIZE, 4 * SIZE), (0.4, 0.35, 0.25), 1.2, seed=3)
    reference = Reference.measure([labels == 1], size=SIZE, max_lag=LAG)
    cut = np.stack([windows(labels == i, SIZE) for i in range(3)], axis=1)[:8]
    scores = torch.from_numpy(cut.astype(np.float32))
    trainer, _ = fit(Stub([scores]), tmp_path, reference, classify=lambda s: s.argmax(dim=1) == 1)
    expected = expected_errors(cut[:, 1], labels == 1, LAG)
    for name, value in expected.items():
        assert float(trainer.callback_metrics[name]) == pytest.approx(value, rel=1e-5)


def test_curves_are_calibrated_and_the_fraction_is_not(medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    """Scores shifted by a constant: the phase fraction is off, the curves after calibration are not."""
    samples = windows(medium, SIZE)[:4]
    trainer, _ = fit(Stub([scores_of(samples) - 5.0]), tmp_path, reference, classify=lambda scores: scores[:, 0] > -5.0)
    assert float(trainer.callback_metrics["monitor/phase_fraction_error"]) == 1.0
    expected = expected_errors(samples, medium, LAG)["monitor/s2_mse"]
    assert float(trainer.callback_metrics["monitor/s2_mse"]) == pytest.approx(expected, rel=1e-5)


def test_scores_that_are_not_finite(reference: Reference, tmp_path: Path) -> None:
    trainer, rows = fit(Stub([torch.full((4, 1, SIZE, SIZE), math.nan)]), tmp_path, reference)
    assert all(math.isnan(float(trainer.callback_metrics[f"monitor/{m}"])) for m in METRICS)
    assert rows[0]["monitor/s2_mse"] == "nan"


def test_samples_of_one_phase(reference: Reference, tmp_path: Path) -> None:
    """There is nothing to scale in F_n: NaN, not an error."""
    with pytest.warns(CollapseWarning):
        trainer, _ = fit(Stub([-torch.ones(4, 1, SIZE, SIZE)]), tmp_path, reference)
    assert math.isnan(float(trainer.callback_metrics["monitor/f4_mse"]))
    assert float(trainer.callback_metrics["monitor/lineal_path_mse"]) > 0


def test_any_model_checkpoint_can_monitor(medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    """Lightning's own callback keeps the step with the smallest error in the log; equal seeds at every look."""
    rng = np.random.default_rng(0)
    batches = [scores_of(windows(medium, SIZE)[rng.choice(20, 4, replace=False)]) for _ in range(6)]
    module = Stub(batches)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{step}", monitor="monitor/f4_mse", every_n_train_steps=2)
    _, rows = fit(module, tmp_path, reference, keep, steps=12, every=2)
    assert [int(r["step"]) for r in rows] == [2, 4, 6, 8, 10, 12]
    best = min(rows, key=lambda r: float(r["monitor/f4_mse"]))
    assert Path(keep.best_model_path).name == f"step={best['step']}.ckpt"
    assert float(keep.best_model_score) == pytest.approx(float(best["monitor/f4_mse"]), rel=1e-6)
    assert len(set(module.asked)) == 1


def test_tasks_of_several_steps_a_batch(medium: NDArray[np.bool_], reference: Reference, tmp_path: Path) -> None:
    """Three optimiser steps a batch: looks at the first batch end at or after 4, 8 and at the end."""
    batches = [scores_of(windows(medium, SIZE)[:4])]
    _, rows = fit(Stub(batches, steps_per_batch=3), tmp_path, reference, steps=11, every=4)
    assert [int(r["step"]) for r in rows] == [6, 9, 12]
