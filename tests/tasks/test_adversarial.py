from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from tiny_adversarial import TinyCrops, crops, settings, tiny_trainer, train
from torch import Tensor

from mcrgen.tasks.adversarial import AdversarialTask, indicator
from mcrgen.tasks.dcgan import DCGANTask
from mcrgen.tasks.wgan_gp import WGANGPTask

KINDS = [DCGANTask, WGANGPTask]
AS_READ = ((0, 1, 2), (1, 0, 2), (2, 0, 1))


def weights(task: AdversarialTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


def test_indicators_of_scores_are_between_minus_one_and_one_and_those_of_phases_sum_like_one_hot() -> None:
    one, three = torch.randn(2, 1, 4, 4) * 5, torch.randn(2, 3, 4, 4) * 5
    assert torch.allclose(indicator(one), torch.tanh(one))
    found = indicator(three)
    assert (found.abs() <= 1).all()
    assert torch.allclose(found.sum(dim=1), torch.full((2, 4, 4), -1.0), atol=1e-5)  # one 1 and two -1
    assert torch.equal(found.argmax(dim=1), three.argmax(dim=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 3, "averaging": 0.0},
        {"dimensions": 3, "latent": "field", "upsampling": "resize"},
        {"dimensions": 3, "latent": "field", "judged": (AS_READ,)},
        {"dimensions": 3, "channels": 3, "judged": tuple((kind,) for kind in AS_READ)},
        {"spectral_norm": True, "instance_noise": 0.1, "critic_steps": 1},
    ],
)
def test_all_parts_learn_and_a_step_is_one_of_the_generator(kind: type[AdversarialTask], changes: dict[str, Any]) -> None:
    task = kind(settings(**changes))
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    trainer = train(task, 2)
    assert trainer.global_step == 2
    free = {name for name in before if name.endswith("bias") and name.startswith("critics") and kind is WGANGPTask}
    for name, value in task.named_parameters():  # a bias of all scores cancels in their difference
        assert name in free or not torch.equal(before[name], value), name
    assert set(trainer.callback_metrics) == {"train/critic_loss", "train/generator_loss"}


@pytest.mark.parametrize("kind", KINDS)
def test_one_update_lowers_the_loss_of_the_critic_and_leaves_the_generator(kind: type[AdversarialTask]) -> None:
    task = kind(settings(critic_steps=1))
    batch = TinyCrops(task).batch(0)
    real = batch[0, 0]
    fake = task._samples(task._stream(0)).detach()
    losses: list[float] = []

    def judge() -> None:
        critic = copy.deepcopy(task.critics[0])
        losses.append(float(task.critic_loss(critic, real, fake, torch.Generator().manual_seed(0)).detach()))

    generator = {n: v.clone() for n, v in task.generator.named_parameters()}
    update = task._update_generator
    task._update_generator = lambda: (judge(), update())[1]  # type: ignore[method-assign]
    judge()
    train(task, 1)
    assert losses[1] < losses[0]
    assert all(not torch.equal(generator[n], v) for n, v in task.generator.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(kind: type[AdversarialTask], tmp_path: Path) -> None:
    whole = kind(settings(instance_noise=0.2))
    train(whole, 6)
    first = kind(settings(instance_noise=0.2))
    train(first, 3).save_checkpoint(tmp_path / "last.ckpt")
    second = kind(settings(instance_noise=0.2))
    trainer = train(second, 6, resume=tmp_path / "last.ckpt")
    assert trainer.global_step == 6
    expected = weights(whole)
    for name, value in weights(second).items():
        assert torch.equal(value, expected[name]), name


def test_a_checkpoint_is_plain_data_and_has_both_optimisers(tmp_path: Path) -> None:
    task = WGANGPTask(settings())
    task.record = {"format": 1}
    train(task, 2).save_checkpoint(tmp_path / "last.ckpt")
    found = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert len(found["optimizer_states"]) == 2
    assert [len(state["state"]) for state in found["optimizer_states"]] == [
        len(list(module.parameters())) for module in (task.generator, task.critics)
    ]
    assert found["mcrgen"] == {"kind": "wgan_gp", "format": 1}
    assert any(name.startswith("averaged.") for name in found["state_dict"])


def test_the_average_is_the_exponential_one_of_the_weights() -> None:
    task = WGANGPTask(settings(averaging=0.25))
    seen: list[Tensor] = []
    update = task._update_generator

    def watched() -> Tensor:
        loss = update()
        seen.append(task.generator.layers[0].weight.detach().clone())
        return loss

    task._update_generator = watched  # type: ignore[method-assign]
    train(task, 4)
    expected = seen[0]
    for count, value in enumerate(seen[1:], 1):
        decay = min(0.25, (1 + count) / (10 + count))  # 2/11, 3/12 and 0.25
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(task.finished.layers[0].weight, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_leave_no_trace_and_depend_on_the_seed_alone(kind: type[AdversarialTask]) -> None:
    task = kind(settings(dimensions=3, latent="field"))
    train(task, 1)
    before, state = weights(task), torch.get_rng_state()
    task.train()
    first, again, other = (task.sample(3, 12, seed) for seed in (-1, -1, 5))
    assert first.shape == (3, 1, 12, 12, 12)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert task.training
    assert task.finished.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in weights(task).items())
    assert torch.allclose(first[:1], task.sample(1, 12, -1), atol=1e-5)  # samples do not depend on one another


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_no_number_stops_with_the_weights_before_it(kind: type[AdversarialTask]) -> None:
    task = kind(settings(max_steps=6))
    poisoned = TinyCrops(task)
    batch = poisoned.batch
    poisoned.batch = lambda step, rank=0, world=1: batch(step) * (torch.nan if step == 3 else 1)  # type: ignore[method-assign]
    trainer = tiny_trainer(6)
    trainer.fit(task, poisoned)
    assert task.failed
    assert trainer.global_step == 3
    assert all(torch.isfinite(value).all() for value in task.state_dict().values())
    clean = kind(settings(max_steps=6))
    train(clean, 3)
    assert torch.equal(clean.generator.layers[0].weight, task.generator.layers[0].weight)


@pytest.mark.parametrize(("kind", "critic_steps"), [(WGANGPTask, 2), (DCGANTask, 1)])
def test_eight_crops_are_learnt_by_heart(kind: type[AdversarialTask], critic_steps: int) -> None:
    steps, rate = 400, 5e-3
    task = kind(
        settings(
            latent_channels=8, features=8, critic_features=8, max_features=64, batch=16, learning_rate=rate,
            critic_learning_rate=rate, max_steps=steps, critic_steps=critic_steps, averaging=0.95,
        )
    )  # fmt: skip

    def distance() -> float:
        """Mean over samples of the share of voxels in which they differ from the nearest crop."""
        labels = task.sample(32, 16, 0) > 0
        pool = crops(task, 8) > 0
        return float((labels[:, None] != pool[None]).float().mean(dim=(2, 3, 4)).min(dim=1).values.mean())

    before = distance()
    train(task, steps)
    assert before > 0.4
    assert distance() < 0.2


@pytest.mark.parametrize("case", two_processes.CASES)
def test_two_processes_do_what_one_does_with_the_whole_batch(case: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", two_processes.__file__, case, str(tmp_path / "together.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    together = torch.load(tmp_path / "together.pt", weights_only=True)
    alone = two_processes.task(case)
    before = weights(alone)
    assert train(alone, two_processes.STEPS).global_step == together["step"] == two_processes.STEPS
    for name, value in weights(alone).items():
        assert torch.allclose(value.float(), together["state"][name].float(), atol=2e-4), name
        if value.ndim > 1:
            assert float((value - before[name]).abs().max()) > 1e-3  # far more than the tolerance
