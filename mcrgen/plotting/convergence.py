"""How an optimisation went: errors over steps, and the medium on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcrgen.plotting.names import CURVE_NAMES, SECTION_NAMES
from mcrgen.plotting.slices import show_image

_COLUMNS = 4
_PICTURES = 6
_NAMES = CURVE_NAMES | {name: text.removesuffix(", sections") for name, text in SECTION_NAMES.items()}


@dataclass
class Course:
    """How an optimisation went.

    Attributes:
        steps: number of each step that was noted.
        terms: name -> value at each of them; ``loss`` is the weighted sum.
        pictures: step -> ``(H, W)`` slice of the medium in [0, 1].
    """

    steps: list[int] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    pictures: dict[int, NDArray[Any]] = field(default_factory=dict)

    def note(self, step: int, terms: Mapping[str, float]) -> None:
        """Note the values of a step."""
        self.steps.append(step)
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value)

    @property
    def due(self) -> bool:
        """Whether a picture of the step noted last is wanted: of the first, second, fourth, eighth, ..."""
        number = len(self.steps)
        return number & (number - 1) == 0

    def keep(self, picture: NDArray[Any]) -> None:
        """Keep a picture of the step noted last; of many the first and the latest."""
        self.pictures[self.steps[-1]] = picture
        for early in sorted(self.pictures)[1 : max(1, len(self.pictures) - _PICTURES + 1)]:
            del self.pictures[early]


def plot_convergence(
    path: Path, course: Course, beside: Mapping[str, NDArray[Any]], *, title: str, unit: str, count: str, total: str
) -> None:
    """Write errors on a logarithmic scale, and pictures beside them.

    Args:
        path: PNG to write.
        course: what to show.
        beside: title -> ``(H, W)`` in [0, 1], to show before the pictures of the course.
        title: title of the figure.
        unit: what the errors are.
        count: what the steps are.
        total: what ``loss`` is called.
    """
    pictures = dict(beside) | {f"{count} {step:,}": picture for step, picture in sorted(course.pictures.items())}
    rows = max(1, -(-len(pictures) // _COLUMNS))
    figure = Figure(figsize=(5.0 + 2.2 * _COLUMNS, max(3.6, 2.5 * rows)), layout="constrained")
    figure.suptitle(title, fontsize=10)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5.0, 2.2 * _COLUMNS))[0]
    axes = left.subplots()
    for name, values in course.terms.items():
        axes.plot(
            course.steps[-len(values) :],
            values,
            label=total if name == "loss" else _NAMES.get(name, name.replace("_", " ")),
            lw=2.0 if name == "loss" else 1.0,
        )
    axes.set_yscale("log")
    axes.set_xlabel(count)
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    grid = right.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place, (name, picture) in zip(grid, pictures.items(), strict=False):
        show_image(place, picture, name)
    for place in grid[len(pictures) :]:
        place.set_axis_off()
    figure.savefig(path, dpi=120)
