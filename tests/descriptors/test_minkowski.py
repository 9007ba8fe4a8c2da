from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from skimage.measure import euler_number, perimeter_crofton
from torch import Tensor

from mcrgen.data.examples import overlapping_spheres
from mcrgen.data.lattices import stripes
from mcrgen.descriptors.minkowski import MinkowskiDensities, MinkowskiFunctionals, _directions, minkowski_functionals
from mcrgen.errors import InputError


def random_phases(shape: tuple[int, ...], phases: int = 3, seed: int = 0) -> Tensor:
    """Two images of independent voxels, one channel per phase."""
    labels = np.random.default_rng(seed).integers(0, phases, (2, *shape))
    return torch.from_numpy(np.stack([labels == p for p in range(phases)], axis=1).astype(np.float32))


def as_batch(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def totals(mask: np.ndarray, **settings: object) -> dict[str, float]:
    """Functionals of one body inside an empty rim, not per volume."""
    densities = minkowski_functionals(as_batch(mask), periodic=True, **settings)  # type: ignore[arg-type]
    return {name: float(value) * mask.size for name, value in vars(densities).items() if value is not None}


def counted_euler(mask: np.ndarray, connectivity: int, periodic: bool) -> float:
    """Cells of each kind one by one; those of a kind divided by the number of places for them."""
    total = 0.0
    for gap in itertools.product((0, 1), repeat=mask.ndim):
        places = [n - (0 if periodic else g) for n, g in zip(mask.shape, gap, strict=True)]
        cells = 0
        for place in itertools.product(*map(range, places)):
            corners = itertools.product(*((p, p + 1) if g else (p,) for p, g in zip(place, gap, strict=True)))
            voxels = [bool(mask[tuple(c % n for c, n in zip(corner, mask.shape, strict=True))]) for corner in corners]
            cells += all(voxels) if connectivity == 1 else any(voxels)
        dimension = sum(gap) if connectivity == 1 else mask.ndim - sum(gap)
        total += (-1) ** dimension * cells / math.prod(places)
    return total


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 4)])
def test_euler_number_equals_cell_counting(shape: tuple[int, ...], periodic: bool) -> None:
    media = random_phases(shape)
    for connectivity in (1, len(shape)):
        euler = minkowski_functionals(media, connectivity=connectivity, periodic=periodic).euler
        assert euler.shape == (2, 3)
        expected = [[counted_euler(m, connectivity, periodic) for m in image] for image in media.numpy()]
        np.testing.assert_allclose(euler, expected, atol=1e-12)
    torch.testing.assert_close(euler, minkowski_functionals(media, periodic=periodic).euler)


@pytest.mark.parametrize("shape", [(9, 14), (6, 9, 7)])
def test_equals_scikit_image_inside_an_empty_rim(shape: tuple[int, ...]) -> None:
    for seed in range(5):
        mask = np.pad(np.random.default_rng(seed).random(shape) < 0.5, 1)
        for connectivity in (1, len(shape)):
            body = totals(mask, connectivity=connectivity)
            assert body["euler"] == pytest.approx(euler_number(mask, connectivity=connectivity), abs=1e-9)
        if len(shape) == 2:
            assert body["boundary"] == pytest.approx(perimeter_crofton(mask, directions=4), abs=1e-9)


def test_disc_and_ring() -> None:
    radius = 30.0
    y, x = np.indices((70, 74)) - np.array([34.3, 36.6])[:, None, None]
    disc = totals(np.hypot(y, x) <= radius)
    assert disc["fraction"] == pytest.approx(math.pi * radius**2, rel=0.005)
    assert disc["boundary"] == pytest.approx(2 * math.pi * radius, rel=0.01)
    assert disc["euler"] == pytest.approx(1, abs=1e-9)
    ring = totals((np.hypot(y, x) <= radius) & (np.hypot(y, x) > radius / 2))
    assert ring["boundary"] == pytest.approx(3 * math.pi * radius, rel=0.01)
    assert ring["euler"] == pytest.approx(0, abs=1e-9)


def test_ball() -> None:
    radius = 20.0
    z, y, x = np.indices((45, 46, 47)) - np.array([22.1, 22.7, 23.2])[:, None, None, None]
    ball = totals(z**2 + y**2 + x**2 <= radius**2)
    assert ball["fraction"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.005)
    assert ball["boundary"] == pytest.approx(4 * math.pi * radius**2, rel=0.01)
    assert ball["mean_curvature"] == pytest.approx(4 * math.pi * radius, rel=0.03)
    assert ball["euler"] == pytest.approx(1, abs=1e-9)


def test_ring_torus() -> None:
    ring, tube = 18.0, 7.0
    z, y, x = np.indices((20, 56, 57)) - np.array([9.6, 27.3, 28.2])[:, None, None, None]
    torus = totals((np.hypot(y, x) - ring) ** 2 + z**2 <= tube**2)
    assert torus["fraction"] == pytest.approx(2 * math.pi**2 * ring * tube**2, rel=0.01)
    assert torus["boundary"] == pytest.approx(4 * math.pi**2 * ring * tube, rel=0.015)
    # Sections along z are rings (0); along x and y two discs, then one region, which add up to 4 R each. All directions
    # together would give 2 pi^2 R.
    assert torus["mean_curvature"] == pytest.approx(2 * math.pi * 8 * ring / 3, rel=0.03)
    assert torus["euler"] == pytest.approx(0, abs=1e-9)


def reached(shape_of_cell: tuple[int, ...], radius: float) -> float:
    """Volume within a radius of the corners of a cell with edges 0 or 1, by quadrature of the part nearest to one corner."""
    low = [-0.5 if edge else -radius for edge in shape_of_cell]
    grids = [a + (radius - a) * (np.arange(600) + 0.5) / 600 for a in low[1:]]
    areas = math.prod((radius - a) / 600 for a in low[1:])
    half = np.sqrt(np.maximum(0, radius**2 - sum(np.square(g) for g in np.meshgrid(*grids))))
    chords = half + np.minimum(half, -low[0])
    return float(2 ** sum(shape_of_cell) * chords.sum() * areas)


@pytest.mark.parametrize(("shape", "radius", "seeds"), [((400, 380), 6.0, 10), ((64, 70, 60), 5.0, 8)])
def test_overlapping_spheres_on_the_lattice(shape: tuple[int, ...], radius: float, seeds: int) -> None:
    """A cell is in the complex unless no centre is within reach of its corners, which has the probability exp(-rho v)."""
    fraction, dims = 0.4, len(shape)
    density = -math.log(1 - fraction) / (math.pi * radius**2 if dims == 2 else 4 / 3 * math.pi * radius**3)

    def lattice_euler(axes: tuple[int, ...]) -> float:
        cells = [c for c in itertools.product((0, 1), repeat=dims) if all(a in axes or not c[a] for a in range(dims))]
        return sum((-1) ** (len(axes) - sum(c)) * (1 - math.exp(-density * reached(c, radius))) for c in cells)

    media = np.stack([overlapping_spheres(shape, radius, fraction, s) for s in range(seeds)])[:, None]
    result = minkowski_functionals(torch.from_numpy(media.astype(np.float32)), periodic=True)
    expected = {"euler": lattice_euler(tuple(range(dims)))}
    if dims == 3:
        sections = [lattice_euler(plane) for plane in ((0, 1), (0, 2), (1, 2))]
        expected["mean_curvature"] = 2 * math.pi * sum(sections) / 3
    for name, value in expected.items():
        found = getattr(result, name)
        error = float(found.std()) / math.sqrt(seeds)
        assert error < 0.15 * abs(value)
        assert float(found.mean()) == pytest.approx(value, abs=4 * error)
    surface = density * 2 * math.pi * radius ** (dims - 1) * (dims - 1)
    assert float(result.boundary.mean()) == pytest.approx((1 - fraction) * surface, rel=0.06)


def test_finite_window_is_right_on_average() -> None:
    """Over all places of the window in a repeating medium it gives the densities of that medium exactly."""
    media = random_phases((4, 5, 6), seed=1)
    shifts = itertools.product(range(4), range(5), range(6))
    windows = [media.roll(s, (2, 3, 4))[:, :, :3, :4, :2] for s in shifts]
    finite = [minkowski_functionals(w) for w in windows]
    for name, expected in vars(minkowski_functionals(media, periodic=True)).items():
        mean = torch.stack([getattr(f, name) for f in finite]).mean(dim=0)
        torch.testing.assert_close(mean, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 6)])
def test_additive_over_slabs_that_share_a_layer(shape: tuple[int, ...]) -> None:
    whole = random_phases(shape, seed=2)
    upper, lower, shared = whole.clone(), whole.clone(), whole.clone()
    upper[:, :, 4:] = 0
    lower[:, :, :3] = 0
    shared[:, :, 4:] = 0
    shared[:, :, :3] = 0
    for connectivity in (1, len(shape)):
        parts = [minkowski_functionals(m, connectivity=connectivity) for m in (whole, shared, upper, lower)]
        for name in vars(parts[0]):
            w, s, u, v = (getattr(p, name) for p in parts)
            if w is not None:
                torch.testing.assert_close(w + s, u + v, atol=1e-12, rtol=0)


def test_full_window_has_no_boundary() -> None:
    for shape in ((4, 5), (4, 5, 3)):
        result = minkowski_functionals(torch.ones(1, 2, *shape))
        assert vars(result)["boundary"].abs().max() == 0
        assert vars(result)["euler"].abs().max() == 0


def test_weights_are_the_published_ones() -> None:
    """Legland, Kiêu and Devaux 2007, for one half of the sphere."""
    published = {1: 0.04577789120476, 2: 0.03698062787608, 3: 0.03519563978232}
    for offset, share in _directions(3):
        assert share == pytest.approx(2 * published[sum(map(abs, offset))], abs=1e-9)
    assert dict(_directions(2)) == pytest.approx({(-1, -1): 0.25, (-1, 0): 0.25, (-1, 1): 0.25, (0, -1): 0.25})


@pytest.mark.parametrize(("shape", "factor"), [((12, 6), 0.948), ((12, 5, 6), 0.927)])
def test_planes_normal_to_an_axis_have_the_known_error(shape: tuple[int, ...], factor: float) -> None:
    layers = as_batch(stripes(shape, 6, 2, 0))
    result = minkowski_functionals(layers, periodic=True)
    assert float(result.boundary) == pytest.approx(factor * 2 / 6, rel=1e-3)


def test_turning_the_medium_changes_nothing() -> None:
    media = random_phases((4, 5, 6), seed=3)
    turned = minkowski_functionals(media.permute(0, 1, 4, 2, 3).flip(3))
    for name, expected in vars(minkowski_functionals(media)).items():
        torch.testing.assert_close(getattr(turned, name), expected)


def test_grey_values_are_averages_over_thresholds() -> None:
    levels = torch.from_numpy(np.random.default_rng(4).integers(0, 5, (2, 1, 4, 5, 3)) / 4)
    cuts = [minkowski_functionals((levels > (k + 0.5) / 4).double(), periodic=True) for k in range(4)]
    for name, value in vars(minkowski_functionals(levels, periodic=True)).items():
        torch.testing.assert_close(value, torch.stack([getattr(c, name) for c in cuts]).mean(dim=0))


@pytest.mark.parametrize("connectivity", [None, 1])
def test_gradcheck(connectivity: int | None) -> None:
    media = torch.rand(1, 2, 3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def values(m: Tensor) -> tuple[Tensor, ...]:
        return tuple(vars(minkowski_functionals(m, connectivity=connectivity)).values())

    assert torch.autograd.gradcheck(values, media)


def test_module_equals_function() -> None:
    media = random_phases((5, 6))
    result = MinkowskiFunctionals(connectivity=1, periodic=True)(media)
    assert isinstance(result, MinkowskiDensities)
    assert result.mean_curvature is None
    torch.testing.assert_close(result.euler, minkowski_functionals(media, connectivity=1, periodic=True).euler)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"indicator: expected \(B, C, \[D,\] H, W\) with 2 voxels or more .* \(1, 1, 4, 1\)"):
        minkowski_functionals(torch.ones(1, 1, 4, 1))
    with pytest.raises(InputError, match=r"indicator: .*got \(1, 1, 4\)"):
        minkowski_functionals(torch.ones(1, 1, 4))
    with pytest.raises(InputError, match=r"connectivity: expected 1 \(faces\) or 3 \(corners\) for 3D media, got 2"):
        minkowski_functionals(torch.ones(1, 1, 4, 4, 4), connectivity=2)
