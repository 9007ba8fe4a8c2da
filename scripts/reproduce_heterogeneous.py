"""Heterogeneous reconstruction (section 3.3, fig. 11 and 12 of the SWNN paper): the noise of one network varies in space.

    python scripts/reproduce_heterogeneous.py --output DIR --images FOLDER     the paper's network: for a GPU
    python scripts/reproduce_heterogeneous.py --output DIR --quick             a built-in medium, small volumes: for two cores

Masks that multiply the noise (a sphere, two layers, a smooth ramp), and a mean and a standard deviation of the noise that go
from one value to another along x. All have the same noise, so they differ only where it is changed; the part where it is that
of training is compared with the image. DIR gets heterogeneous.csv and .md, a figure heterogeneous_NAME.png for each image, the
model, the fields and the volumes. The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _exemplars import begin
from _reproduction import RESULTS, Options, compare, errors, generate, report, run, show, train
from matplotlib.figure import Figure
from numpy.typing import NDArray

import mcrgen
from mcrgen.io.images import Medium, read_medium

Field = NDArray[np.float32]
Box = tuple[slice, slice, slice]

_BALL = 0.42
_BIN = 4


def _ball(size: int) -> Field:
    """One within a sphere around the centre, zero outside."""
    square = np.square(np.linspace(-0.5, 0.5, size, dtype=np.float32))
    return (square[:, None, None] + square[:, None] + square <= _BALL**2).astype(np.float32)


def _along_x(values: NDArray[np.floating]) -> Field:
    """A field that changes along x alone."""
    return np.ascontiguousarray(np.broadcast_to(values.astype(np.float32), (len(values),) * 3))


def _step(size: int) -> NDArray[np.float64]:
    """From 0 in the first third to 1 in the last, smoothly."""
    part = np.clip(3.0 * np.arange(size) / size - 1.0, 0.0, 1.0)
    return part**2 * (3.0 - 2.0 * part)


def _cube(size: int) -> Box:
    """What lies within the ball and half a receptive field away from its surface."""
    return (slice(size // 2 - size // 6, size // 2 + size // 6),) * 3


def _first_quarter(size: int) -> Box:
    """What lies within the first third along x and half a receptive field away from its end."""
    return slice(None), slice(None), slice(size // 4)


@dataclass(frozen=True)
class Case:
    """A field, the option of `mcrgen generate` that takes it, and the part of a cube where the noise is that of training."""

    title: str
    option: str
    field: Callable[[int], Field]
    plain: Callable[[int], Box] = _first_quarter


# A network follows weak changes: a mean of 0.05, as the authors' code adds it, may take half of a phase away.
CASES = {
    "sphere": Case("mask: sphere", "mask", _ball, _cube),
    "layers": Case("mask: two layers", "mask", lambda n: _along_x(np.where(np.arange(n) < n // 2, 1.0, 0.8))),
    "ramp": Case("mask: smooth ramp", "mask", lambda n: _along_x(1.0 - _step(n))),
    "mean": Case("noise mean", "noise_mean", lambda n: _along_x(0.05 * _step(n))),
    "deviation": Case("noise deviation", "noise_deviation", lambda n: _along_x(1.0 + 0.5 * _step(n))),
}


@dataclass(frozen=True)
class Made:
    """A heterogeneous volume: file of its plain part, central section normal to y, phase fraction along x and in all."""

    part: Path
    section: NDArray[np.uint8]
    profile: NDArray[np.float64]
    fraction: float


def make(options: Options, folder: Path, name: str, checkpoint: Path, phase: int) -> Made:
    """Generate with a field and measure."""
    case, size = CASES[name], options.edge
    field, part = folder / f"{name}_field.npy", folder / f"{name}_plain.npy"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(field, case.field(size))
    plain = mcrgen.GenerateConfig(checkpoint=checkpoint, output=folder / f"{name}.npy", size=(size,), seed=options.seed + 1)
    given = {case.option: field if case.option == "mask" else str(field)}
    labels = np.load(generate(replace(plain, **given)))
    np.save(part, labels[case.plain(size)])
    middle = slice(size // 2 - size // 8, size // 2 + size // 8)  # the rod through the middle of a sphere
    inside = labels[middle, middle] if name == "sphere" else labels
    return Made(part, labels[:, size // 2], (inside == phase).mean(axis=(0, 1)), float((labels == phase).mean()))


def draw(path: Path, name: str, medium: Medium, made: dict[str, Made], size: int) -> None:
    """A column per case: the field, the section, the profile of the phase fraction."""
    figure = Figure(figsize=(2.9 * len(made) + 0.6, 8.4), layout="constrained")
    grid = figure.subplots(3, len(made), squeeze=False, height_ratios=(1.0, 1.0, 0.75))
    fraction = float((medium.labels == medium.phases.phase).mean())
    top = 1.1 * max(fraction, *(_smooth(m.profile).max() for m in made.values()))
    for cells, (key, m) in zip(grid.T, made.items(), strict=True):
        plane = CASES[key].field(size)[:, size // 2]
        shown, ends = cells[0].imshow(plane, cmap="viridis"), (float(plane.min()), float(plane.max()))
        figure.colorbar(shown, ax=cells[0], location="bottom", fraction=0.06, pad=0.03, ticks=np.linspace(*ends, 3))
        cells[0].set(xticks=[], yticks=[])
        cells[0].set_title(CASES[key].title, fontsize=12, fontweight="bold")
        show(cells[1], m.section, f"φ = {m.fraction:.4f}", phases=medium.phases.count, phase=medium.phases.phase)
        positions = (np.arange(len(_smooth(m.profile))) + 0.5) * _BIN
        cells[2].plot(positions, _smooth(m.profile), color="tab:blue", lw=1.5, label="volume")
        cells[2].axhline(fraction, color="black", lw=1.0, ls="--", label="exemplar")
        cells[2].set(xlim=(0, size), ylim=(0, top), xlabel="x (voxels)")
        cells[2].spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel("field of the noise", fontsize=11)
    grid[1, 0].set_ylabel("section normal to y", fontsize=11)
    grid[2, 0].set_ylabel("local phase fraction", fontsize=11)
    grid[2, 0].legend(frameon=False, fontsize=9)
    figure.suptitle(f"Heterogeneous reconstruction after {name}: {size}³ voxels", fontsize=13)
    figure.savefig(path, dpi=140)


def _smooth(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over bins of a few voxels."""
    means: NDArray[np.float64] = profile[: len(profile) // _BIN * _BIN].reshape(-1, _BIN).mean(axis=1)
    return means


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    rows: list[dict[str, Any]] = []
    for name, image in begin(options, ["level_cut"]).items():
        folder = options.output / name.replace(" ", "_")
        medium = read_medium(image, "images", phase=None, phase_name="phase")
        model = train(options, image, folder / "model").checkpoint
        made = {key: make(options, folder, key, model, medium.phases.phase) for key in CASES}
        compared = compare(image, [m.part for m in made.values()], folder / "comparison")["candidates"]
        for key, m in made.items():
            rows.append({"exemplar": name, "noise": CASES[key].title, "φ": m.fraction} | errors(compared[m.part.stem]))
        draw(options.output / f"heterogeneous_{name.replace(' ', '_')}.png", name, medium, made, options.edge)
    report(options.output / "heterogeneous", {"exemplar": "", "noise": "", "φ": ".4f"} | RESULTS, rows)
    print(f"\nfigures: {options.output / 'heterogeneous_*.png'}; errors are those where the noise is as in training")


if __name__ == "__main__":
    run(main)
