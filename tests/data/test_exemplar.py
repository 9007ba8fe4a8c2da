from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcrgen.data.control import FractionRange, PhaseFractions, SortedPatterns, Target, reachable_range
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.exemplar import Exemplar, PatternBatches
from mcrgen.data.lattices import stripes
from mcrgen.data.sections import Windows, sections_of
from mcrgen.data.symmetry import Symmetry
from mcrgen.data.tilting import tilted_weights
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.two_point import autocovariance_map, symmetrise
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.errors import InputError
from mcrgen.io.phases import Phases, indicators

TWO = Phases((0, 1), 1)
THREE = Phases((0, 1, 2), 2)


def turned(quarters: int, transposed: bool, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rot90(image.T if transposed else image, quarters)


TURNS: dict[Symmetry, list[Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    Symmetry.none: [lambda m: m],
    Symmetry.rectangle: [lambda m: m, np.flipud, np.fliplr, lambda m: m[::-1, ::-1]],
    Symmetry.square: [partial(turned, k, t) for k in range(4) for t in (False, True)],
}


def exemplar(
    *sections: Sequence[NDArray[np.uint8]],
    phases: Phases = TWO,
    patch_size: int = 5,
    count: int = 50,
    symmetry: Symmetry | Sequence[Symmetry] = Symmetry.none,
    seed: int = 1,
    target: Target = None,
) -> Exemplar:
    return Exemplar(sections, phases, patch_size=patch_size, count=count, symmetry=symmetry, seed=seed, target=target)


def patterns_of(images: Sequence[NDArray[np.uint8]], symmetry: Symmetry, phases: Phases, size: int) -> set[tuple[float, ...]]:
    known = set()
    for image in images:
        for turn in TURNS[symmetry]:
            channels = torch.from_numpy(2 * indicators(np.ascontiguousarray(turn(image)), phases) - 1)
            known |= {tuple(p) for p in local_patterns(channels[None], size).tolist()}
    return known


def rows(patterns: Tensor) -> set[tuple[float, ...]]:
    return {tuple(p) for p in patterns.tolist()}


@pytest.fixture(scope="module")
def three_phases() -> NDArray[np.uint8]:
    return gaussian_level_cut((37, 30), (0.5, 0.3, 0.2), 1.5, seed=4)


@pytest.mark.parametrize("symmetry", Symmetry)
@pytest.mark.parametrize("phases", [TWO, Phases((0, 1), 0), THREE])
def test_batches_hold_patterns_turned_by_the_group(
    two_phases: NDArray[np.uint8], three_phases: NDArray[np.uint8], symmetry: Symmetry, phases: Phases
) -> None:
    image = three_phases if phases.count == 3 else two_phases
    images = [image, image[3:12, 5:31]]
    patterns, fraction = next(iter(exemplar(images, symmetry=symmetry, phases=phases, count=801).train_dataloader()))
    assert patterns.shape == (1, 801, phases.channels * 25)
    assert patterns.dtype == fraction.dtype == torch.float32
    assert fraction.shape == ()
    drawn, known = rows(patterns[0]), patterns_of(images, symmetry, phases, 5)
    assert drawn <= known
    assert symmetry == Symmetry.none or drawn - patterns_of(images, Symmetry.none, phases, 5)


def test_batches_are_tuples(two_phases: NDArray[np.uint8]) -> None:
    assert isinstance(next(iter(exemplar([two_phases]).train_dataloader())), tuple)


def test_each_normal_has_its_own_patterns_and_symmetry() -> None:
    lying, standing = stripes((20, 23), 5, 2, axis=0), stripes((31, 18), 7, 3, axis=1)
    data = exemplar([lying], [standing], symmetry=[Symmetry.none, Symmetry.square], count=400)
    first, second = data.batch(0).patterns
    assert rows(first) <= patterns_of([lying], Symmetry.none, TWO, 5)
    assert rows(second) == patterns_of([standing], Symmetry.square, TWO, 5)


def test_sections_of_a_tomogram() -> None:
    volume = gaussian_level_cut((12, 14, 16), (0.6, 0.4), 1.5, seed=7)
    sections = [sections_of(volume, normal) for normal in range(3)]
    batch = exemplar(*sections, count=100).batch(4)
    for normal, patterns in enumerate(batch.patterns):
        assert rows(patterns) <= patterns_of(sections[normal], Symmetry.none, TWO, 5)
    assert float(batch.fraction) == pytest.approx(0.4, abs=1e-3)


def test_one_list_is_prepared_once(two_phases: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str) -> None:
        original = getattr(Windows, name)

        def noted(*args: object) -> object:
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(Windows, name, noted)

    spy("__init__")
    spy("fractions")
    images = [two_phases]
    batch = exemplar(images, images, images, target=FractionRange(0.2, 0.4)).batch(0)
    assert calls == ["__init__", "fractions"]
    assert not torch.equal(batch.patterns[0], batch.patterns[1])


def test_batches_depend_on_seed_and_step_alone(two_phases: NDArray[np.uint8]) -> None:
    targets = FractionRange(0.2, 0.4)
    data, other = (
        exemplar([two_phases], [two_phases], seed=seed, symmetry=Symmetry.square, target=targets, count=9) for seed in (4, 5)
    )
    batches = iter(data.train_dataloader())
    fourth = [next(batches) for _ in range(4)][3]
    resumed = next(iter(PatternBatches(data, 3)))
    assert torch.equal(resumed.patterns, fourth.patterns)
    assert torch.equal(resumed.fraction, fourth.fraction)
    assert not torch.equal(other.batch(3).patterns, fourth.patterns)
    data.trainer = SimpleNamespace(global_step=3)  # type: ignore[assignment]
    assert torch.equal(next(iter(data.train_dataloader())).patterns, fourth.patterns)


@pytest.mark.parametrize("phase", [0, 1])
def test_range_of_targets(two_phases: NDArray[np.uint8], phase: int) -> None:
    phases = Phases((0, 1), phase)
    low, high = (0.15, 0.5) if phase else (0.5, 0.85)
    data = exemplar([two_phases], phases=phases, target=FractionRange(low, high), count=20_000, symmetry=Symmetry.square)
    fractions = []
    for step in range(12):
        patterns, fraction = data.batch(step)
        assert (float(patterns.mean()) + 1) / 2 == pytest.approx(float(fraction), abs=0.008)
        fractions.append(float(fraction))
    assert low - 1e-6 <= min(fractions) < low + 0.1
    assert high - 0.1 < max(fractions) <= high + 1e-6


def test_single_target(two_phases: NDArray[np.uint8]) -> None:
    patterns, fraction = exemplar([two_phases], target=FractionRange(0.45, 0.45), count=200_000).batch(3)
    assert float(fraction) == pytest.approx(0.45)
    assert float((patterns.mean() + 1) / 2) == pytest.approx(0.45, abs=2e-3)


def test_target_for_each_phase(three_phases: NDArray[np.uint8]) -> None:
    targets = (0.4, 0.25, 0.35)
    patterns, fraction = exemplar([three_phases], phases=THREE, target=PhaseFractions(targets), count=50_000).batch(0)
    assert float(fraction) == pytest.approx(0.35)
    assert torch.equal(patterns.abs(), torch.ones_like(patterns))
    measured = ((patterns[0].reshape(-1, 3, 25).mean(dim=(0, 2)) + 1) / 2).tolist()
    assert measured == pytest.approx(targets, abs=6e-3)


def test_own_fraction_is_the_mean_over_the_normals(two_phases: NDArray[np.uint8]) -> None:
    half = gaussian_level_cut((20, 20), (0.5, 0.5), 1.5, seed=1)
    assert float(exemplar([two_phases], [half, half]).batch(0).fraction) == pytest.approx((0.3 + 0.5) / 2)
    assert exemplar([two_phases, half]).fraction(0) == pytest.approx(
        (0.3 * two_phases.size + 0.5 * 400) / (two_phases.size + 400)
    )


def test_targets_are_within_what_all_normals_reach(two_phases: NDArray[np.uint8]) -> None:
    dense = gaussian_level_cut((40, 40), (0.4, 0.6), 1.5, seed=2)
    low = reachable_range(Windows([dense], 7).fractions(2)[:, 1])[0]
    high = reachable_range(Windows([two_phases], 7).fractions(2)[:, 1])[1]
    told = f"{np.ceil(low * 1e4) / 1e4:.4f} to {np.floor(high * 1e4) / 1e4:.4f}"  # rounded inwards
    with pytest.raises(InputError, match=rf"data\.phase_fraction_range: .* {told}, got 0\.01 to 0\.4"):
        exemplar([dense], [two_phases], patch_size=7, target=FractionRange(0.01, 0.4))
    with pytest.raises(InputError, match=rf"data\.phase_fraction: .* {told}, got 0\.99"):
        exemplar([dense], [two_phases], patch_size=7, target=FractionRange(0.99, 0.99))
    exemplar([dense], [two_phases], patch_size=7, target=FractionRange(low, high))


def test_covariance_of_one_image(two_phases: NDArray[np.uint8]) -> None:
    image = torch.from_numpy(two_phases)[None, None].float()
    images = [two_phases]
    data = exemplar(images, images, images, symmetry=[Symmetry.none, Symmetry.square, Symmetry.rectangle])
    plain, square, rectangle = data.covariance(4)
    torch.testing.assert_close(plain, autocovariance_map(image, 4))
    torch.testing.assert_close(square, symmetrise(plain))
    torch.testing.assert_close(rectangle, (plain + plain.flip(-1)) / 2)
    assert float(plain[0, 4, 4]) == pytest.approx(0.3 * 0.7)


def test_covariance_of_several_images(three_phases: NDArray[np.uint8]) -> None:
    images = [three_phases, three_phases[2:14, 3:23], three_phases[5:25, 1:12]]
    covariance = exemplar(images, phases=THREE).covariance(3)
    assert covariance.shape == (1, 3, 7, 7)
    total = sum(i.size for i in images)
    for phase in range(3):
        mean = sum(np.sum(i == phase) for i in images) / total
        for dy, dx in [(0, 0), (2, 1), (-3, 2)]:
            expected = 0.0
            for i in images:
                centred = np.pad((i == phase) - mean, 3, constant_values=np.nan)
                products = centred * np.roll(centred, (-dy, -dx), (0, 1))
                expected += i.size / total * np.nanmean(products)
            assert float(covariance[0, phase, 3 + dy, 3 + dx]) == pytest.approx(expected)


def test_lags_fit_the_smallest_image(two_phases: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="max_lag: expected 0 to 8"):
        exemplar([two_phases, two_phases[:9]]).covariance(9)


def brute_pattern_covariance(windows: NDArray[np.uint8], weights: NDArray[np.float64], phases: Phases) -> Tensor:
    channels = torch.from_numpy(indicators(windows, phases)).transpose(0, 1).double()
    maps = two_point_map(channels, windows.shape[-1] - 1)
    w = torch.from_numpy(weights)
    means = torch.einsum("n,nc->c", w, channels.mean(dim=(2, 3)))
    return torch.einsum("n,nchw->chw", w, maps) - means.square()[:, None, None]


def test_pattern_covariance_over_a_range(two_phases: NDArray[np.uint8]) -> None:
    images = [two_phases]
    data = exemplar(images, images, symmetry=[Symmetry.none, Symmetry.square], target=FractionRange(0.15, 0.5), patch_size=4)
    targets = [0.15, 0.3, 0.48]
    covariance = data.pattern_covariance(targets)
    assert covariance.shape == (3, 2, 1, 7, 7)
    assert covariance.dtype == torch.float32
    windows = Windows(images, 4)
    for target, (plain, square) in zip(targets, covariance, strict=True):
        kept = SortedPatterns(windows.fractions(2)[:, 1], data.seed).choice(target).indices
        expected = brute_pattern_covariance(windows.gather(kept), np.full(len(kept), 1 / len(kept)), TWO)
        torch.testing.assert_close(plain, expected.float(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(square, symmetrise(expected).float(), atol=1e-6, rtol=1e-5)
        assert float(plain[0, 3, 3]) == pytest.approx(target * (1 - target), abs=2e-3)


def test_pattern_covariance_at_a_target_for_each_phase(three_phases: NDArray[np.uint8]) -> None:
    targets = (0.4, 0.25, 0.35)
    covariance = exemplar([three_phases], phases=THREE, target=PhaseFractions(targets)).pattern_covariance(None)
    windows = Windows([three_phases], 5)
    weights = tilted_weights(windows.fractions(3), targets)
    expected = brute_pattern_covariance(windows.gather(np.arange(len(windows))), weights, THREE)
    torch.testing.assert_close(covariance, expected.float()[None, None], atol=1e-6, rtol=1e-5)
    assert covariance[0, 0, :, 4, 4].tolist() == pytest.approx([t * (1 - t) for t in targets], abs=1e-6)


def test_pattern_covariance_of_a_sample() -> None:
    image = gaussian_level_cut((170, 160), (0.6, 0.4), 2.0, seed=8)
    covariance = exemplar([image], patch_size=3).pattern_covariance(None)
    windows = Windows([image], 3)
    assert len(windows) > 20_000
    every = windows.gather(np.arange(len(windows)))
    expected = brute_pattern_covariance(every, np.full(len(every), 1 / len(every)), TWO)
    torch.testing.assert_close(covariance[0, 0], expected.float(), atol=4e-3, rtol=0)
