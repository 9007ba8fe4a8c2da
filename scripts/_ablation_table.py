"""The rows that scripts/ablation_swnn.py keeps, and the tables made of them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from _ablation_variants import BASE, VARIANTS
from scipy.stats import t as student

KEY = ("variant", "image", "seed", "steps", "settings")
"""What tells one run from another."""
COLUMNS = {
    "s2": ("S2, rel. L2", ".4f"),
    "lineal_path": ("lineal path, rel. L2", ".4f"),
    "autocovariance_2d": ("2D autocov., rel. L2", ".3f"),
    "surface": ("surface err", ".2%"),
    "p3h": ("F3H, MSE", ".1e"),
    "p4": ("F4, MSE", ".1e"),
    "fraction_error": ("φ err of the mean", ".2%"),
    "fraction_scatter": ("φ scatter", ".2%"),
    "cpu_seconds": ("CPU s / threads", ".1f"),
    "wall_seconds": ("s", ".1f"),
}
"""What a run is measured by: name in runs.csv, heading and format in the table."""
_LEGEND = (
    "mean ± standard deviation over the training seeds; × ratio to the recipe's mean over the same seeds, with a * where the "
    "paired difference exceeds twice its standard error, as pure chance does in"
)
_SEEDS = (2, 3, 5, 10)

Row = Mapping[str, str]
BySeed = Mapping[str, float]
"""Training seed -> value."""


def read_rows(path: Path) -> list[Row]:
    """Rows of runs.csv; none if it is not there yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append_row(path: Path, key: Sequence[str], values: Mapping[str, float]) -> None:
    """Add a run, and the header to an empty file."""
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow((*KEY, *COLUMNS))
        writer.writerow((*key, *(f"{values[name]:.6g}" for name in COLUMNS)))


def tables(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown: a table for each image, number of steps and kind of volumes, and what the signs mean."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["image"], row["steps"], row["settings"]), []).append(row)
    for image, steps, settings in sorted(groups):
        yield f"\n### {image}, {steps} steps, {settings}\n"
        yield from _table(groups[image, steps, settings], columns)
    chances = ", ".join(f"{2 * student.sf(2, seeds - 1):.0%} with {seeds} seeds" for seeds in _SEEDS)
    yield f"\n{_LEGEND} {chances}."


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """A line for each variant that there are rows of."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], {})[row["seed"]] = row
    yield "| variant | seeds | " + " | ".join(COLUMNS[column][0] for column in columns) + " |"
    yield "|---" * (2 + len(columns)) + "|"
    for name in (name for name in VARIANTS if name in found):
        base = found.get(BASE, {}) if name != BASE else {}
        cells = [_cell(_values(found[name], c), _values(base, c), COLUMNS[c][1]) for c in columns]
        yield f"| {name} | {len(found[name])} | " + " | ".join(cells) + " |"


def _values(by_seed: Mapping[str, Row], column: str) -> BySeed:
    return {seed: abs(float(row[column])) for seed, row in by_seed.items()}


def _cell(values: BySeed, base: BySeed, pattern: str) -> str:
    """Mean and standard deviation over the seeds, and how they compare with those of the recipe."""
    text = format(statistics.mean(values.values()), pattern)
    if len(values) > 1:
        text += f" ± {statistics.stdev(values.values()):{pattern}}"
    return text + _ratio([(value, base[seed]) for seed, value in values.items() if seed in base])


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    """Ratio of the sums of values of the same seeds, with a star if they differ clearly; empty where there is none."""
    total = sum(base for _, base in pairs)
    if total == 0.0:
        return ""
    differences = [value - base for value, base in pairs]
    clear = len(pairs) > 1 and abs(sum(differences)) > 2 * statistics.stdev(differences) * len(pairs) ** 0.5
    return f" ×{sum(value for value, _ in pairs) / total:.2f}{'*' if clear else ''}"
