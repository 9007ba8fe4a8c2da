"""Large volumes (section 3.4 and table 1 of the SWNN paper): time, memory and likeness of volumes of 128³ to 1024³.

    python scripts/reproduce_sizes.py --output DIR --images FOLDER     the paper's network, 128³ to 1024³: for a GPU
    python scripts/reproduce_sizes.py --output DIR --quick             a built-in medium, 128³ and 256³: for two CPU cores

Each volume is made by a process of its own, whose memory is measured; an interrupted one is made anew, so that its time is that
of all of it. The paper's times are those of an RTX 4070 Ti. DIR gets sizes.csv and .md, a figure sizes_NAME.png for each image,
the model and the volumes (1 GiB for 1024³). The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from _exemplars import begin
from _reproduction import RESULTS, Options, compare, errors, report, run, section, show, train
from benchmark import peak_memory
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from mcrgen.errors import InputError, require_positive
from mcrgen.io.images import Medium, read_medium
from mcrgen.plotting.curves import COLOURS, Line, plot_curve

PAPER = {128: 0.94, 512: 17.0, 1024: 148.5}
PAPER_TRAINING = 200.0

_GENERATE = """
import json, sys, torch, mcrgen
from pathlib import Path
checkpoint, output, size, seed, told = sys.argv[1:]
made = mcrgen.generate(mcrgen.GenerateConfig(
    checkpoint=Path(checkpoint), output=Path(output), size=(int(size),), seed=int(seed), overwrite=True))
device = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
Path(told).write_text(json.dumps({"seconds": made.seconds, "device": device}))
"""


@dataclass(kw_only=True)
class Sizes(Options):
    """What to make and where."""

    sizes: tuple[int, ...] = ()
    """Edge lengths of the volumes, in voxels; 128 256 512 1024, with --quick 128 256, if not given; instead of --size."""


@dataclass(frozen=True)
class Made:
    """A volume, the seconds it took to make and write, peak memory in GiB of the process and on the GPU, and its comparison."""

    volume: Path
    seconds: float
    memory: float
    device_memory: float | None
    metrics: dict[str, Any]


def make(options: Sizes, image: Path, folder: Path, checkpoint: Path, size: int) -> Made:
    """Generate in a process of its own, and compare."""
    volume, told = folder / f"volume_{size}.npy", folder / f"volume_{size}.measured.json"
    if not (volume.exists() and told.exists()):
        arguments = (checkpoint, volume, size, options.seed + 1, told)
        peak = peak_memory([sys.executable, "-c", _GENERATE, *map(str, arguments)])
        told.write_text(json.dumps(json.loads(told.read_text()) | {"process": peak * 1024}))
    found = json.loads(told.read_text())
    device = None if found["device"] is None else found["device"] / 2**30
    metrics = compare(image, [volume], folder / f"comparison_{size}")
    return Made(volume, found["seconds"], found["process"] / 2**30, device, metrics)


def rows(name: str, made: dict[int, Made], seconds: float | None) -> list[dict[str, Any]]:
    """Training, then each size, with the paper's times beside ours."""
    table: list[dict[str, Any]] = [{"exemplar": name, "work": "training", "s": seconds, "paper, s": PAPER_TRAINING}]
    for size, m in made.items():
        result = m.metrics["candidates"][m.volume.stem]
        row = {"exemplar": name, "work": f"{size}³", "s": m.seconds, "paper, s": PAPER.get(size), "memory, GiB": m.memory}
        row |= {"GPU memory, GiB": m.device_memory, "φ": result["phase_fraction"]["candidate"]}
        table.append(row | errors(result))
    return table


def show_scaling(axes: Axes, lines: dict[str, dict[int, float]], title: str, unit: str) -> None:
    """A quantity over the edge length, which is logarithmic; label -> edge length -> value."""
    lines = {label: line for label, line in lines.items() if line}
    for (label, line), style in zip(lines.items(), ("o-", "D--"), strict=False):
        axes.semilogx(list(line), list(line.values()), style, mfc="none", label=label)
    sizes = sorted({size for line in lines.values() for size in line})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.minorticks_off()
    axes.set(xlabel="edge length (voxels)", ylabel=unit)
    axes.set_ylim(0.0, 1.3 * max(value for line in lines.values() for value in line.values()))
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def show_curves(axes: Axes, name: str, made: dict[int, Made], voxel_size_um: float | None) -> None:
    """A descriptor of all sizes over the exemplar's."""
    reference = made[max(made)].metrics["reference"]["curves"][name]["mean"]  # a small volume has fewer lags
    lines = [Line(reference, "exemplar", "black")]
    for colour, (size, m) in zip(COLOURS, made.items(), strict=False):
        lines.append(Line(m.metrics["candidates"][m.volume.stem]["curves"][name]["candidate"], f"{size}³", colour))
    plot_curve(axes, name, lines, voxel_size_um=voxel_size_um)
    axes.legend(frameon=False, fontsize=9)


def draw(path: Path, name: str, medium: Medium, made: dict[int, Made]) -> None:
    """The exemplar and a section of each volume; time, memory, S2 and lineal path."""
    figure = Figure(figsize=(3.1 * max(4, len(made) + 1), 6.9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.4, 3.2))[:, 0]
    kind, labels = {"phases": medium.phases.count, "phase": medium.phases.phase}, medium.labels
    cells = top.subplots(1, 1 + len(made))
    show(cells[0], labels, f"exemplar, {labels.shape[0]} × {labels.shape[1]}", **kind)
    for axes, (size, m) in zip(cells[1:], made.items(), strict=True):
        show(axes, section(m.volume), f"{size}³ in {m.seconds:.3g} s", **kind)
    panels = bottom.subplots(1, 4)
    paper = {size: seconds for size, seconds in PAPER.items() if size in made}
    seconds = {"here": {size: m.seconds for size, m in made.items()}, "paper, RTX 4070 Ti": paper}
    show_scaling(panels[0], seconds, "time of generation", "seconds")
    panels[0].set_yscale("log")
    panels[0].set_ylim(0.5 * min(map(min, (line.values() for line in seconds.values() if line))), None)
    panels[0].yaxis.set(major_locator=LogLocator(subs=(1.0, 2.0, 5.0)), major_formatter="{x:g}", minor_locator=NullLocator())
    memory = {"process": {size: m.memory for size, m in made.items()}}
    on_device = {size: m.device_memory for size, m in made.items() if m.device_memory is not None}
    show_scaling(panels[1], memory | {"GPU": on_device}, "peak memory", "GiB")
    for axes, descriptor in zip(panels[2:], ("s2", "lineal_path"), strict=True):
        show_curves(axes, descriptor, made, medium.voxel_size_um)
    figure.suptitle(f"Volumes of several sizes after {name}: exemplar and central sections, each in full", fontsize=13)
    figure.savefig(path, dpi=140)


def main() -> None:
    options = tyro.cli(Sizes, description=__doc__)
    if options.size is not None:
        raise InputError(f"size: expected --sizes instead, got --size {options.size}; leave it out.")
    sizes = options.sizes or ((128, 256) if options.quick else (128, 256, 512, 1024))
    for size in sizes:
        require_positive("sizes", size)
    table: list[dict[str, Any]] = []
    for name, image in begin(options, ["level_cut"]).items():
        folder = options.output / name.replace(" ", "_")
        trained = train(options, image, folder / "model")
        made = {size: make(options, image, folder, trained.checkpoint, size) for size in sorted(sizes)}
        table += rows(name, made, trained.seconds)
        medium = read_medium(image, "images", phase=None, phase_name="phase")
        draw(options.output / f"sizes_{name.replace(' ', '_')}.png", name, medium, made)
    formats = {"exemplar": "", "work": "", "s": ".3g", "paper, s": "g", "memory, GiB": ".2f", "GPU memory, GiB": ".2f"}
    report(options.output / "sizes", formats | {"φ": ".4f"} | RESULTS, table)
    print(f"\nfigures: {options.output / 'sizes_*.png'}")


if __name__ == "__main__":
    run(main)
