from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.signal import fftconvolve
from scipy.stats import multivariate_normal, norm

from mcrgen.data import micrographs
from mcrgen.data.micrographs import MediumKind, Micrograph, write_micrograph
from mcrgen.errors import InputError

LAGS = np.array([0, 1, 2, 4, 7, 11, 16, 25])
MEDIA = [
    (MediumKind.gaussian, 0.5, 3.0),
    (MediumKind.gaussian, 0.2, 2.0),
    (MediumKind.boolean, 0.35, 5.0),
    (MediumKind.discs, 0.2, 4.5),
]


def level_cut_s2(fraction: float, length: float) -> NDArray[np.float64]:
    """Bivariate normal probabilities, the arcsine formula for one half."""
    rho = np.exp(-(LAGS**2) / (4 * length**2))
    if fraction == 0.5:
        return 0.25 + np.arcsin(rho) / (2 * np.pi)
    z = norm.ppf(fraction)
    pairs = [multivariate_normal.cdf([z, z], cov=[[1, r], [r, 1]]) for r in rho[1:]]
    return np.array([fraction, *pairs])


def union(radius: float, r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of the union of two discs r apart."""
    half = np.minimum(r / (2 * radius), 1.0)
    return 2 * np.pi * radius**2 - 2 * radius**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))


def boolean_s2(fraction: float, radius: float) -> NDArray[np.float64]:
    matrix = (1 - fraction) ** (union(radius, LAGS.astype(float)) / (np.pi * radius**2))
    return 2 * fraction - 1 + matrix


def hard_disc_s2(fraction: float, radius: float) -> NDArray[np.float64]:
    """Two points in one disc, and in two discs by the pair density of Matern's second process, integrated on a fine grid."""
    density = -np.log(1 - 4 * fraction) / (4 * np.pi * radius**2)
    edge, step = 2 * radius, 0.25
    axis = np.arange(-60, 60 + step / 2, step)
    r = np.hypot(axis[:, None], axis)
    area, single = union(edge, r), np.pi * edge**2
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = 2 * area * (1 - np.exp(-density * single)) - 2 * single * (1 - np.exp(-density * area))
        pairs = np.where(r > edge, pairs / (single * area * (area - single)), 0.0)
    known = fraction / (np.pi * radius**2)
    assert pairs[0, 0] == pytest.approx(known**2)
    lens = (2 * np.pi * radius**2 - union(radius, r)) * step**2
    between = fftconvolve(pairs, lens, mode="same")
    centre = len(axis) // 2
    at = centre + np.round(LAGS / step).astype(int)
    return known * (2 * np.pi * radius**2 - union(radius, LAGS.astype(float))) + between[centre, at]


CLOSED = {MediumKind.gaussian: level_cut_s2, MediumKind.boolean: boolean_s2, MediumKind.discs: hard_disc_s2}


def measured_s2(image: NDArray[np.uint8], axis: int) -> NDArray[np.float64]:
    n = image.shape[axis]
    moved = np.moveaxis(image, axis, 0).astype(bool)
    return np.array([(moved[: n - r] & moved[r:]).mean() for r in LAGS])


@pytest.mark.parametrize(("medium", "fraction", "length"), MEDIA)
def test_fraction_and_two_point_correlation(medium: MediumKind, fraction: float, length: float) -> None:
    """Within 5 standard errors, which the scatter of the mean over independent pieces tells."""
    pieces = [Micrograph((260, 270), medium, fraction, length, seed).rows(0, 260) for seed in range(16)]
    curves = np.array([[measured_s2(piece, axis) for axis in (0, 1)] for piece in pieces])
    errors = curves.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(pieces))
    assert errors.max() < 0.008
    found, expected = curves.mean(axis=(0, 1)), CLOSED[medium](fraction, length)
    assert expected[0] == pytest.approx(fraction)
    assert (np.abs(found - expected) < 5 * errors + 2e-4).all()


@pytest.mark.parametrize(("medium", "fraction", "length"), MEDIA)
def test_blocks_do_not_matter(medium: MediumKind, fraction: float, length: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micrographs, "_TILE", 40)
    micrograph = Micrograph((101, 83), medium, fraction, length, 3)
    whole = micrograph.rows(0, 101)
    for step in (1, 7, 64):
        parts = [micrograph.rows(y, min(y + step, 101)) for y in range(0, 101, step)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    wider = Micrograph((150, 120), medium, fraction, length, 3).rows(0, 101)
    np.testing.assert_array_equal(wider[:, :83], whole)
    assert (Micrograph((101, 83), medium, fraction, length, 4).rows(0, 101) != whole).mean() > 0.05


def test_hard_discs_do_not_meet() -> None:
    """Pixels of two discs do not touch where their edges are farther apart than a pixel's diagonal; few are closer."""
    image = Micrograph((300, 310), MediumKind.discs, 0.1, 9.0, 5).rows(0, 300)
    parts, count = label(image)
    sizes = np.bincount(parts.ravel())[1:]
    border = np.unique(np.concatenate([parts[[0, -1]].ravel(), parts[:, [0, -1]].ravel()]))
    inner = np.setdiff1d(np.arange(count), border - 1)
    one = np.abs(sizes[inner] / (np.pi * 81) - 1) < 0.06
    assert len(inner) > 15
    assert one.mean() > 0.7
    np.testing.assert_allclose(sizes[inner][~one] / (np.pi * 81), np.round(sizes[inner][~one] / (np.pi * 81)), atol=0.15)


@pytest.mark.parametrize("medium", MediumKind)
def test_a_written_micrograph(medium: MediumKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micrographs, "_BLOCK_VOXELS", 1000)
    path = tmp_path / "m.tif"
    path.write_text("old")
    write_micrograph(path, (75, 90), medium=medium, fraction=0.2, length=4.0, seed=2)
    np.testing.assert_array_equal(tifffile.imread(path), Micrograph((75, 90), medium, 0.2, 4.0, 2).rows(0, 75))
    assert [p.name for p in tmp_path.iterdir()] == ["m.tif"]
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff
        assert tif.pages.first.is_memmappable


@pytest.mark.parametrize(
    ("medium", "fraction"), [(MediumKind.gaussian, 0.5), (MediumKind.boolean, 0.4), (MediumKind.discs, 0.2)]
)
def test_memory_is_not_that_of_the_image(
    medium: MediumKind, fraction: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micrographs, "_BLOCK_VOXELS", 1 << 14)
    monkeypatch.setattr(micrographs, "_PAINTED_VOXELS", 1 << 12)
    write_micrograph(tmp_path / "warm.tif", (64, 64), medium=medium, fraction=fraction, length=3.0, seed=0)
    tracemalloc.start()
    try:
        write_micrograph(tmp_path / "m.tif", (2500, 400), medium=medium, fraction=fraction, length=3.0, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2500 * 400 / 2


def test_what_cannot_be_made(tmp_path: Path) -> None:
    good = {"medium": MediumKind.discs, "fraction": 0.2, "length": 3.0, "seed": 0}
    for changed, message in [
        ({"fraction": 0.25}, r"fraction: expected at most 0\.24 for hard discs, got 0\.25; use the medium boolean"),
        ({"fraction": 1.0}, r"fraction: expected a phase fraction between 0 and 1 \(exclusive\), got 1\.0"),
        ({"length": 0.0}, r"length: expected a number greater than 0, got 0\.0"),
        ({"seed": -1}, r"seed: expected 0 or more, got -1"),
    ]:
        with pytest.raises(InputError, match=message):
            write_micrograph(tmp_path / "m.tif", (9, 9), **(good | changed))  # type: ignore[arg-type]
    for shape, message in [((9, 0), "two or three positive sizes"), ((9, 9, 9), "expected two sizes")]:
        with pytest.raises(InputError, match=message):
            write_micrograph(tmp_path / "m.tif", shape, **good)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
