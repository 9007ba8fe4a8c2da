"""What controllable reconstruction makes of an exemplar, and its figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _reproduction import section, show
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mcrgen.descriptors.measure import Measurement
from mcrgen.io.images import Medium
from mcrgen.plotting.curves import COLOURS

WAYS = {"single": "one network per fraction", "conditional": "one conditional network"}


@dataclass(frozen=True)
class Control:
    """What is asked of an exemplar: K phase fractions, and the autocovariance ``(K, 2 T - 1, 2 T - 1)`` of patterns of each."""

    name: str
    medium: Medium
    targets: tuple[float, ...]
    covariance: NDArray[np.float64]

    def s2(self, number: int) -> NDArray[np.float64]:
        """S2 of the patterns of a target along the axes, over lags 0..T-1."""
        centre = self.covariance.shape[-1] // 2
        return self.covariance[number, centre, centre:] + self.targets[number] ** 2


@dataclass(frozen=True)
class Result:
    """What one way gives: for each kind a volume and its measurement for each target, and the seconds of all training."""

    volumes: dict[str, list[Path]]
    measured: dict[str, list[Measurement]]
    seconds: float | None


def show_s2(axes: Axes, control: Control, result: Result, title: str) -> None:
    """S2 of the volumes over the patterns' for each target."""
    for number, (target, m) in enumerate(zip(control.targets, result.measured[", exact"], strict=True)):
        axes.plot(m.curves["s2"].mean, color=COLOURS[number], lw=1.5, label=f"φ = {target:g}")
        axes.plot(control.s2(number), "o", color=COLOURS[number], ms=5, mfc="none")
    axes.set(xlabel="lag $r$ (voxels)", ylabel="$S_2(r)$", title=title, ylim=(0.0, 1.08 * control.targets[-1]))


def show_achieved(axes: Axes, control: Control, results: dict[str, Result]) -> None:
    """Achieved over requested fractions, without and with a threshold of the volume's own."""
    axes.axline((control.targets[0],) * 2, slope=1.0, color="black", lw=1.0, label="as requested")
    for (way, result), marker, colour in zip(results.items(), "sD", ("tab:blue", "tab:orange"), strict=True):
        for (kind, measured), face in zip(result.measured.items(), ("none", colour), strict=True):
            axes.plot(control.targets, [m.fraction for m in measured], marker, color=colour, mfc=face, ms=7, label=way + kind)
    axes.set_xticks(control.targets)
    axes.set(xlabel="requested phase fraction", ylabel="achieved phase fraction", title="phase fractions")
    axes.legend(frameon=False, fontsize=9)


def draw(path: Path, control: Control, results: dict[str, Result]) -> None:
    """Sections of both ways over the targets, S2 of both, achieved fractions."""
    count, kind = len(control.targets), {"phases": 2, "phase": control.medium.phases.phase}
    figure = Figure(figsize=(2.7 * max(count + 1, 4), 9.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(2 * 2.9, 3.4))[:, 0]
    grid, panels = top.subplots(len(WAYS), count + 1, squeeze=False), bottom.subplots(1, 3)
    grid[1, 0].set_axis_off()
    edge = min(256, *control.medium.labels.shape, len(section(results["single"].volumes[""][0])))
    labels = control.medium.labels
    show(grid[0, 0], labels[:edge, :edge], f"exemplar, φ = {(labels == kind['phase']).mean():.4f}", **kind)
    for line, axes, (way, result) in zip(grid, panels[:2], results.items(), strict=True):
        for cell, volume, m, target in zip(line[1:], result.volumes[""], result.measured[""], control.targets, strict=True):
            show(cell, section(volume)[:edge, :edge], f"asked {target:g}, got {m.fraction:.4f}", **kind)
        line[1].set_ylabel(WAYS[way], fontsize=11)
        show_s2(axes, control, result, f"{WAYS[way]}, exact")
    show_achieved(panels[2], control, results)
    panels[0].legend(frameon=False, fontsize=9)
    marks = [Line2D([], [], color="0.3", label="volume"), Line2D([], [], ls="", marker="o", mfc="none", mec="0.3")]
    marks[1].set_label("patterns learnt from")
    panels[1].legend(handles=marks, frameon=False, fontsize=9)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Controllable reconstruction after {control.name}: sections of {edge} × {edge} voxels", fontsize=13)
    figure.savefig(path, dpi=140)
