from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcrgen.data.control import MIN_PATTERNS, control_patterns, reachable_range
from mcrgen.data.exemplar import Exemplar, PatternBatches
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.two_point import autocovariance_map, symmetrise
from mcrgen.errors import InputError
from mcrgen.io.phases import Phases, indicators


def exemplar(labels: NDArray[np.uint8], **changes: object) -> Exemplar:
    settings = {"patch_size": 5, "count": 50, "symmetric": False, "seed": 1, "phase_fraction": None} | changes
    phases = Phases(tuple(range(int(labels.max()) + 1)), 1)
    return Exemplar(indicators(labels, phases), **settings)


@pytest.mark.parametrize("target", [0.12, 0.2, 0.3, 0.34, 0.5, 0.7])
def test_control_reaches_the_target(two_phases: NDArray[np.uint8], target: float) -> None:
    patterns = local_patterns(torch.from_numpy(two_phases)[None, None].float(), 7)
    fractions = patterns.mean(dim=1).numpy()
    chosen = control_patterns(fractions, target)
    assert len(chosen) == len(fractions)
    assert fractions[chosen].mean() == pytest.approx(target, abs=1e-3)
    kept = np.unique(chosen)
    part = fractions[kept]
    rest = np.delete(fractions, kept)
    assert part.min() >= rest.max() or part.max() <= rest.min() or len(rest) == 0


def test_control_replicates_evenly() -> None:
    counts = np.unique(control_patterns(np.linspace(0, 1, 1000), 0.8), return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


def test_control_out_of_reach_says_the_range(two_phases: NDArray[np.uint8]) -> None:
    fractions = local_patterns(torch.from_numpy(two_phases)[None, None].float(), 7).mean(dim=1).numpy()
    low, high = reachable_range(fractions)
    ordered = np.sort(fractions)
    assert low == pytest.approx(ordered[:MIN_PATTERNS].mean())
    with pytest.raises(InputError, match=rf"phase_fraction: expected .* {low:.4f} to {high:.4f}, got 0\.99"):
        exemplar(two_phases, patch_size=7, phase_fraction=0.99)


def test_batches_hold_patterns_of_the_image(two_phases: NDArray[np.uint8]) -> None:
    data = exemplar(two_phases)
    batch = next(iter(data.train_dataloader()))
    assert batch.shape == (3, 50, 25)
    known = {tuple(p) for p in (2 * local_patterns(torch.from_numpy(two_phases)[None, None].float(), 5) - 1).tolist()}
    assert {tuple(p) for p in batch.flatten(0, 1).tolist()} <= known


def test_symmetric_batches_hold_turned_patterns(two_phases: NDArray[np.uint8]) -> None:
    batch = next(iter(exemplar(two_phases, symmetric=True, count=800).train_dataloader()))
    image = torch.from_numpy(two_phases)[None, None].float() * 2 - 1
    known = set()
    for turned in [torch.rot90(m, k, (-2, -1)) for m in (image, image.flip(-1)) for k in range(4)]:
        known |= {tuple(p) for p in local_patterns(turned, 5).tolist()}
    plain = {tuple(p) for p in local_patterns(image, 5).tolist()}
    drawn = {tuple(p) for p in batch.flatten(0, 1).tolist()}
    assert drawn <= known
    assert drawn - plain


def test_batches_depend_on_seed_and_step_alone(two_phases: NDArray[np.uint8]) -> None:
    patterns = exemplar(two_phases).patterns

    def take(start: int, seed: int, n: int) -> list[torch.Tensor]:
        batches = iter(PatternBatches(patterns, count=9, symmetric=True, seed=seed, start=start))
        return [next(batches) for _ in range(n)]

    first = take(0, 4, 5)
    assert torch.equal(take(3, 4, 1)[0], first[3])
    assert not torch.equal(take(3, 5, 1)[0], first[3])
    assert not torch.equal(first[0][0], first[0][1])


def test_controlled_batches_have_the_target_mean(two_phases: NDArray[np.uint8]) -> None:
    data = exemplar(two_phases, phase_fraction=0.45, count=200_000)
    batch = next(iter(data.train_dataloader()))
    assert float((batch.mean() + 1) / 2) == pytest.approx(0.45, abs=2e-3)


def test_covariance_of_the_image(two_phases: NDArray[np.uint8]) -> None:
    image = torch.from_numpy(two_phases)[None, None].float()
    plain, symmetric = (exemplar(two_phases, symmetric=s).covariance(4) for s in (False, True))
    torch.testing.assert_close(plain, autocovariance_map(image, 4))
    torch.testing.assert_close(symmetric, symmetrise(plain))
    assert float(plain[0, 4, 4]) == pytest.approx(0.3 * 0.7)


def test_three_phases_are_one_hot() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (20, 20)).astype(np.uint8)
    batch = next(iter(exemplar(labels, count=10).train_dataloader()))
    assert batch.shape == (3, 10, 3 * 25)
    torch.testing.assert_close(batch.reshape(3, 10, 3, 25).sum(dim=2), torch.full((3, 10, 25), -1.0))
