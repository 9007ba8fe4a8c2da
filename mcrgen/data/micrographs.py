"""Synthetic micrographs of any size, made and written some rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log1p, pi
from pathlib import Path
from statistics import NormalDist

import numpy as np
import tifffile
from numpy.typing import NDArray

from mcrgen.data.examples import require_dimensions, voxels_within
from mcrgen.errors import InputError, require_fraction, require_positive, require_seed

_BLOCK_VOXELS = 1 << 22
_PAINTED_VOXELS = 1 << 21
_TILE = 256
_MOST_HARD_DISCS = 0.24


class MediumKind(StrEnum):
    """Media whose two-point correlation S2 is known; r is the lag in voxels, phi the fraction of phase 1, s or R the length.

    - ``gaussian``: level cut of a Gaussian random field, white noise smoothed by a Gaussian kernel of standard deviation s.
      With the normal quantile z of 1 - phi and rho = exp(-r^2 / (4 s^2)), S2(r) is the probability that two standard normal
      variables of correlation rho both exceed z, for phi = 1/2 that is 1/4 + arcsin(rho) / (2 pi) (Torquato, Random
      Heterogeneous Materials, 2002, ch. 8). All n-point functions follow from S2.
    - ``boolean``: overlapping discs of radius R around Poisson points, as in
      :func:`~mcrgen.data.examples.overlapping_spheres`, with closed forms of all n-point functions of the matrix.
    - ``discs``: hard discs of radius R, Matern's second process (Spatial Variation, 1960; Chiu, Stoyan, Kendall and Mecke,
      Stochastic Geometry and its Applications, 2013, sec. 5.4): of the Poisson points of density lambda, each with a random
      mark, those stay that have the lowest mark within 2 R. phi = (1 - exp(-4 pi R^2 lambda)) / 4 < 1/4. S2 is the area that
      two discs r apart share times phi / (pi R^2), plus the convolution of that area with the pair density of the process. It
      is the medium for functions of more than two points: at phi = 0.2 and R = 6 the corners of a square of edge 8 all lie in
      phase 1 with a probability of 0.0016, but of 0.0025 in the level cut of a Gaussian field whose S2 is as near as a
      covariance allows (0.055 and 0.050 at that lag, 11 % apart in relative L2 over 40 lags).
    """

    gaussian = "gaussian"
    boolean = "boolean"
    discs = "discs"


@dataclass(frozen=True)
class Micrograph:
    """A medium on ``H`` x ``W`` pixels of which any rows can be made by themselves: a pixel depends on its place and the seed.

    Attributes:
        shape: ``(H, W)``.
        medium: its kind.
        fraction: expected fraction of phase 1.
        length: standard deviation s of the kernel or radius R of the discs in pixels.
        seed: of the medium, 0 or more.

    Raises:
        InputError: no 2D shape, a fraction or length out of bounds, or a negative seed.
    """

    shape: tuple[int, int]
    medium: MediumKind
    fraction: float
    length: float
    seed: int

    def __post_init__(self) -> None:
        """Check the settings."""
        require_dimensions(self.shape)
        if len(self.shape) != 2:
            raise InputError(f"shape: expected two sizes, got {self.shape}.")
        require_fraction("fraction", self.fraction)
        require_positive("length", self.length)
        require_seed(self.seed)
        if self.medium == MediumKind.discs and self.fraction > _MOST_HARD_DISCS:
            raise InputError(
                f"fraction: expected at most {_MOST_HARD_DISCS} for hard discs, got {self.fraction:g}; use the medium boolean."
            )

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Labels 0 and 1 of some rows, ``(stop - start, W)``."""
        if self.medium == MediumKind.gaussian:
            return self._level_cut(start, stop)
        centres = self._hard_centres(start, stop) if self.medium == MediumKind.discs else self._boolean_centres(start, stop)
        return self._paint(centres, start, stop)

    def _level_cut(self, start: int, stop: int) -> NDArray[np.uint8]:
        from scipy.ndimage import correlate1d

        halo = ceil(5 * self.length)
        kernel = np.exp(-0.5 * np.square(np.arange(-halo, halo + 1) / self.length))
        kernel /= np.sqrt(np.square(kernel).sum())  # so that the field has the variance 1
        # Row y of the noise belongs to row y - halo of the medium, whatever the block.
        width = self.shape[1] + 2 * halo
        noise = np.empty((stop - start + 2 * halo, self.shape[1]), np.float32)
        for y, row in enumerate(range(start, stop + 2 * halo)):
            generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, row], np.uint64)))
            noise[y] = correlate1d(generator.standard_normal(width, np.float32), kernel, mode="constant")[halo : width - halo]
        field: NDArray[np.float32] = correlate1d(noise, kernel, axis=0, mode="constant")[halo : len(noise) - halo]
        return (field > NormalDist().inv_cdf(1.0 - self.fraction)).astype(np.uint8)

    def _boolean_centres(self, start: int, stop: int) -> NDArray[np.float64]:
        points = self._points(-log1p(-self.fraction) / (pi * self.length**2), start, stop, self.length)
        return points[:, :2]

    def _hard_centres(self, start: int, stop: int) -> NDArray[np.float64]:
        from scipy.spatial import cKDTree

        density = -log1p(-4.0 * self.fraction) / (4.0 * pi * self.length**2)
        # Points as far as the rivals of the discs that reach into the rows.
        points = self._points(density, start, stop, 3.0 * self.length)
        pairs = cKDTree(points[:, :2]).query_pairs(2.0 * self.length, output_type="ndarray")
        marks = points[pairs, 2]
        beaten = pairs[np.arange(len(pairs)), marks.argmax(axis=1)]
        return np.delete(points[:, :2], beaten, axis=0)

    def _points(self, density: float, start: int, stop: int, margin: float) -> NDArray[np.float64]:
        """Poisson points (y, x, mark) at most a margin beyond the rows and columns; each tile of the plane has its own."""
        edge = max(_TILE, ceil(4 * self.length))
        # Tiles begin so far out that none has a negative number.
        origin = -4.0 * self.length - edge
        low = np.array([start, 0]) - margin
        high = np.array([stop, self.shape[1]]) - 1 + margin
        first, last = ((bound - origin) // edge for bound in (low, high))
        tiles = []
        for i in range(int(first[0]), int(last[0]) + 1):
            for j in range(int(first[1]), int(last[1]) + 1):
                generator = np.random.default_rng([self.seed, i, j])
                points = generator.random((generator.poisson(density * edge**2), 3))
                points[:, :2] = (points[:, :2] + [i, j]) * edge + origin
                tiles.append(points)
        found: NDArray[np.float64] = np.concatenate(tiles)
        outside = (found[:, :2] < low) | (found[:, :2] > high)
        near: NDArray[np.float64] = found[~np.logical_or(*outside.T)]
        return near

    def _paint(self, centres: NDArray[np.float64], start: int, stop: int) -> NDArray[np.uint8]:
        labels = np.zeros((stop - start, self.shape[1]), np.uint8)
        voxels_each = int(2 * self.length + 2) ** 2
        for part in np.array_split(centres, 1 + len(centres) * voxels_each // _PAINTED_VOXELS):
            y, x = voxels_within(part, self.length).T
            inside = (y >= start) & (y < stop) & (x >= 0) & (x < self.shape[1])
            labels[y[inside] - start, x[inside]] = 1
        return labels


def write_micrograph(
    path: Path, shape: tuple[int, int], *, medium: MediumKind, fraction: float, length: float, seed: int
) -> None:
    """Write a synthetic micrograph as an uncompressed TIFF file, in the memory that a few million pixels take.

    Args:
        path: the file, replaced if it exists; complete or not there at all.
        shape: ``(H, W)`` in pixels.
        medium: its kind.
        fraction: expected fraction of phase 1.
        length: standard deviation of the kernel (``gaussian``) or radius of the discs (the others) in pixels.
        seed: of the medium.

    Raises:
        InputError: as :class:`Micrograph`.
    """
    micrograph = Micrograph(shape, medium, fraction, length, seed)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        placed = tifffile.imwrite(partial, shape=shape, dtype=np.uint8, bigtiff=True, metadata=None, returnoffset=True)
        if placed is None:
            raise RuntimeError("tifffile did not tell where the pixels go")
        with partial.open("r+b") as file:
            file.seek(placed[0])
            for start, stop in _blocks(shape):
                file.write(micrograph.rows(start, stop).tobytes())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _blocks(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_VOXELS // shape[1])
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])
