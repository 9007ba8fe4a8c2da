from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from mcrgen.generation import fields
from mcrgen.generation.blocks import Block, Triple, grid
from mcrgen.generation.calibration import classify, solve_bias
from mcrgen.generation.fields import average, constant, moved, ramp, resampled, zero_in
from mcrgen.generation.generator import Generator
from mcrgen.generation.noise import APERIODIC, Noise, Period, ScalarField
from mcrgen.networks.swnn import SWNN

STORED = (3, 5, 7)  # odd, so that no voxel lies halfway between two stored ones, where rounding decides in scipy
BOXES = [((0, 0, 0), (9, 11, 13)), ((-6, -7, -20), (30, 24, 44)), ((3, -9, 12), (1, 5, 30)), ((20, 20, 20), (2, 3, 4))]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=STORED).astype(np.float32)


def reader(values: np.ndarray, seen: list[Triple] | None = None) -> fields.Read:
    def read(box: tuple[slice, slice, slice]) -> np.ndarray:
        assert all(0 <= s.start < s.stop <= length for s, length in zip(box, values.shape, strict=True))
        if seen is not None:
            seen.append(values[box].shape)
        return values[box]

    return read


def by_scipy(values: np.ndarray, shape: Triple, origin: Triple, box: Triple, period: Period, order: int) -> np.ndarray:
    """The same of another library; it has one mode for all axes, so what does not wrap is clipped by hand."""
    axes = []
    for start, length, stored, wanted, wrap in zip(origin, box, values.shape, shape, period, strict=True):
        place = (np.arange(start, start + length) + 0.5) * stored / wanted - 0.5
        axes.append(np.clip(place, 0, stored - 1) if wrap is None else place)
    places = np.meshgrid(*axes, indexing="ij")
    return map_coordinates(values.astype(np.float64), places, order=order, mode="grid-wrap")


@pytest.mark.parametrize("shape", [(3, 5, 7), (9, 11, 13), (8, 10, 21), (2, 3, 5), (1, 40, 6)])
@pytest.mark.parametrize("axes", ["", "x", "zy", "zyx"])
@pytest.mark.parametrize("order", [0, 1])
def test_resampled_as_scipy_does_it(values: np.ndarray, shape: Triple, axes: str, order: int) -> None:
    lengths = [n if name in axes else None for name, n in zip("zyx", shape, strict=True)]
    period = (lengths[0], lengths[1], lengths[2])
    field = resampled(reader(values), STORED, shape, period, order)
    for origin, box in BOXES:
        found = field(origin, box)
        assert found.dtype == np.float32
        wanted = by_scipy(values, shape, origin, box, period, order)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("order", [0, 1])
def test_beyond_the_faces_as_scipy_does_it(values: np.ndarray, order: int) -> None:
    shape, origin, box = (9, 11, 13), (-5, -6, -7), (20, 23, 27)
    places = [(np.arange(o, o + n) + 0.5) * m / w - 0.5 for o, n, m, w in zip(origin, box, STORED, shape, strict=True)]
    wanted = map_coordinates(values, np.meshgrid(*places, indexing="ij"), order=order, mode="nearest")
    found = resampled(reader(values), STORED, shape, APERIODIC, order)(origin, box)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_nearest_repeats_and_skips_whole_voxels(values: np.ndarray) -> None:
    finer = resampled(reader(values), STORED, (6, 15, 7), APERIODIC, 0)((0, 0, 0), (6, 15, 7))
    np.testing.assert_array_equal(finer, values.repeat(2, 0).repeat(3, 1))
    coarser = resampled(reader(finer), finer.shape, STORED, APERIODIC, 0)((0, 0, 0), STORED)
    np.testing.assert_array_equal(coarser, values)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("period", [APERIODIC, (None, 11, 13)])
@pytest.mark.parametrize("budget", [1, 60, 1 << 22])
def test_a_box_is_cut_from_the_whole(
    values: np.ndarray, order: int, period: Period, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = resampled(reader(values), STORED, (9, 11, 13), period, order)
    whole = field((-20, -20, -20), (64, 64, 64))
    monkeypatch.setattr(fields, "_STORED_VOXELS", budget)
    for (z, y, x), (d, h, w) in BOXES:
        cut = whole[z + 20 : z + 20 + d, y + 20 : y + 20 + h, x + 20 : x + 20 + w]
        np.testing.assert_array_equal(field((z, y, x), (d, h, w)), cut)


def test_the_same_size_is_the_same_volume(values: np.ndarray) -> None:
    field = resampled(reader(values), STORED, STORED, STORED, 1)
    np.testing.assert_array_equal(field((0, 0, 0), STORED), values)
    np.testing.assert_array_equal(field((-4, -3, 5), STORED), np.roll(values, (4, 3, -5), (0, 1, 2)))


def test_equal_values_stay_as_they_are() -> None:
    third = np.full(STORED, 1 / 3, np.float32)
    assert (resampled(reader(third), STORED, (11, 3, 13), APERIODIC, 1)((-5, -5, -5), (30, 30, 30)) == third[0, 0, 0]).all()


def test_only_what_a_box_needs_is_read() -> None:
    seen: list[Triple] = []
    stored = np.zeros((40, 40, 40), np.float32)
    field = resampled(reader(stored, seen), (40, 40, 40), (80, 40, 10), APERIODIC, 1)
    field((8, 8, 4), (8, 8, 2))
    assert seen == [(6, 8, 6)]  # 3.75 to 7.25, 8 to 15, 17.5 to 21.5
    seen.clear()
    resampled(reader(stored, seen), (40, 40, 40), (40, 40, 40), (None, None, 40), 1)((0, 0, -3), (5, 5, 10))
    assert seen == [(5, 5, 3), (5, 5, 7)]


def test_few_stored_voxels_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_STORED_VOXELS", 2000)
    seen: list[Triple] = []
    stored = np.random.default_rng(0).random((64, 32, 32), np.float32)
    resampled(reader(stored, seen), stored.shape, (32, 32, 32), APERIODIC, 1)((0, 0, 0), (32, 32, 32))
    assert max(np.prod(box) for box in seen) <= 2 * 32 * 32


def test_a_ramp_and_a_constant() -> None:
    for axis, length in enumerate((5, 8, 4)):
        found = ramp(0.2, 0.6, axis, length)((-2, -3, -1), (10, 15, 12))
        place = np.indices(found.shape)[axis] + (-2, -3, -1)[axis]
        np.testing.assert_allclose(found, np.interp(place, [0, length - 1], [0.2, 0.6]), rtol=1e-6)
        assert found.dtype == np.float32
    ends = ramp(0.3, 0.7, 2, 1000)((0, 0, 0), (1, 1, 1000)).ravel()
    assert (ends[0], ends[-1]) == (np.float32(0.3), np.float32(0.7))
    assert (ramp(0.3, 0.7, 0, 1)((-1, 0, 0), (1, 2, 3)) == np.float32(0.3)).all()
    flat = constant(0.25)((7, 8, 9), (2, 3, 4))
    assert (flat.shape, flat.dtype) == ((2, 3, 4), np.float32)
    assert (flat == 0.25).all()


def test_moved_zero_and_average() -> None:
    line = ramp(0.0, 9.0, 2, 10)
    further = moved(line, (5, -3, 100))
    np.testing.assert_array_equal(further((6, 0, 102), (1, 1, 4)).ravel(), [2, 3, 4, 5])
    np.testing.assert_array_equal(zero_in(line, Block((0, 0, -1), (1, 1, 3))).ravel(), [True, True, False, False])
    assert average(line, grid((3, 5, 10), 4)) == pytest.approx(4.5)


def generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = SWNN(out_channels=1, channels=6, layers=3, noise_channels=3).eval()
    return Generator(net.folded(torch.float32), net.halo, 3)


def test_masked_noise_is_zero_where_the_mask_is() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (6, 5, 4)).astype(np.float32)
    field = resampled(reader(mask), (6, 5, 4), (12, 10, 8), APERIODIC, 0)
    found = Noise(3, mask=field)((0, 0, 0), (12, 10, 8), 3)
    open_ = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2) == 1
    assert (found[~open_] == 0).all()
    np.testing.assert_array_equal(found[open_], Noise(3)((0, 0, 0), (12, 10, 8), 3)[open_])


def test_far_from_the_mask_the_network_answers_to_nothing() -> None:
    g = generator()
    mask = np.zeros((1, 1, 2), np.float32)
    mask[..., 1] = 1
    masked = Noise(3, mask=resampled(reader(mask), (1, 1, 2), (8, 9, 30), APERIODIC, 0))
    found = g.scores(masked, (0, 0, 0), (8, 9, 30))[0]
    nothing = g.scores(Noise(3, mask=constant(0.0)), (0, 0, 0), (8, 9, 30))[0]
    plain = g.scores(Noise(3), (0, 0, 0), (8, 9, 30))[0]
    edge = 15 - g.halo
    torch.testing.assert_close(nothing, nothing[:1, :1, :1].expand_as(nothing), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[..., :edge], nothing[..., :edge], rtol=0, atol=1e-6)
    assert (found[..., edge] - nothing[..., edge]).abs().min() > 1e-5
    torch.testing.assert_close(found[..., 15 + g.halo :], plain[..., 15 + g.halo :], rtol=0, atol=1e-6)


def test_a_mask_of_ones_changes_nothing_up_to_the_faces() -> None:
    g = generator()
    ones = resampled(reader(np.ones((3, 4, 2), np.float32)), (3, 4, 2), (12, 11, 10), APERIODIC, 1)
    for block in grid((12, 11, 10), 7):
        plain = g.scores(Noise(3), block.start, block.shape)
        assert torch.equal(g.scores(Noise(3, mask=ones), block.start, block.shape), plain)


def shell_fractions(mask: ScalarField) -> tuple[np.ndarray, float]:
    """Phase fraction in the outermost shell, and inside, of volumes of several seeds."""
    g, size = generator(), 20
    volumes = [g.scores(Noise(seed, mask=mask), (0, 0, 0), (size,) * 3) for seed in range(12)]
    inner = slice(g.halo, size - g.halo)
    inside = torch.stack([v[:, inner, inner, inner] for v in volumes]).flatten()
    bias = solve_bias(inside[None].numpy(), (0.3,))
    labels = [classify(v, bias, 1).numpy() for v in volumes]
    shell = np.ones((size,) * 3, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    return np.array([v[shell].mean() for v in labels]), float(np.mean([v[inner, inner, inner] for v in labels]))


def test_no_rim_at_the_faces_of_the_volume() -> None:
    half = np.full((3, 4, 5), 0.5, np.float32)
    replicated = resampled(reader(half), half.shape, (20, 20, 20), APERIODIC, 1)

    def cut(origin: Triple, shape: Triple) -> np.ndarray:
        places = np.indices(shape) + np.array(origin)[:, None, None, None]
        return replicated(origin, shape) * ((places >= 0) & (places < 20)).all(axis=0)

    def deviations(mask: ScalarField) -> float:
        shells, inside = shell_fractions(mask)
        return abs(shells.mean() - inside) / (shells.std(ddof=1) / np.sqrt(len(shells)))

    assert deviations(replicated) < 3.5
    assert deviations(cut) > 10  # what a mask of nothing outside would give
