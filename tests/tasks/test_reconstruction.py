from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from mcrgen.losses.slice_descriptors import Correlations, coarsened
from mcrgen.losses.slice_matching import SliceTarget, slice_errors
from mcrgen.reconstruction.sections import sections
from mcrgen.reconstruction.settings import ReconstructionSettings
from mcrgen.tasks.reconstruction import Matched, ReconstructionTask

AT = Correlations(limit=2, levels=2, periodic=True)


def binary(*shape: int, fraction: float = 0.4, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < fraction).float()


def matched(channels: int, levels: int = 1, normals: Sequence[int] = (0, 1, 2), weight: float = 1.0) -> dict[str, Matched]:
    """Different targets for each normal."""
    found = {}
    for name, descriptor in (("s2", AT.two_point), ("variation", AT.variation)):
        targets = [
            {n: SliceTarget.measure(descriptor, [coarsened(binary(1, channels, 24, 24, seed=n), level)], 0) for n in normals}
            for level in range(levels)
        ]
        found[name] = Matched(descriptor, targets, weight)
    return found


def task(
    shape: Sequence[int], channels: int = 1, levels: int = 1, found: dict[str, Matched] | None = None, **changes: Any
) -> ReconstructionTask:
    normals = (0, 1, 2) if len(shape) == 3 else (0,)
    settings = ReconstructionSettings(
        shape=tuple(shape), channels=channels, fractions=(0.4,) if channels == 1 else (1 / channels,) * channels,
        periodic=True, together=False, fraction_weight=2.0, sum_weight=3.0, minimised_variation=0.0, optimizer="lbfgs",
        learning_rate=0.05, history=5, slices_per_normal=None, slices_per_batch=3, levels=levels, coarse_steps=3, max_steps=6,
        tolerance=0.0, patience=100, seed=0,
    )  # fmt: skip
    return ReconstructionTask(replace(settings, **changes), matched(channels, levels, normals) if found is None else found)


def fit(reconstruction: ReconstructionTask, folder: Path, steps: int, checkpoint: Path | None = None) -> ReconstructionTask:
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(reconstruction, ckpt_path=checkpoint, weights_only=True)
    return reconstruction


@pytest.mark.parametrize(("shape", "channels"), [((5, 6, 8), 1), ((6, 5, 7), 3), ((7, 9), 1), ((8, 7), 3)])
def test_loss_and_gradient_are_those_of_all_slices_together(shape: tuple[int, ...], channels: int) -> None:
    reconstruction = task(shape, channels)
    loss = reconstruction.evaluate()
    assert reconstruction.medium.grad is not None
    gradient = reconstruction.medium.grad.clone()

    medium = reconstruction.medium.detach().requires_grad_()
    every = {n: sections(medium, n) for n in range(3 if len(shape) == 3 else 1)}
    count = sum(len(slices) for slices in every.values())
    whole = torch.zeros(())
    for match in reconstruction.matched.values():
        errors = [slice_errors(match.descriptor, slices, match.targets[0][n]) for n, slices in every.items()]
        whole = whole + torch.cat(errors).float().sum() / count
    means = medium.flatten(1).mean(dim=1)
    fractions = torch.tensor([0.4] if channels == 1 else [1 / 3] * 3)
    whole = whole + 2.0 * ((means - fractions) / (0.3 * fractions)).square().mean()
    if channels > 1:
        whole = whole + 3.0 * (medium.sum(dim=0) - 1.0).square().mean()
    whole.backward()  # type: ignore[no-untyped-call]
    assert medium.grad is not None
    assert float(loss) == pytest.approx(float(whole.detach()), rel=1e-5)
    np.testing.assert_allclose(gradient, medium.grad, rtol=1e-4, atol=1e-5)


def test_memory_bound_does_not_change_the_result() -> None:
    one, many = task((5, 6, 8), slices_per_batch=1), task((5, 6, 8), slices_per_batch=100)
    for reconstruction in (one, many):
        reconstruction.evaluate()
    assert one.medium.grad is not None
    assert many.medium.grad is not None
    np.testing.assert_allclose(one.medium.grad, many.medium.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize(("shape", "channels"), [((6, 8, 10), 1), ((8, 12), 3)])
def test_the_loss_falls_and_the_bounds_hold(tmp_path: Path, optimizer: str, shape: tuple[int, ...], channels: int) -> None:
    reconstruction = task(shape, channels, optimizer=optimizer)
    before = float(reconstruction.evaluate())
    fit(reconstruction, tmp_path, 15)
    after = float(reconstruction.evaluate())
    assert after < 0.7 * before
    assert reconstruction.medium.min() >= 0.0
    assert reconstruction.medium.max() <= 1.0


def test_a_medium_is_found_again_from_its_own_s2_and_fraction(tmp_path: Path) -> None:
    stripes = (torch.arange(8) % 4 < 2).float().expand(1, 1, 8, 8)  # columns of two
    target = SliceTarget.measure(AT.two_point, [stripes], 0)
    reconstruction = task(
        (8, 8),
        fractions=(0.5,),
        seed=1,
        found={"s2": Matched(AT.two_point, [{0: target}], 1.0)},
        max_steps=200,
        tolerance=1e-6,
    )
    fit(reconstruction, tmp_path, 200)
    assert reconstruction.done == "the loss reached the tolerance"
    found = reconstruction.medium.detach()[0]
    np.testing.assert_allclose(found, found[:1].expand(8, 8), atol=0.1)  # nothing changes along the columns
    assert ((found > 0.9) | (found < 0.1)).all()


def test_coarse_levels_come_first_and_each_voxel_is_split(tmp_path: Path) -> None:
    reconstruction = task((8, 16, 8), levels=2, coarse_steps=2)
    assert reconstruction.medium.shape == (1, 4, 8, 4)
    fit(reconstruction, tmp_path, 2)
    assert reconstruction.level == 0
    fine = reconstruction.medium.detach()
    assert fine.shape == (1, 8, 16, 8)
    assert torch.equal(fine[:, ::2, ::2, ::2], fine[:, 1::2, 1::2, 1::2])


@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize(("optimizer", "slices"), [("lbfgs", None), ("adam", 5)])
def test_a_resumed_run_repeats_an_uninterrupted_one(tmp_path: Path, stop: int, optimizer: str, slices: int | None) -> None:
    def fresh() -> ReconstructionTask:
        return task((8, 8, 8), levels=2, coarse_steps=3, slices_per_normal=slices, optimizer=optimizer)

    whole = fit(fresh(), tmp_path, 7)
    part = fit(fresh(), tmp_path, stop)
    part.trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    again = fit(fresh(), tmp_path, 7, tmp_path / "stopped.ckpt")
    assert torch.equal(again.medium, whole.medium)
    assert again.loss == whole.loss


def test_a_normal_without_targets_is_left_alone() -> None:
    reconstruction = task((5, 6, 7), found=matched(1, normals=(0, 2)))
    assert sorted(reconstruction.choose_slices()) == [0, 2]


def test_slices_are_drawn_anew_by_seed_and_step() -> None:
    def drawn(seed: int) -> list[list[int]]:
        chosen = task((9, 9, 9), slices_per_normal=3, seed=seed).choose_slices()
        return [numbers.tolist() for numbers in chosen.values()]

    assert [len(set(numbers)) for numbers in drawn(0)] == [3, 3, 3]
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_no_number_stops_with_the_last_good_medium(tmp_path: Path, optimizer: str) -> None:
    class Breaks:
        calls = 0

        def __call__(self, slices: Tensor) -> list[Tensor]:
            self.calls += 1
            return [slices.mean(dim=(2, 3)) * (float("nan") if self.calls > 2 else 1.0)]

    target = SliceTarget((torch.tensor([0.9]),), (torch.tensor(1.0),))
    broken: Callable[[Tensor], list[Tensor]] = Breaks()
    reconstruction = task(
        (8, 8), optimizer=optimizer, fraction_weight=0.0, found={"mean": Matched(broken, [{0: target}], 1.0)}, max_steps=50
    )
    fit(reconstruction, tmp_path, 50)
    assert reconstruction.failed
    assert torch.isfinite(reconstruction.medium).all()
    assert reconstruction.trainer.global_step < 50


def test_windows_of_the_medium_are_what_the_monitor_sees() -> None:
    reconstruction = task((6, 8, 10))
    windows = reconstruction.sample(4, 5, seed=3)
    assert windows.shape == (4, 1, 5, 5, 5)
    doubled = torch.cat([2 * reconstruction.medium.detach()[0] - 1] * 2)
    wrapped = torch.cat([torch.cat([doubled] * 2, dim=1)] * 2, dim=2)
    for window in windows[:, 0]:
        cubes = wrapped.unfold(0, 5, 1).unfold(1, 5, 1).unfold(2, 5, 1)
        assert (cubes == window).all(dim=(-1, -2, -3)).any()
    assert torch.equal(windows, reconstruction.sample(4, 5, seed=3))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("shape", "channels"), [((6, 8), 1), ((4, 6, 5), 1), ((7, 5), 3)])
def test_variation_can_be_minimised(shape: tuple[int, ...], channels: int, periodic: bool) -> None:
    """A finite medium has no neighbours across its faces."""
    reconstruction = task(
        shape, channels, found={}, minimised_variation=1.0, fraction_weight=0.0, sum_weight=0.0, periodic=periodic
    )
    medium = reconstruction.medium.detach().numpy()
    axes = range(1, medium.ndim)
    changes = [np.roll(medium, -1, axis) - medium if periodic else np.diff(medium, axis=axis) for axis in axes]
    assert float(reconstruction.evaluate()) == pytest.approx(sum(np.abs(c).mean() for c in changes), rel=1e-5)


def test_windows_of_a_finite_medium_do_not_cross_its_faces() -> None:
    """Layers are numbered, so that a window tells where it came from."""
    reconstruction = task((6, 9), periodic=False)
    reconstruction.medium.data = torch.arange(54.0).reshape(1, 6, 9) / 54
    windows = (0.5 + reconstruction.sample(400, 4, seed=1) / 2)[:, 0] * 54
    corners = windows[:, 0, 0].round()
    expected = corners[:, None, None] + 9 * torch.arange(4)[:, None] + torch.arange(4)
    torch.testing.assert_close(windows, expected, atol=1e-3, rtol=0)
    assert len(corners.unique()) == 18  # all places there are


def test_checkpoints_are_plain_data(tmp_path: Path) -> None:
    reconstruction = fit(task((6, 8)), tmp_path, 1)
    reconstruction.trainer.save_checkpoint(tmp_path / "t.ckpt")
    kept = torch.load(tmp_path / "t.ckpt", weights_only=True)["hyper_parameters"]
    assert ReconstructionSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}) == (
        reconstruction.settings
    )
    with pytest.raises(FrozenInstanceError):
        reconstruction.settings.seed = 1  # type: ignore[misc]
