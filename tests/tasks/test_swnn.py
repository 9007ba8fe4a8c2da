from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, Trainer

from mcrgen.data.control import FractionRange, Target
from mcrgen.data.exemplar import Exemplar
from mcrgen.data.symmetry import Symmetry
from mcrgen.io.phases import Phases
from mcrgen.losses.covariance_matching import CovarianceTargets
from mcrgen.tasks.base import Task
from mcrgen.tasks.swnn import THIN_FIRST, THIN_LAST, SWNNTask


def task(**changes: object) -> SWNNTask:
    settings = {
        "out_channels": 1, "channels": 6, "layers": 2, "noise_channels": 3, "patch_size": 5, "slab_size": 20,
        "loss_kind": "patterns", "distance": "wasserstein", "projections": 32, "exponent": 1.0, "covariance_weight": 0.1,
        "normals": (0, 1, 2), "phase_fraction_range": None, "covariance": (), "learning_rate": 0.02,
        "final_learning_rate": 0.001, "max_steps": 60, "seed": 0,
    }  # fmt: skip
    return SWNNTask(**(settings | changes))


def exemplar(labels: NDArray[np.uint8], *, normals: int = 3, target: Target = None) -> Exemplar:
    phases = Phases(tuple(range(int(labels.max()) + 1)), 1)
    return Exemplar([[labels]] * normals, phases, patch_size=5, count=256, symmetry=Symmetry.square, seed=0, target=target)


def fit(module: SWNNTask, data: Exemplar, steps: int) -> list[float]:
    """Train and return the loss of every step."""
    values: list[float] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
            values.append(float(trainer.callback_metrics["train/loss"]))

    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, callbacks=[Keep()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return values


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("changes", [{}, {"exponent": 2.0}, {"distance": "characteristic"}])
def test_training_lowers_the_loss(two_phases: NDArray[np.uint8], changes: dict[str, object]) -> None:
    losses = fit(task(**changes), exemplar(two_phases), 60)
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_three_phases_train() -> None:
    labels = np.kron(np.random.default_rng(0).integers(0, 3, (12, 12)), np.ones((3, 3))).astype(np.uint8)
    losses = fit(task(out_channels=3), exemplar(labels), 40)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_conditional_generator_makes_what_it_is_asked_for(two_phases: NDArray[np.uint8]) -> None:
    """After some steps the raw score is above 0 more often where a higher phase fraction is asked for."""
    data = exemplar(two_phases, target=FractionRange(0.15, 0.5))
    at = torch.linspace(0.15, 0.5, 3, dtype=torch.float64)
    targets = data.pattern_covariance(at.tolist()).double()
    module = task(
        phase_fraction_range=(0.15, 0.5),
        covariance=[CovarianceTargets(maps, at) for maps in targets.unbind(dim=1)],
        max_steps=120,
    )
    losses = fit(module, data, 120)
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:3])
    shares = []
    for fraction in (0.15, 0.3, 0.5):
        module.sample_fraction = fraction
        shares.append(float((module.sample(2, 24, 0) > 0).double().mean()))
    assert shares[0] + 0.1 < shares[1] < shares[2] - 0.1
    np.testing.assert_allclose(shares, [0.15, 0.3, 0.5], atol=0.12)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_normals_without_patterns_are_left_out(two_phases: NDArray[np.uint8]) -> None:
    module, made = task(normals=(0, 2)), []
    slab = module.slab
    module.slab = lambda normal, *rest: (made.append(normal), slab(normal, *rest))[1]
    fit(module, exemplar(two_phases, normals=2), 2)
    assert made == [0, 2, 0, 2]
    assert list(module.latest_slices) == [0, 2]


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_autocorrelation_alone_is_matched(two_phases: NDArray[np.uint8]) -> None:
    data = exemplar(two_phases)
    means = torch.tensor([two_phases.mean()])
    targets = [CovarianceTargets(maps[None], means=means) for maps in data.covariance(4)]
    module = task(loss_kind="autocorrelation", covariance=targets, covariance_weight=0.0)
    losses = fit(module, data, 60)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:3])


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_gram_loss_is_that_of_its_normal_and_no_part_of_the_state(two_phases: NDArray[np.uint8]) -> None:
    class Mean(torch.nn.Module):
        def __init__(self, target: float) -> None:
            super().__init__()
            self.target = torch.nn.Parameter(torch.tensor(target))

        def forward(self, slices: torch.Tensor) -> torch.Tensor:
            return (slices.mean() - self.target).square()

    module = task(loss_kind="gram", gram=[Mean(0.2), Mean(0.2), Mean(0.2)])
    losses = fit(module, exemplar(two_phases), 40)
    assert losses[-1] < 0.1 * losses[0]
    assert not any("gram" in name for name in module.state_dict())


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = task().network.state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = task().network.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    assert not torch.equal(first["head.weight"], task(seed=1).network.state_dict()["head.weight"])


@pytest.mark.parametrize("layout", [THIN_FIRST, THIN_LAST])
def test_slab_layouts_put_the_normal_on_the_thin_axis(layout: tuple[tuple[int, int, int], ...]) -> None:
    thin = 0 if layout is THIN_FIRST else 2
    for normal, axes in enumerate(layout):
        assert axes[thin] == normal
        rest = [a for i, a in enumerate(axes) if i != thin]
        assert rest == sorted(rest)
        assert sorted(axes) == [0, 1, 2]


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_slab_is_a_section_of_the_generator(normal: int) -> None:
    """The slab made with turned kernels equals the slab of the same noise laid along the medium's own axes."""
    module = task()
    module.network.eval()
    slab = module.slab(normal, torch.Generator().manual_seed(3))
    noise = torch.randn(1, 24, 24, 5, 3, generator=torch.Generator().manual_seed(3)).permute(0, 4, 1, 2, 3)
    inverse = np.argsort(THIN_LAST[normal])
    upright = module.network(noise.permute(0, 1, *(2 + int(i) for i in inverse)))
    assert slab.shape == (1, 1, 20, 20)
    torch.testing.assert_close(slab, torch.tanh(upright.squeeze(2 + normal)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_slab_under_autocast_is_the_same_section(normal: int) -> None:
    module = task()
    module.network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        slab = module.slab(normal, torch.Generator().manual_seed(3))
    noise = torch.randn(1, 5, 24, 24, 3, generator=torch.Generator().manual_seed(3)).permute(0, 4, 1, 2, 3)
    inverse = np.argsort(THIN_FIRST[normal])
    upright = module.network(noise.permute(0, 1, *(2 + int(i) for i in inverse)))
    assert slab.dtype == torch.float32
    torch.testing.assert_close(slab, torch.tanh(upright.squeeze(2 + normal)), rtol=0.05, atol=0.02)


def test_sample_makes_independent_cubes_from_the_seed_alone() -> None:
    module = task(out_channels=3)
    torch.manual_seed(1)
    first = module.sample(2, 10, 7)
    torch.manual_seed(2)
    assert first.shape == (2, 3, 10, 10, 10)
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert torch.equal(module.sample(2, 10, 7), first)
    assert not torch.equal(module.sample(2, 10, 8), first)
    assert abs(float(torch.corrcoef(first[:, 0].flatten(1))[0, 1])) < 0.2


@pytest.mark.parametrize("training", [True, False])
def test_sample_leaves_no_trace(training: bool) -> None:
    module = task()
    module.network.train(training)
    modes = {name: m.training for name, m in module.named_modules()}
    before = {k: v.clone() for k, v in module.state_dict().items()}
    random_state = torch.get_rng_state()
    module.sample(2, 8, 0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert {name: m.training for name, m in module.named_modules()} == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(m.track_running_stats for m in module.modules() if isinstance(m, torch.nn.BatchNorm3d))
    module.network.train()
    module.slab(0, torch.Generator().manual_seed(0))
    moved = module.state_dict()
    assert not torch.equal(moved["network.blocks.1.norm.running_mean"], before["network.blocks.1.norm.running_mean"])


def test_sample_normalises_with_its_own_statistics() -> None:
    """Equal to the network with the statistics of these very cubes, whatever the running averages are."""
    module = task()
    expected = module.sample(2, 8, 5)
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm3d):
            m.running_mean.fill_(100.0)
            m.momentum = 1.0
    assert torch.equal(module.sample(2, 8, 5), expected)
    noise = torch.randn(2, 12, 12, 12, 3, generator=torch.Generator().manual_seed(5)).permute(0, 4, 1, 2, 3)
    module.network.train()
    torch.testing.assert_close(module.network(noise), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_sample_in_the_precision_of_training(two_phases: NDArray[np.uint8]) -> None:
    module, seen = task(), []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: SWNNTask, *args: object) -> None:
            seen.append(pl_module.sample(2, 8, 0))

    module.network.head.register_forward_hook(lambda head, inputs, output: seen.append(output.dtype))
    trainer = Trainer(
        accelerator="cpu", max_steps=1, max_epochs=-1, logger=False, enable_checkpointing=False, callbacks=[Look()],
        enable_progress_bar=False, enable_model_summary=False, precision="bf16-mixed",
    )  # fmt: skip
    trainer.fit(module, exemplar(two_phases))
    *dtypes, scores = seen
    assert set(dtypes) == {torch.bfloat16}
    assert len(dtypes) == 4
    assert scores.dtype == torch.float32


def test_base_task_needs_models() -> None:
    with pytest.raises(NotImplementedError):
        Task()


def test_checkpoint_hook_adds_the_record() -> None:
    module = task()
    module.record = {"a": [1, 2]}
    saved: dict[str, object] = {}
    module.on_save_checkpoint(saved)
    assert saved["mcrgen"] == {"kind": "swnn", "a": [1, 2]}
