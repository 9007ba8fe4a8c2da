from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mcrgen.generation.blocks import Block, Triple
from mcrgen.generation.fields import ramp
from mcrgen.generation.local_means import CELL_EDGE, CellLayer, Profiles, cell_edge, cell_layers
from mcrgen.generation.noise import ScalarField

SHAPE = (11, 14, 9)  # cells of 4 voxels: whole ones, and last ones of 3, 2 and 1
EDGE = 4


@pytest.fixture(scope="module")
def labels() -> NDArray[np.bool_]:
    return np.random.default_rng(0).random(SHAPE) < 0.3


@pytest.fixture(scope="module")
def wanted() -> NDArray[np.float32]:
    return np.random.default_rng(1).random(SHAPE, np.float32)


@pytest.fixture(scope="module")
def inside() -> NDArray[np.bool_]:
    """Half of the voxels; none of the first cell, of the last layer of cells and of the last but one slab normal to y."""
    found = np.random.default_rng(2).random(SHAPE) < 0.5
    found[:4, :4, :4] = found[8:] = found[:, 8:12] = False
    return found


def voxels(values: NDArray[np.bool_]) -> Callable[[Block], NDArray[np.bool_]]:
    return lambda block: values[block.slices]


def field(values: NDArray[np.float32]) -> ScalarField:
    return lambda origin, shape: values[tuple(slice(a, a + n) for a, n in zip(origin, shape, strict=True))]


def layers(
    labels: NDArray[np.bool_], wanted: NDArray[np.float32], inside: NDArray[np.bool_] | None, box_voxels: int = 1 << 22
) -> list[CellLayer]:
    there = None if inside is None else voxels(inside)
    return list(cell_layers(voxels(labels), field(wanted), there, SHAPE, EDGE, box_voxels=box_voxels))


def block_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the values that are not NaN, cell by cell."""
    starts = [range(0, n, EDGE) for n in SHAPE]
    found = np.full([len(s) for s in starts], np.nan)
    for index in np.ndindex(*found.shape):
        cell = values[tuple(slice(EDGE * i, EDGE * (i + 1)) for i in index)]
        if not np.isnan(cell).all():
            found[index] = np.nanmean(cell)
    return found


def test_means_of_cells(labels: NDArray[np.bool_], wanted: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
    whole = np.stack([layer.fractions for layer in layers(labels, wanted, None)])
    assert whole.dtype == np.float32
    assert whole.shape == (3, 4, 3)
    np.testing.assert_allclose(whole, block_means(labels.astype(float)), rtol=1e-6)
    masked = np.stack([layer.fractions for layer in layers(labels, wanted, inside)])
    assert np.isnan(masked[0, 0, 0])
    assert np.isnan(masked[2]).all()
    np.testing.assert_allclose(masked, block_means(np.where(inside, labels, np.nan)), rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_profiles_along_the_axes(
    labels: NDArray[np.bool_], wanted: NDArray[np.float32], inside: NDArray[np.bool_], masked: bool
) -> None:
    counted = inside if masked else np.ones(SHAPE, bool)
    profiles = Profiles(SHAPE, EDGE)
    for layer in layers(labels, wanted, inside if masked else None):
        profiles.add(layer)
    found = profiles.along_axes()
    assert list(found) == ["z", "y", "x"]
    for number, profile in enumerate(found.values()):
        slabs = [np.arange(start, min(start + EDGE, SHAPE[number])) for start in range(0, SHAPE[number], EDGE)]
        slabs = [slab for slab in slabs if counted.take(slab, number).any()]
        there = [counted.take(slab, number) for slab in slabs]
        np.testing.assert_array_equal(profile.position, [slab.mean() for slab in slabs])
        for means, values in ((profile.achieved, labels), (profile.requested, wanted)):
            expected = [values.take(slab, number)[t].mean(dtype=float) for slab, t in zip(slabs, there, strict=True)]
            np.testing.assert_allclose(means, expected, rtol=1e-12)
        np.testing.assert_array_equal(profile.difference, profile.achieved - profile.requested)
    assert [len(profile.position) for profile in found.values()] == ([2, 3, 3] if masked else [3, 4, 3])


def test_a_ramp_is_requested_as_it_is_written(labels: NDArray[np.bool_]) -> None:
    profiles = Profiles(SHAPE, EDGE)
    for layer in cell_layers(voxels(labels), ramp(0.2, 0.6, 1, SHAPE[1]), None, SHAPE, EDGE):
        profiles.add(layer)
    across, along, _ = profiles.along_axes().values()
    np.testing.assert_allclose(along.requested, np.interp(along.position, [0, SHAPE[1] - 1], [0.2, 0.6]), rtol=1e-6)
    np.testing.assert_allclose(across.requested, 0.4, rtol=1e-6)


@pytest.mark.parametrize("box_voxels", [1, 4 * 8 * 9])
def test_sums_do_not_depend_on_the_boxes(
    labels: NDArray[np.bool_], wanted: NDArray[np.float32], inside: NDArray[np.bool_], box_voxels: int
) -> None:
    seen: list[Triple] = []

    def asked(block: Block) -> NDArray[np.bool_]:
        seen.append(block.shape)
        return labels[block.slices]

    small = list(cell_layers(asked, field(wanted), voxels(inside), SHAPE, EDGE, box_voxels=box_voxels))
    assert max(np.prod(shape) for shape in seen) <= max(box_voxels, EDGE * EDGE * SHAPE[2])
    for one, other in zip(small, layers(labels, wanted, inside), strict=True):
        for name in ("voxels", "achieved", "requested"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    ("shape", "edge"), [((200, 64, 90), CELL_EDGE), ((200, 63, 90), 15), ((9, 64, 64), 2), ((3, 5, 7), 1), ((1, 1, 1), 1)]
)
def test_edge_of_the_cells(shape: Triple, edge: int) -> None:
    assert cell_edge(shape) == edge
