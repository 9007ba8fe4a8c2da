from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcrgen.data import window_shares
from mcrgen.data.crops import CropBatches, Crops
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.sliding_windows import WindowPlan
from mcrgen.data.symmetry import Symmetry
from mcrgen.data.turns import turn_each
from mcrgen.data.window_draws import WindowDraw
from mcrgen.data.window_shares import window_counts
from mcrgen.errors import InputError
from mcrgen.io.label_files import LabelFile
from mcrgen.io.phases import Phases, indicators

TWO = Phases((0, 1), 1)
THREE = Phases((0, 1, 2), 2)


class Array:
    """In the place of a file: an array of any numbers, so that each voxel can have its own."""

    def __init__(self, values: NDArray[Any], name: str = "a.npy") -> None:
        self.values, self.path, self.shape = values, Path(name), values.shape
        self.depth = values.shape[0] if values.ndim == 3 else 1

    def part(self, box: tuple[slice, slice, slice]) -> NDArray[Any]:
        return self.values.reshape(self.depth, *self.shape[-2:])[box]

    def parts(self, boxes: Sequence[tuple[slice, slice, slice]]) -> NDArray[Any]:
        return np.stack([self.part(box) for box in boxes])


def file(values: NDArray[Any], name: str = "a.npy") -> LabelFile:
    return Array(values, name)  # type: ignore[return-value]


def numbered(*shape: int) -> NDArray[np.uint8]:
    """Every voxel has a number of its own."""
    assert np.prod(shape) <= 256
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def crops(*sources: Sequence[NDArray[np.uint8]], phases: Phases = TWO, **settings: Any) -> Crops:
    defaults: dict[str, Any] = {
        "dimensions": 2, "normals": [0] * len(sources), "window": 8, "stride": 3, "size": 8, "batch": 6, "updates": 2,
        "symmetry": [Symmetry.none] * len(sources), "held_out": 0.25, "balanced": False, "seed": 5,
    }  # fmt: skip
    files = [[file(values) for values in source] for source in sources]
    return Crops(files, phases, **(defaults | settings))


@pytest.fixture(scope="module")
def two() -> NDArray[np.uint8]:
    return gaussian_level_cut((41, 30), (0.7, 0.3), 1.5, seed=1)


@pytest.fixture(scope="module")
def volume() -> NDArray[np.uint8]:
    return gaussian_level_cut((14, 17, 26), (0.5, 0.3, 0.2), 1.2, seed=2)


def plan(window: int, stride: int, held_out: float, normal: int | None) -> WindowPlan:
    return WindowPlan(window, stride, held_out, normal)


def every(windows: Any) -> NDArray[Any]:
    found: NDArray[Any] = windows.gather(np.arange(len(windows)))
    return found


@pytest.mark.parametrize(("shape", "normal"), [((19, 13), 0), ((5, 6, 8), 0), ((5, 6, 8), 1), ((5, 6, 8), 2), ((7, 6, 6), 2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_training_windows_cover_their_part_and_nothing_else(shape: tuple[int, ...], normal: int, stride: int) -> None:
    values = numbered(*shape)
    longest = int(np.argmax(shape))
    rest = shape[longest] - round(0.4 * shape[longest])
    training = every(plan(3, stride, 0.4, normal).training([file(values)]))
    monitored = every(plan(3, stride, 0.4, normal).monitoring([file(values)], 1000))
    kept = values.take(range(rest), longest)
    assert set(training.ravel().tolist()) == set(kept.ravel().tolist())
    assert set(monitored.ravel().tolist()) <= set(values.ravel().tolist()) - set(kept.ravel().tolist())
    sections = np.moveaxis(kept, normal, 0) if len(shape) == 3 else kept[None]
    views = np.lib.stride_tricks.sliding_window_view(sections, (3, 3), axis=(1, 2)).reshape(-1, 9)
    corners = {tuple(v) for v in views.tolist()}
    found = {tuple(w.ravel()) for w in training}
    assert len(found) == len(training)
    assert found == corners if stride == 1 else found < corners


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_cubic_windows(stride: int) -> None:
    values = numbered(5, 5, 10)
    training = every(plan(4, stride, 0.4, None).training([file(values)]))
    assert set(training.ravel().tolist()) == set(values[:, :, :6].ravel().tolist())
    assert training.shape == (2 * 2 * (3 if stride == 1 else 2), 4, 4, 4)
    np.testing.assert_array_equal(every(plan(4, 1, 0.4, None).monitoring([file(values)], 1)), [values[:4, :4, 6:]])


def test_windows_of_several_files_are_all_drawn() -> None:
    first, second = numbered(6, 5), 40 + numbered(4, 9)
    phases = Phases(tuple(range(80)), 0)
    data = crops([first, second], window=3, size=3, stride=2, held_out=0.0, batch=5, updates=60, phases=phases)
    known = {tuple(first[y : y + 3, x : x + 3].ravel()) for y in (0, 2, 3) for x in (0, 2)}
    known |= {tuple(second[y : y + 3, x : x + 3].ravel()) for y in (0, 1) for x in (0, 2, 4, 6)}
    drawn = {tuple(w.ravel()) for w in data.batch(0)[0].flatten(0, 1).argmax(dim=1).numpy()}
    assert data.count == [len(known)]
    assert drawn == known


@pytest.mark.parametrize("count", [1, 4, 7, 300])
def test_held_out_windows_are_spread_without_overlap(count: int) -> None:
    values = numbered(6, 40)
    data = crops([values], window=3, size=3, held_out=0.5, phases=Phases(tuple(range(256)), 0))
    found = data.held_out_windows(count)
    most = 2 * 6 if count <= 12 else 3 * 12
    assert len(found) == min(count, most)
    assert found.min() >= 0
    if count <= 12:
        assert len(np.unique(found)) == found.size
    columns = found % 40
    assert columns.min() >= 20
    if count >= 4:
        assert columns.max() - columns.min() > 14


def test_held_out_windows_of_normals_take_turns(volume: NDArray[np.uint8]) -> None:
    data = crops([volume], [volume], [volume], normals=[0, 1, 2], phases=THREE, window=6, size=6, held_out=0.3)
    found = data.held_out_windows(8)
    each = [data.held_out_windows(count, normal) for normal, count in enumerate((3, 3, 2))]
    assert len(found) == 8
    assert {w.tobytes() for w in found} == {w.tobytes() for of in each for w in of}
    owners = [next(n for n, of in enumerate(each) if w.tobytes() in {x.tobytes() for x in of}) for w in found]
    assert set(owners[:3]) == set(owners[3:6]) == {0, 1, 2}
    assert [len(crops([volume], phases=THREE, held_out=0.0).held_out_windows(n)) for n in (0, 1, 5)] == [0, 1, 5]


@pytest.mark.parametrize("phases", [Phases((0, 255), 0), TWO, THREE])
def test_batches_are_indicators_of_windows(volume: NDArray[np.uint8], phases: Phases) -> None:
    values = volume if phases.count == 3 else np.minimum(volume, 1)
    data = crops([values], [values], normals=[0, 2], phases=phases, held_out=0.4)
    batch = data.batch(3)
    assert batch.shape == (2, 2, 6, phases.channels, 8, 8)
    assert batch.dtype == torch.float32
    for source, normal in enumerate((0, 2)):
        known = every(plan(8, 3, 0.4, normal).training([file(values)]))
        channels = 2 * np.moveaxis(indicators(known, phases), 0, 1) - 1
        assert {c.tobytes() for c in batch[source].flatten(0, 1).numpy()} <= {c.tobytes() for c in channels}


def turns(symmetry: Symmetry, crop: NDArray[np.uint8]) -> set[bytes]:
    dims = crop.ndim
    orders = list(permutations(range(dims))) if symmetry == Symmetry.square else [tuple(range(dims))]
    flips = list(product([1, -1], repeat=dims)) if symmetry != Symmetry.none else [(1,) * dims]
    if symmetry == Symmetry.square and dims == 2:
        assert len(orders) * len(flips) == 8
    return {crop.transpose(o)[tuple(slice(None, None, s) for s in f)].tobytes() for o in orders for f in flips}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("symmetry", Symmetry)
def test_crops_are_turned_by_every_element(symmetry: Symmetry, dims: int) -> None:
    values = numbered(*[4] * dims)
    settings: dict[str, Any] = {"window": 4, "size": 4, "stride": 4, "batch": 1, "updates": 600, "held_out": 0.0}
    data = crops([values], dimensions=dims, phases=Phases(tuple(range(256)), 0), symmetry=[symmetry], **settings)
    drawn = data.batch(0)[0, :, 0].argmax(dim=1).numpy().astype(np.uint8)
    seen, counts = np.unique(drawn.reshape(600, -1), axis=0, return_counts=True)
    known = turns(symmetry, values)
    assert {s.tobytes() for s in seen} == known
    assert len(known) == {Symmetry.none: 1, Symmetry.rectangle: 2**dims, Symmetry.square: 8 if dims == 2 else 48}[symmetry]
    expected = 600 / len(known)
    assert ((counts - expected) ** 2 / expected).sum() < len(known) + 6 * np.sqrt(2 * len(known))


def test_each_crop_is_turned_by_its_own_element() -> None:
    stack = np.stack([numbered(5, 5)] * 8)
    turned = turn_each(stack, np.arange(8))
    assert len({t.tobytes() for t in turned}) == 8
    np.testing.assert_array_equal(turn_each(stack, np.zeros(8, np.int64)), stack)


def test_a_batch_is_a_function_of_seed_and_step(two: NDArray[np.uint8]) -> None:
    data, again, other = crops([two]), crops([two]), crops([two], seed=6)
    late = next(iter(CropBatches(again, 7)))
    torch.testing.assert_close(data.batch(7), late, rtol=0, atol=0)
    assert not torch.equal(data.batch(8), late)
    assert not torch.equal(other.batch(7), late)
    again.trainer = SimpleNamespace(global_step=5, world_size=1, global_rank=0)  # type: ignore[assignment]
    for step, batch in zip(range(5, 9), again.train_dataloader(), strict=False):
        assert torch.equal(batch, data.batch(step))


@pytest.mark.parametrize("balanced", [False, True])
def test_processes_share_one_draw(two: NDArray[np.uint8], balanced: bool) -> None:
    whole = crops([two], [two], symmetry=[Symmetry.square] * 2, balanced=balanced)
    parts = []
    for rank in range(3):
        part = crops([two], [two], symmetry=[Symmetry.square] * 2, balanced=balanced)
        part.trainer = SimpleNamespace(world_size=3, global_rank=rank)  # type: ignore[assignment]
        parts.append(part.batch(2))
    assert parts[0].shape[:3] == (2, 2, 2)
    assert torch.equal(torch.cat(parts, dim=2), whole.batch(2))
    whole.trainer = SimpleNamespace(world_size=4, global_rank=0)  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"trainer\.batch_size: expected a multiple of the number of processes, 4, got 6"):
        whole.batch(0)


@pytest.mark.parametrize("block", [20, 150, 10**6])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("normal", [0, 1, 2])
def test_shares_by_brute_force(
    volume: NDArray[np.uint8], normal: int, dims: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_shares, "_BLOCK_VOXELS", block)
    for values in (volume, volume[:, 3]) if dims == 2 else (volume,):
        windows = plan(5, 3, 0.2, normal if dims == 2 else None).training([file(values)])
        counts = window_counts(windows.grids[0], 3)
        brute = np.stack([(every(windows) == p).reshape(len(windows), -1).sum(axis=1) for p in range(3)])
        np.testing.assert_array_equal(counts, brute)


def test_balanced_draws_have_the_probabilities_of_their_shares(volume: NDArray[np.uint8]) -> None:
    """Chi-square of 12 000 draws, whose mean is the degrees of freedom and whose deviation the root of twice them."""
    values = [np.concatenate([p, p]) for p in (volume[0], volume[5])]
    data = crops(values, phases=THREE, balanced=True, stride=6, held_out=0.0, batch=6, updates=2000)
    windows = every(plan(8, 6, 0.0, 0).training([file(v) for v in values]))
    shares = np.stack([(windows == p).mean(axis=(1, 2)) for p in range(3)])
    expected = 12_000 * (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    channels = np.moveaxis(indicators(windows, THREE), 0, 1).astype(bool)
    kinds = [c.tobytes() for c in channels]
    assert len(set(kinds)) > 8
    totals = {k: sum(e for e, o in zip(expected, kinds, strict=True) if o == k) for k in kinds}
    drawn, counts = np.unique([(c > 0).tobytes() for c in data.batch(0)[0].flatten(0, 1).numpy()], return_counts=True)
    found = dict(zip(drawn.tolist(), counts.tolist(), strict=True))
    terms = [(found.get(k.rstrip(b"\0"), 0) - e) ** 2 / e for k, e in totals.items()]
    assert sum(terms) < len(terms) + 5 * np.sqrt(2 * len(terms))
    fractions = (windows[..., None] == np.arange(3)).mean(axis=(1, 2))
    np.testing.assert_allclose(data.phase_fractions, expected / 12_000 @ fractions, atol=0.01)


def test_a_phase_is_drawn_from_the_windows_that_hold_it() -> None:
    values = np.zeros((2, 6), np.uint8)
    values[0, 2] = 1
    draw = WindowDraw(plan(2, 2, 0.0, 0).training([file(values)]), 2)
    drawn = np.bincount(draw.random(4000, np.random.default_rng(0)), minlength=3) / 4000
    np.testing.assert_allclose(drawn, [2 / 11, 0.5 + 1.5 / 11, 2 / 11], atol=0.03)
    np.testing.assert_array_equal(draw.spread(8)[1::2], 1)


def test_fractions_are_those_of_the_training_part(two: NDArray[np.uint8]) -> None:
    split = two.copy()
    split[31:] = 1
    data = crops([split], window=8, stride=8, held_out=0.25)
    windows = every(plan(8, 8, 0.25, 0).training([file(split)]))
    np.testing.assert_allclose(data.phase_fractions, [1 - windows.mean(), windows.mean()])
    assert data.count == [len(windows)]
    assert sum(data.phase_fractions) == pytest.approx(1)


def test_crops_are_resized(two: NDArray[np.uint8]) -> None:
    stripes = np.repeat(np.arange(20) % 2, 4)[:, None].repeat(30, axis=1).astype(np.uint8)
    data = crops([stripes], window=16, stride=4, size=4, held_out=0.0)
    known = {np.roll([1.0, -1, 1, -1], k).tobytes() for k in (0, 1)}
    assert {column.tobytes() for column in data.batch(0).reshape(-1, 4, 4)[:, :, 0].double().numpy()} == known
    assert data.held_out_windows(5).shape[1:] == (4, 4)
    assert crops([two], size=13).batch(0).shape == (1, 2, 6, 1, 13, 13)


def test_crops_of_a_file(tmp_path: Path, two: NDArray[np.uint8]) -> None:
    np.save(tmp_path / "a.npy", two * np.uint8(200) + np.uint8(3))
    with LabelFile(tmp_path / "a.npy", "image", phase=None, phase_name="phase") as opened:
        settings: dict[str, Any] = {"window": 8, "stride": 3, "size": 8, "batch": 6, "updates": 2, "held_out": 0.25, "seed": 5}
        kept = Crops([[opened]], opened.phases, dimensions=2, normals=[0], symmetry=[Symmetry.none], balanced=True, **settings)
        assert torch.equal(kept.batch(3), crops([two], balanced=True).batch(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"window": 31},
            r"data\.window: expected at most 30 voxels, the shortest edge of 'a\.npy' that data\.held_out=0\.25 leave",
        ),
        ({"window": 31, "held_out": 0.0}, r"data\.window: expected at most 30 voxels, the shortest edge of 'a\.npy', got 31"),
        ({"window": 30, "held_out": 0.4}, r"data\.window: expected at most 25 voxels"),
        ({"window": 1}, r"data\.window: expected 2 or more, got 1"),
        ({"stride": 0}, r"data\.stride: expected 1 or more, got 0"),
        ({"size": 0}, r"network\.size: expected 1 or more, got 0"),
        ({"batch": 0}, r"trainer\.batch_size: expected 1 or more, got 0"),
        (
            {"stride": 30, "batch": 9},
            r"data\.stride: expected one that leaves at least trainer\.batch_size=9 windows, got 30 with 4",
        ),
        ({"held_out": 1.0}, r"data\.held_out: expected a share from 0 to below 1, got 1"),
        ({"held_out": -0.1}, r"data\.held_out: expected a share from 0 to below 1, got -0\.1"),
        (
            {"held_out": 0.1},
            r"data\.held_out: expected 0 or a share that leaves a window of 8 .* at least 0\.196 of 'a\.npy', got 0\.1",
        ),
        ({"dimensions": 3}, r"network\.dimensions: expected 2, 'a\.npy' is an image, got 3"),
    ],
)
def test_windows_that_do_not_fit(two: NDArray[np.uint8], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        crops([two], **settings)


def test_crops_of_a_single_phase() -> None:
    values = np.zeros((40, 30), np.uint8)
    values[39] = 1
    with pytest.raises(InputError, match=r"data\.window: .* show only the value 0: single-phase crops only"):
        crops([values])
    values[:12] = 1
    crops([values])


def test_a_volume_gives_cubes(volume: NDArray[np.uint8]) -> None:
    data = crops([volume], dimensions=3, phases=THREE, symmetry=[Symmetry.square], held_out=0.4, size=5)
    assert data.batch(0).shape == (1, 2, 6, 3, 5, 5, 5)
    assert data.batch(0).sum(dim=3).unique().tolist() == [-1]
    assert data.held_out_windows(3).shape[1:] == (5, 5, 5)
