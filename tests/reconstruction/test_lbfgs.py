import copy
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls
from torch import Tensor

from mcrgen.errors import InputError
from mcrgen.reconstruction.lbfgs import BoundedLBFGS

INF = math.inf


@dataclass(frozen=True)
class Problem:
    """A loss, where to start, and the box."""

    loss: Callable[[Tensor], Tensor]
    start: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Run:
    x: Tensor
    losses: list[float]
    evaluations: int


def problem(loss, start, low, high) -> Problem:
    x = torch.as_tensor(start, dtype=torch.float64)
    bounds = [torch.as_tensor(b, dtype=torch.float64).expand(x.shape).clone() for b in (low, high)]
    return Problem(loss, x, *bounds)


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2).sum()


def chained(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def beale(x: Tensor) -> Tensor:
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def wood(x: Tensor) -> Tensor:
    pairs = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2
    return pairs + 10.1 * ((x[1] - 1) ** 2 + (x[3] - 1) ** 2) + 19.8 * (x[1] - 1) * (x[3] - 1)


def waves(x: Tensor) -> Tensor:
    return torch.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1


def convex(n: int, decades: float, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    a = torch.from_numpy(q @ np.diag(10 ** rng.uniform(0, decades, n)) @ q.T)
    b = torch.from_numpy(rng.normal(size=n) * 10)
    return problem(lambda x: 0.5 * x @ a @ x - b @ x, np.zeros(n), -0.1, 0.5)


def least_squares(n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(size=(2 * n, n))), torch.from_numpy(rng.normal(size=2 * n))


def nonnegative(n: int, seed: int) -> Problem:
    a, b = least_squares(n, seed)
    return problem(lambda x: 0.5 * (a @ x - b).square().sum(), np.ones(n), 0.0, INF)


SCALES = torch.logspace(0, 3, 60, dtype=torch.float64)
CENTRES = torch.linspace(-1, 1, 60, dtype=torch.float64)
VALLEY = np.tile([-1.2, 1.0], 50)
# the last entry: the minimum of the loss in the box, where a closed form or the collection of Hock and Schittkowski has it
PROBLEMS: dict[str, tuple[Problem, float | None]] = {
    "rosenbrock, minimum inside": (problem(rosenbrock, [-1.2, 1.0], -5.0, 5.0), 0.0),
    "rosenbrock, minimum at a bound": (problem(rosenbrock, [-1.2, 1.0], -2.0, [0.5, 2.0]), 0.25),
    "extended rosenbrock": (problem(rosenbrock, VALLEY, -1.5, np.tile([0.8, 2.0], 50)), 50 * 0.2**2),
    "chained rosenbrock": (problem(chained, VALLEY[:20], -1.5, 0.9), None),
    "beale": (problem(beale, [1.0, 1.0], -4.5, 4.5), 0.0),
    "beale, minimum at a bound": (problem(beale, [1.0, 1.0], -4.5, [2.5, 4.5]), None),
    "HS1": (problem(rosenbrock, [-2.0, 1.0], [-INF, -1.5], INF), 0.0),
    "HS2": (problem(rosenbrock, [-2.0, 1.5], [-INF, 1.5], INF), 4.9412293),
    "HS3": (problem(lambda x: x[1] + 1e-5 * (x[1] - x[0]) ** 2, [10.0, 1.0], [-INF, 0.0], INF), 0.0),
    "HS4": (problem(lambda x: (x[0] + 1) ** 3 / 3 + x[1], [1.125, 0.125], [1.0, 0.0], INF), 8 / 3),
    "HS5": (problem(waves, [0.0, 0.0], [-1.5, -3.0], [4.0, 3.0]), -(3**0.5) / 2 - math.pi / 3),
    "HS38": (problem(wood, [-3.0, -1.0, -3.0, -1.0], -10.0, 10.0), 0.0),
    "HS45": (problem(lambda x: 2 - x.prod() / 120, [2.0] * 5, 0.0, [1.0, 2.0, 3.0, 4.0, 5.0]), 1.0),
    "ill-conditioned": (
        problem(lambda x: 0.5 * (SCALES * (x - CENTRES) ** 2).sum(), np.full(60, 0.3), -0.5, 0.5),
        float(0.5 * (SCALES * (CENTRES.clamp(-0.5, 0.5) - CENTRES) ** 2).sum()),
    ),
    "convex 10": (convex(10, 1, 0), None),
    "convex 50": (convex(50, 2, 1), None),
    "convex 100": (convex(100, 3, 2), None),
    "nnls 10": (nonnegative(10, 0), None),
    "nnls 200": (nonnegative(200, 1), None),
}


def closure_of(loss: Callable[[Tensor], Tensor], x: Tensor, seen: list[Tensor] | None = None) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        if seen is not None:
            seen.append(x.detach().clone())
        x.grad = None
        value = loss(x)
        value.backward()
        return value

    return closure


def run(case: Problem, *, most: int = 800, dtype: torch.dtype = torch.float64, **settings: float) -> Run:
    x = case.start.clone().to(dtype).requires_grad_()
    tolerances = {"gradient_tolerance": 1e-6, "decrease_tolerance": 1e-14}
    optimizer = BoundedLBFGS([x], low=case.low, high=case.high, **{**tolerances, **settings})
    seen: list[Tensor] = []
    losses: list[float] = []
    closure = closure_of(case.loss, x, seen)
    while not optimizer.converged and optimizer.evaluations < most:
        losses.append(optimizer.step(closure))
    assert optimizer.evaluations == len(seen)
    assert all(bool(((case.low.to(dtype) <= s) & (s <= case.high.to(dtype))).all()) for s in seen)
    return Run(x.detach(), losses, optimizer.evaluations)


@cache
def ours(name: str) -> Run:
    return run(PROBLEMS[name][0])


@cache
def scipys(name: str) -> Run:
    case, _ = PROBLEMS[name]

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(point.copy()).requires_grad_()
        value = case.loss(x)
        return value.item(), torch.autograd.grad(value, x)[0].numpy()

    bounds = list(zip(case.low.numpy(), case.high.numpy(), strict=True))
    options = {"maxcor": 10, "gtol": 1e-6, "ftol": 1e-14}
    found = minimize(value_and_gradient, case.start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Run(torch.from_numpy(found.x), [found.fun], found.nfev)


@pytest.mark.parametrize("name", PROBLEMS)
def test_minimum_is_that_of_scipy_and_of_the_books(name):
    known = PROBLEMS[name][1]
    found, peer = ours(name), scipys(name)
    assert found.losses[-1] == pytest.approx(peer.losses[-1], rel=1e-7, abs=1e-9)
    if known is not None:
        assert found.losses[-1] == pytest.approx(known, rel=1e-7, abs=1e-9)
    if name != "HS3":  # flat to 1e-5 along one axis
        torch.testing.assert_close(found.x, peer.x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", PROBLEMS)
def test_loss_never_rises(name):
    losses = ours(name).losses
    assert all(after <= before for before, after in pairwise(losses))


def test_evaluations_are_as_few_as_scipys():
    assert sum(ours(name).evaluations for name in PROBLEMS) <= 1.5 * sum(scipys(name).evaluations for name in PROBLEMS)


@pytest.mark.parametrize(("n", "seed"), [(10, 0), (50, 3), (200, 1)])
def test_nonnegative_least_squares(n, seed):
    a, b = least_squares(n, seed)
    found = run(nonnegative(n, seed), gradient_tolerance=1e-9, decrease_tolerance=0.0)
    exact, _ = nnls(a.numpy(), b.numpy())
    np.testing.assert_allclose(found.x.numpy(), exact, atol=1e-7)


def test_conditions_of_karush_kuhn_and_tucker_hold():
    case = convex(100, 3, 5)
    x = run(case).x.requires_grad_()
    gradient = torch.autograd.grad(case.loss(x), x)[0]
    inside = (x > case.low) & (x < case.high)
    assert 20 < int(inside.sum()) < 80
    assert gradient[inside].abs().max() < 1e-5
    assert (gradient[x == case.low] > 0).all()
    assert (gradient[x == case.high] < 0).all()


@pytest.mark.parametrize("name", ["extended rosenbrock", "ill-conditioned", "convex 50", "nnls 200"])
def test_float32_reaches_its_rounding(name):
    case, _ = PROBLEMS[name]

    def in_single(x: Tensor) -> Tensor:
        return case.loss(x.double()).float()

    found = run(Problem(in_single, case.start, case.low, case.high), dtype=torch.float32, decrease_tolerance=0.0, most=400)
    assert found.x.dtype == torch.float32
    assert found.losses[-1] == pytest.approx(ours(name).losses[-1], rel=2e-6)


def test_any_shape_and_history_shorter_than_the_run():
    scales = torch.linspace(1, 50, 2 * 3 * 5, dtype=torch.float64).view(2, 3, 5)
    x = torch.full((5, 3, 2), 0.5, dtype=torch.float64).movedim(0, 2).movedim(0, 1).requires_grad_()
    assert not x.is_contiguous()
    target = torch.linspace(-0.5, 1.5, 30, dtype=torch.float64).view(5, 3, 2).movedim(0, 2).movedim(0, 1)
    optimizer = BoundedLBFGS([x], low=0.0, high=1.0, history=2, decrease_tolerance=0.0)
    for _ in range(60):
        optimizer.step(closure_of(lambda v: (scales * (v - target) ** 2).sum(), x))
    assert optimizer.converged
    torch.testing.assert_close(x.detach(), target.clamp(0, 1), rtol=0, atol=1e-8)


def test_first_trial_moves_no_entry_further_than_asked():
    case, _ = PROBLEMS["convex 50"]
    x = case.start.clone().requires_grad_()
    seen: list[Tensor] = []
    optimizer = BoundedLBFGS([x], low=case.low, high=case.high, first_move=0.02)
    optimizer.step(closure_of(case.loss, x, seen))
    assert float((seen[1] - seen[0]).abs().max()) == pytest.approx(0.02)


def test_direction_is_not_rounded_where_autocast_is_on():
    case, _ = PROBLEMS["ill-conditioned"]
    found = []
    for enabled in (False, True):
        x = case.start.float().requires_grad_()
        optimizer = BoundedLBFGS([x], low=case.low, high=case.high)
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                optimizer.step(closure_of(case.loss, x))
        found.append(x.detach())
    assert torch.equal(*found)


def test_start_outside_the_box_is_clamped():
    x = torch.tensor([7.0, -3.0], dtype=torch.float64, requires_grad=True)
    seen: list[Tensor] = []
    BoundedLBFGS([x], low=0.0, high=1.0).step(closure_of(lambda v: (v - 0.5).square().sum(), x, seen))
    assert seen[0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_trials_without_a_finite_loss_are_stepped_back_from(bad):
    target = torch.tensor([0.8, 0.3], dtype=torch.float64)

    def walled(x: Tensor) -> Tensor:
        value = (torch.tensor([1.0, 30.0]) * (x - target) ** 2).sum()
        return value + bad if bool(x.detach()[0] > 0.85) else value

    found = run(problem(walled, [0.0, 0.0], 0.0, 1.0), first_move=1.0)
    assert all(math.isfinite(loss) for loss in found.losses)
    torch.testing.assert_close(found.x, target, rtol=0, atol=1e-5)


def test_trials_without_a_finite_gradient_are_stepped_back_from():
    def root(x: Tensor) -> Tensor:
        return (x.sqrt() - 0.5).square().sum() + (x - 0.25).square().sum()  # slope of the root at 0: infinite

    found = run(problem(root, [0.9, 0.5, 0.01], 0.0, 1.0), first_move=1.0)
    torch.testing.assert_close(found.x, torch.full((3,), 0.25, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumed_run_repeats_the_uninterrupted_one(dtype):
    case, _ = PROBLEMS["extended rosenbrock"]

    def fresh(start: Tensor) -> tuple[Tensor, BoundedLBFGS]:
        x = start.clone().requires_grad_()
        return x, BoundedLBFGS([x], low=case.low, high=case.high, history=4)

    x, optimizer = fresh(case.start.to(dtype))
    for _ in range(9):
        optimizer.step(closure_of(case.loss, x))
    file = io.BytesIO()
    torch.save({"x": x.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, resumed = fresh(saved["x"])
    resumed.load_state_dict(copy.deepcopy(saved["optimizer"]))
    for _ in range(6):
        assert optimizer.step(closure_of(case.loss, x)) == resumed.step(closure_of(case.loss, other))
    assert torch.equal(x, other)
    assert resumed.evaluations == optimizer.evaluations
    assert resumed.projected_gradient_norm == optimizer.projected_gradient_norm


def test_forgetting_takes_up_a_changed_loss():
    target = torch.tensor([0.2, 0.7, 0.4], dtype=torch.float64)
    x = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = BoundedLBFGS([x], low=0.0, high=1.0)
    for _ in range(5):
        optimizer.step(closure_of(lambda v: (v - target).square().sum(), x))
    assert optimizer.converged
    before = optimizer.evaluations
    optimizer.forget()
    assert not optimizer.converged
    assert optimizer.projected_gradient_norm == math.inf
    assert optimizer.evaluations == before
    while not optimizer.converged:
        optimizer.step(closure_of(lambda v: (v - 1 + target).square().sum(), x))
    torch.testing.assert_close(x.detach(), 1 - target, rtol=0, atol=1e-6)


def test_projected_gradient_norm_is_zero_where_the_box_holds_everything():
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = BoundedLBFGS([x], low=0.0, high=1.0)
    assert optimizer.projected_gradient_norm == math.inf
    assert optimizer.step(closure_of(lambda v: v[0] - v[1], x)) == -1.0
    assert optimizer.projected_gradient_norm == 0.0
    assert optimizer.converged
    assert optimizer.evaluations == 1


def test_converged_by_the_decrease():
    x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = BoundedLBFGS([x], low=0.0, high=1.0, gradient_tolerance=0.0, decrease_tolerance=0.5)
    loss = closure_of(lambda v: (1 + (v - 0.52).square()).sum(), x)
    optimizer.step(loss)
    assert optimizer.converged
    assert optimizer.projected_gradient_norm > 0


def test_a_loss_that_contradicts_its_gradient_ends_the_run_where_it_began():
    x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = BoundedLBFGS([x], low=0.0, high=1.0)

    def closure() -> float:
        x.grad = torch.ones_like(x)
        return -float(x.detach())

    assert optimizer.step(closure) == -0.5
    assert optimizer.converged
    assert x.item() == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history": 0}, "history: expected 1 or more, got 0"),
        ({"first_move": 0.0}, "first_move: expected a number greater than 0"),
        ({"gradient_tolerance": -1.0}, "gradient_tolerance: expected 0 or more, got -1"),
        ({"decrease_tolerance": math.nan}, "decrease_tolerance: expected 0 or more, got nan"),
        ({"low": 1.0}, "low: expected less than high everywhere, got 1 and 1"),
        ({"low": math.nan}, "low: expected less than high"),
        ({"low": torch.tensor([0.0, 2.0, 0.0])}, "low: expected less than high everywhere, got a tensor from 0 to 2 and 1"),
        ({"high": torch.ones(2)}, r"high: expected a number or a tensor that broadcasts to \(3,\), got the shape \(2,\)"),
        ({"high": torch.ones(2, 3)}, r"high: expected .* got the shape \(2, 3\)"),
    ],
)
def test_settings_are_checked(settings, message):
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(InputError, match=message):
        BoundedLBFGS([x], **{"low": 0.0, "high": 1.0, **settings})


def test_parameters_are_checked():
    with pytest.raises(InputError, match="params: expected one tensor, got 2 entries"):
        BoundedLBFGS([torch.zeros(2), torch.zeros(2)], low=0.0, high=1.0)
    with pytest.raises(InputError, match=r"params: expected float32 or float64, got torch\.int64"):
        BoundedLBFGS([torch.zeros(2, dtype=torch.int64)], low=0.0, high=1.0)


def test_closures_are_checked():
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(InputError, match=r"closure: expected a function .* got None"):
        BoundedLBFGS([x], low=0.0, high=1.0).step()
    with pytest.raises(InputError, match="closure: expected it to compute the gradient"):
        BoundedLBFGS([x], low=0.0, high=1.0).step(lambda: 0.0)
    with pytest.raises(InputError, match="closure: expected a finite loss and gradient at the start, got a loss of nan"):
        BoundedLBFGS([x], low=0.0, high=1.0).step(closure_of(lambda v: v.sum() * math.nan, x))
