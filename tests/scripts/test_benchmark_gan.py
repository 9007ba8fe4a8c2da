"""The script that measures adversarial training against a plain step."""

from __future__ import annotations

import copy
import itertools
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from tiny_adversarial import TinyCrops, settings, train
from torch import Tensor

from mcrgen import config
from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
from mcrgen.callbacks.loss_curves import LossCurves
from mcrgen.callbacks.sample_grid import SampleGrid
from mcrgen.commands._console import quiet_libraries
from mcrgen.data.crops import Crops
from mcrgen.tasks.wgan_gp import WGANGPTask

SCRIPT = pytest.mark.parametrize("script", ["benchmark_gan"], indirect=True)
TINY = (
    "network.size=16", "network.latent_channels=4", "network.features=4", "network.critic_features=4", "network.max_features=8",
    "trainer.batch_size=4", "monitor.samples=4", "monitor.windows=8", "monitor.max_lag=4", "calibration.samples=4",
)  # fmt: skip


def plain(script: ModuleType, task: WGANGPTask, *, fresh: bool) -> Any:
    return script.PlainWGAN(copy.deepcopy(task.generator), copy.deepcopy(task.critics[0]), task.settings, fresh=fresh)


@SCRIPT
@pytest.mark.parametrize("changes", [{}, {"dimensions": 3, "latent": "field", "critic_steps": 3}])
def test_the_plain_step_has_our_losses(script: ModuleType, changes: dict[str, Any]) -> None:
    task = WGANGPTask(settings(**changes))
    other, seen = plain(script, task, fresh=True), []

    class Both(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Tensor, batch_idx: int) -> None:
            updates = range(task.settings.critic_steps + 1)
            self.plain = other.step(batch[0], (next(script.draws(task, task._stream(update))) for update in updates))

        def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
            ours = [trainer.callback_metrics[f"train/{name}_loss"] for name in ("critic", "generator")]
            seen.append((torch.stack(ours), torch.stack(self.plain)))

    train(task, 4, callbacks=[Both()])
    assert len(seen) == 4
    for ours, plainly in seen:
        torch.testing.assert_close(ours, plainly, rtol=1e-3, atol=1e-4)
    first, last = seen[0][0], seen[-1][0]
    assert ((first - last).abs() > 0.01).all()  # there was something to agree about


@SCRIPT
def test_the_thrifty_step_shows_the_generator_the_samples_that_the_critic_saw_last(script: ModuleType) -> None:
    task = WGANGPTask(settings())
    real, draw = TinyCrops(task).batch(0)[0], torch.Generator().manual_seed(0)
    drawn = list(itertools.islice(script.draws(task, draw), task.settings.critic_steps))
    thrifty, fresh = plain(script, task, fresh=False), plain(script, task, fresh=True)
    torch.testing.assert_close(thrifty.step(real, iter(drawn)), fresh.step(real, iter([*drawn, drawn[-1]])))
    for ours, theirs in zip(thrifty.generator.parameters(), fresh.generator.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@SCRIPT
def test_steps_are_taken_in_turn_and_the_first_does_not_count(script: ModuleType) -> None:
    clock = script.Interleaved({"a": lambda batch: None})
    clock.seconds = {"mcrgen": [0.1, 2.0, 4.0, 1.0], "a": [0.1, 4.0, 4.0, 5.0]}
    assert (clock.best("mcrgen"), clock.best("a"), clock.ratio("a")) == (1.0, 4.0, 2.0)


@SCRIPT
def test_shares_are_those_of_the_intervals_of_the_recipe(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten steps of a second; looks of 2 s every 5th step, of 40 in the recipe; two pictures of 1 s and of 0.5 s, of 100."""
    overrides = ["trainer.max_steps=10", "monitor.every=5", "trainer.preview_every=5"]
    shipped, taken = (
        config.load(script.mcrgen.GanConfig, None, o) for o in (["monitor.every=40", "trainer.preview_every=100"], overrides)
    )
    hooks = {DescriptorMonitor: [2.0, 2.0], SampleGrid: [1.0, 1.0], LossCurves: [0.5, 0.5]}
    course = script.Course(taken, 17.0, [0.25] * 3, [9.0, 0.1, 0.1, 0.4], hooks)
    assert script.step_seconds(course) == pytest.approx(1.0)
    script.report_callbacks(course, shipped)
    script.report_waits(course)
    out = capsys.readouterr().out
    whole = 1.0 + 2.0 / 40 + 1.5 / 100
    assert f"| DescriptorMonitor | 40 | 2 | 2.00 s | 2.00 s | {0.05 / whole:.1%} | 5 % |" in out
    assert f"| LossCurves | 100 | 2 | 0.50 s | 0.50 s | {0.005 / whole:.1%} |" in out
    assert "| 250.0 ms | 100.00 ms | 200.00 ms | 20.0% | 5 % |" in out


@SCRIPT
@pytest.mark.filterwarnings("ignore::mcrgen.callbacks.descriptor_monitor.CollapseWarning")  # it has learnt nothing yet
def test_end_to_end(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    load = Crops.train_dataloader
    options = ["--shape", "150", "190", "--repeats", "2", "--steps", "4", "--device", "cpu", "--settings", *TINY]
    monkeypatch.setattr(sys, "argv", ["benchmark_gan.py", *options])
    with quiet_libraries():
        script.main()
    out = capsys.readouterr().out
    assert out.count("| mcrgen, ") in (1, 2)
    assert f"| {script.PLAIN}, fp32 |" in out
    assert "| DescriptorMonitor | 250 | 2 |" in out
    assert "3 x 4 crops of 16² for a step" in out
    assert Crops.train_dataloader is load
