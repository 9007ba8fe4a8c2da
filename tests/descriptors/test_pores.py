from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.pores import Pores, PoreTable, pore_distributions, pore_table
from mcrgen.errors import InputError


def ellipse(shape: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float], degrees: float) -> np.ndarray:
    """Filled ellipse of the given semi-axes; the angle runs from the x axis upwards on the page."""
    row, column = np.indices(shape)
    right, up = column - centre[1], centre[0] - row
    angle = math.radians(degrees)
    along, across = right * math.cos(angle) + up * math.sin(angle), up * math.cos(angle) - right * math.sin(angle)
    inside: np.ndarray = (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1
    return inside


def as_batch(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def table_of(**columns: list[float]) -> PoreTable:
    """A table with the given columns, the other ones plain."""
    count = len(next(iter(columns.values())))
    plain = {"image": 0, "channel": 0, "area": 1.0, "equivalent_diameter": 1.0, "orientation": 0.0, "aspect_ratio": 2.0}
    given = {name: np.array(columns.get(name, [value] * count)) for name, value in plain.items()}
    return PoreTable(**given, touches_border=np.array(columns.get("touches_border", [False] * count), bool))


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 90.0, 110.0, 135.0, 170.0])
def test_ellipse_has_its_area_angle_and_shape(degrees: float) -> None:
    table = pore_table(as_batch(ellipse((90, 100), (44.2, 49.7), (30.0, 12.0), degrees)))
    assert table.area == pytest.approx([math.pi * 30 * 12], rel=0.01)
    assert table.equivalent_diameter == pytest.approx([2 * math.sqrt(30 * 12)], rel=0.005)
    assert table.aspect_ratio == pytest.approx([2.5], rel=0.01)
    assert (table.orientation[0] - degrees + 90) % 180 - 90 == pytest.approx(0, abs=0.5)
    assert 0 <= table.orientation[0] < 180
    assert not table.touches_border.any()


def test_rows_of_pixels() -> None:
    """Rectangles of whole pixels: moments in closed form, also of a single row."""
    mask = np.zeros((12, 20))
    mask[2, 3] = 1
    mask[5, 4:11] = 1
    mask[8:10, 12:18] = 1
    table = pore_table(as_batch(mask))
    np.testing.assert_array_equal(table.area, [1, 7, 12])
    np.testing.assert_allclose(table.aspect_ratio, [1, 7, 3])
    np.testing.assert_allclose(table.orientation[1:], [0, 0], atol=1e-9)
    upright = pore_table(as_batch(mask.T.copy()))
    np.testing.assert_allclose(upright.orientation[upright.area > 1], [90, 90])


def test_batch_of_three_phases() -> None:
    labels = np.zeros((2, 9, 11), int)
    labels[0, 2:4, 2:5] = 1
    labels[0, 6, 7] = 1
    labels[1, 4:8, 3:5] = 2
    phases = torch.from_numpy(np.stack([labels == p for p in range(3)], axis=1).astype(np.float64))
    table = pore_table(phases)
    entries = sorted(zip(table.image.tolist(), table.channel.tolist(), table.area.tolist(), strict=True))
    assert entries == [(0, 0, 92.0), (0, 1, 1.0), (0, 1, 6.0), (1, 0, 91.0), (1, 2, 8.0)]
    np.testing.assert_array_equal(table.touches_border, table.channel == 0)
    second = table.where(table.channel == 2)
    assert second.area.tolist() == [8.0]
    assert second.image.tolist() == [1]


def test_connectivity() -> None:
    mask = np.zeros((6, 6))
    mask[2, 2] = mask[3, 3] = 1
    assert pore_table(as_batch(mask)).area.tolist() == [2.0]
    assert pore_table(as_batch(mask), connectivity=1).area.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("place", [(0, 3), (5, 3), (2, 0), (2, 7)])
def test_every_edge_is_a_border(place: tuple[int, int]) -> None:
    mask = np.zeros((6, 8))
    mask[place] = 1
    assert pore_table(as_batch(mask)).touches_border.tolist() == [True]


def test_area_density_in_closed_form() -> None:
    table = table_of(area=[1, 1, 3, 5, 8, 100], touches_border=[0, 0, 0, 0, 0, 1])
    result = pore_distributions(table)
    np.testing.assert_array_equal(result.area_edges, [1, 2, 4, 8, 16])
    np.testing.assert_allclose(result.area_density, np.array([2 / 1, 1 / 2, 1 / 4, 1 / 8]) / 5)
    assert result.pores == 5
    assert pore_distributions(table, cut=True).pores == 6
    given = pore_distributions(table, area_edges=[1, 2, 6])
    np.testing.assert_allclose(given.area_density, [2 / 4, 2 / 4 / 4])


def test_orientation_is_weighted_by_area() -> None:
    table = table_of(area=[30.0, 10.0, 60.0], orientation=[5.0, 95.0, 45.0], aspect_ratio=[2.0, 3.0, 1.2])
    result = pore_distributions(table)
    expected = np.zeros(18)
    expected[[0, 9]] = np.array([0.75, 0.25]) / 10
    np.testing.assert_allclose(result.orientation_density, expected)
    np.testing.assert_array_equal(result.orientation_edges, np.arange(0, 181, 10))
    assert (result.pores, result.elongated) == (3, 2)
    assert pore_distributions(table, min_aspect_ratio=1.0).orientation_density[4] == pytest.approx(0.06)


def test_densities_of_drawn_ellipses() -> None:
    """A field of equal, parallel ellipses has one peak at their angle and one at their area."""
    mask = np.zeros((160, 200), bool)
    for row in range(20, 160, 40):
        for column in range(20, 200, 40):
            mask |= ellipse(mask.shape, (row, column), (14.0, 6.0), 65.0)
    result = pore_distributions(pore_table(as_batch(mask)))
    area = math.pi * 14 * 6
    assert result.pores == result.elongated == 20
    assert result.orientation_density.argmax() == 6
    assert result.orientation_density[6] == pytest.approx(0.1)
    peak = int(result.area_density.argmax())
    assert result.area_edges[peak] <= area < result.area_edges[peak + 1]
    assert float(result.area_density @ np.diff(result.area_edges)) == pytest.approx(1)


@pytest.mark.parametrize("mask", [np.zeros((5, 6)), np.ones((5, 6))])
def test_no_whole_pore(mask: np.ndarray) -> None:
    result = pore_distributions(pore_table(as_batch(mask)))
    assert (result.pores, result.elongated) == (0, 0)
    assert not result.area_density.any()
    assert not result.orientation_density.any()


def test_module_equals_function() -> None:
    mask = as_batch(np.random.default_rng(0).random((12, 15)) < 0.3)
    for name, expected in vars(pore_table(mask, connectivity=1)).items():
        np.testing.assert_array_equal(getattr(Pores(connectivity=1)(mask), name), expected)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"indicator: expected slices \(B, C, H, W\), got the shape \(1, 1, 3, 4, 5\)"):
        pore_table(torch.zeros(1, 1, 3, 4, 5))
    with pytest.raises(InputError, match=r"connectivity: expected 1 \(faces\) to 2 \(corners\) for 2D media, got 0"):
        pore_table(torch.zeros(1, 1, 3, 4), connectivity=0)
    with pytest.raises(InputError, match=r"area_edges: expected two or more increasing edges in pixel\^2, got \[3, 2\]"):
        pore_distributions(table_of(area=[1.0]), area_edges=[3, 2])
