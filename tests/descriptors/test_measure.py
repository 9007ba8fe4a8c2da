from __future__ import annotations

import numpy as np
import pytest
import torch
from brute import chords, probability, segment

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors import measure as measuring
from mcrgen.descriptors.measure import CURVES, POLYTOPE_CURVES, Measurement, measure, measure_planes
from mcrgen.descriptors.polytopes import largest_edge, polytope_function
from mcrgen.descriptors.specific_surface import specific_surface
from mcrgen.descriptors.two_point import autocovariance_map
from mcrgen.descriptors.variation import normalised_variation
from mcrgen.errors import InputError

RNG = np.random.default_rng(0)
MEDIA = {"2D": RNG.random((9, 12)) < 0.6, "3D": RNG.random((7, 8, 10)) < 0.6}


def as_tensor(medium: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(medium.astype(np.float64))[None, None]


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest) -> np.ndarray:
    return MEDIA[request.param]


def test_curves_by_counting(medium: np.ndarray) -> None:
    measured = measure(medium, max_lag=5)
    assert set(measured.curves) == set(CURVES)
    assert measured.fraction == pytest.approx(medium.mean())
    field = medium.astype(float)
    for axis, name in enumerate("zyx"[3 - medium.ndim :]):
        ends = [[segment(axis, medium.ndim, r)[i] for i in (0, -1)] for r in range(6)]
        np.testing.assert_allclose(measured.curves["s2"].parts[name], [probability(field, e, periodic=False) for e in ends])
        whole = [probability(field, segment(axis, medium.ndim, r), periodic=False) for r in range(6)]
        np.testing.assert_allclose(measured.curves["lineal_path"].parts[name], whole)
        counted = np.bincount(chords(field, axis))
        density = measured.curves["chord_length"].parts[name]
        np.testing.assert_allclose(density[: len(counted)], counted / counted.sum())
        assert density.sum() == pytest.approx(1)


def test_polytopes_surface_variation_and_maps(medium: np.ndarray) -> None:
    measured = measure(medium, max_lag=4, map_lag=3)
    tensor = as_tensor(medium)
    for kind in POLYTOPE_CURVES:
        lag = min(4, largest_edge(kind, medium.shape))
        expected = polytope_function(tensor, kind, lag)[0, 0]
        np.testing.assert_allclose(list(measured.curves[kind].parts.values()), expected)
    assert measured.specific_surface == pytest.approx(float(specific_surface(tensor)))
    assert measured.variation == pytest.approx(float(normalised_variation(tensor)))
    assert list(measured.maps) == (["z"] if medium.ndim == 2 else ["z", "y", "x"])
    for normal, covariance in enumerate(measured.maps.values()):
        sections = tensor if medium.ndim == 2 else tensor[0].movedim(1 + normal, 0)
        np.testing.assert_allclose(covariance, autocovariance_map(sections, 3, tensor.mean()[None])[0], atol=1e-12)


def assert_equal(a: Measurement, b: Measurement) -> None:
    assert a.fraction == b.fraction
    assert a.interface_density == b.interface_density
    for name, curve in a.curves.items():
        for part, values in curve.parts.items():
            np.testing.assert_array_equal(b.curves[name].parts[part], values)
    for name, values in a.maps.items():
        np.testing.assert_allclose(b.maps[name], values, atol=1e-14)


@pytest.mark.parametrize("slab", [1, 2, 5, 6, 16, 17, 40])
def test_slabs_change_nothing(slab: int) -> None:
    volume = gaussian_level_cut((17, 20, 23), (0.5, 0.5), 1.5, 0) == 1
    whole = measure(volume, max_lag=9, map_lag=4)
    read: list[tuple[int, int]] = []
    done: list[int] = []

    def planes(start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return volume[start:stop]

    streamed = measure_planes(planes, volume.shape, max_lag=9, map_lag=4, slab=slab, advance=done.append)
    assert_equal(whole, streamed)
    assert sum(done) == 17
    assert [b for _, b in read[:-1]] == [a for a, _ in read[1:]], "each plane is read once, in order"
    assert read[0][0] == 0
    assert read[-1][1] == 17


def test_the_default_slab_bounds_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_SLAB_VOXELS", 3 * 20 * 23)
    volume = gaussian_level_cut((17, 20, 23), (0.5, 0.5), 1.5, 0) == 1
    done: list[int] = []
    measure_planes(lambda a, b: volume[a:b], volume.shape, max_lag=3, advance=done.append)
    assert done == [3, 3, 3, 3, 3, 2]


def test_permuting_axes_permutes_results() -> None:
    volume = gaussian_level_cut((14, 17, 20), (0.6, 0.4), 1.5, 1) == 1
    straight, turned = measure(volume, max_lag=6), measure(volume.transpose(2, 0, 1), max_lag=6)
    for name in ("s2", "lineal_path", "chord_length"):
        for before, after in zip("zyx", "yxz", strict=True):
            np.testing.assert_allclose(turned.curves[name].parts[after], straight.curves[name].parts[before])
    np.testing.assert_allclose(turned.curves["p4"].mean, straight.curves["p4"].mean)


def test_full_and_empty_phases() -> None:
    full = measure(np.ones((6, 7, 8), bool), max_lag=3)
    assert full.fraction == 1.0
    assert all((curve.mean == 1.0).all() for name, curve in full.curves.items() if name != "chord_length")
    empty = measure(np.zeros((6, 7, 8), bool), max_lag=3)
    assert all((curve.mean == 0.0).all() for curve in empty.curves.values())
    assert empty.specific_surface == 0.0


def test_chords_longer_than_the_shortest_edge() -> None:
    """Axes of different lengths have chords of different lengths; the curves still have one length."""
    strip = np.zeros((6, 40), bool)
    strip[2:4, 5:30] = True
    curve = measure(strip, max_lag=3).curves["chord_length"]
    assert {len(values) for values in curve.parts.values()} == {26}
    assert curve.parts["x"][25] == curve.parts["y"][2] == 1.0
    assert curve.mean[25] == 0.5


def test_bad_lags_and_shapes() -> None:
    with pytest.raises(InputError, match=r"max_lag: expected 0 to 5 for a medium of \(6, 9\), got 6"):
        measure(np.ones((6, 9), bool), max_lag=6)
    with pytest.raises(InputError, match=r"map_lag: expected 0 to 5"):
        measure(np.ones((6, 9), bool), max_lag=2, map_lag=6)
    with pytest.raises(InputError, match=r"shape: expected 2 voxels or more along every axis, got \(1, 9\)"):
        measure(np.ones((1, 9), bool), max_lag=0)
