"""Tables of an ablation: means, deviations, ratios and stars by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.parametrize("script", ["_ablation_table"], indirect=True)


def row(variant: str, seed: int, s2: float, fraction_error: float = 0.01, **key: str) -> dict[str, str]:
    values = dict.fromkeys(("lineal_path", "autocovariance_2d", "surface", "p3h", "p4", "fraction_scatter"), "0")
    values |= {"cpu_seconds": "20", "wall_seconds": "30", "s2": str(s2), "fraction_error": str(fraction_error)}
    return {"variant": variant, "image": "M1", "seed": str(seed), "steps": "80", "settings": "size=64"} | key | values


def cells(lines: Sequence[str], variant: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(f"| {variant} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_by_hand(script: ModuleType) -> None:
    rows = [
        row("patch_5", 1, 0.30), row("recipe", 2, 0.14), row("recipe", 0, 0.10), row("recipe", 1, 0.12),
        row("patch_5", 0, 0.20), row("slab_64", 0, 0.11), row("slab_64", 1, 0.11), row("slab_64", 9, 0.70),
    ]  # fmt: skip
    lines = list(script.tables(rows, ("s2", "wall_seconds")))
    assert lines[0].strip() == "### M1, 80 steps, size=64"
    assert lines[1] == "| variant | seeds | S2, rel. L2 | s |"
    assert lines[2].count("|") == lines[1].count("|")
    assert [line.split(" ")[1] for line in lines[3:6]] == ["recipe", "slab_64", "patch_5"]  # the order of the variants
    assert cells(lines, "recipe") == ["recipe", "3", "0.1200 ± 0.0200", "30.0 ± 0.0"]
    # 0.25 on average, deviation sqrt(2 * 0.05**2); over seeds 0 and 1 0.50 / 0.22; differences 0.10, 0.18: t = 3.5
    assert cells(lines, "patch_5") == ["patch_5", "2", "0.2500 ± 0.0707 ×2.27*", "30.0 ± 0.0 ×1.00"]
    # of three seeds two are also the recipe's: 0.22 / 0.22, differences +0.01, -0.01
    assert cells(lines, "slab_64")[1:3] == ["3", "0.3067 ± 0.3406 ×1.00"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        # mean difference d, standard error e: a star from d > 2 e on
        ((0.121, 0.123, 0.125), " ×1.23*"),  # d = 0.023, e = 0.0012
        ((0.10, 0.10, 0.145), " ×1.15"),  # d = 0.015 = e
        ((0.08, 0.08, 0.08), " ×0.80*"),
        ((0.10, 0.10, 0.10), " ×1.00"),
    ],
)
def test_stars(script: ModuleType, values: tuple[float, ...], told: str) -> None:
    rows = [row("recipe", seed, 0.1) for seed in range(3)] + [row("patch_5", seed, s2) for seed, s2 in enumerate(values)]
    cell = cells(list(script.tables(rows, ("s2",))), "patch_5")[2]
    assert cell[cell.index(" ×") :] == told


def test_no_star_and_no_deviation_of_one_seed(script: ModuleType) -> None:
    lines = list(script.tables([row("recipe", 0, 0.1), row("patch_5", 0, 0.3)], ("s2",)))
    assert cells(lines, "recipe")[2] == "0.1000"
    assert cells(lines, "patch_5")[2] == "0.3000 ×3.00"


def test_table_without_the_recipe_of_the_same_seed(script: ModuleType) -> None:
    rows = [
        row("recipe", 0, 0.1),
        row("patch_5", 1, 0.3),
        row("patch_11", 0, 0.2, image="M3"),
        row("recipe", 5, 0.0, steps="9"),
    ]
    rows.append(row("patch_11", 5, 0.2, steps="9"))  # the recipe's error is zero
    lines = list(script.tables(rows, ("s2",)))
    assert [line.strip() for line in lines if "###" in line] == [
        "### M1, 80 steps, size=64", "### M1, 9 steps, size=64", "### M3, 80 steps, size=64",
    ]  # fmt: skip
    assert cells(lines, "patch_5")[2] == "0.3000"
    assert sum(line.startswith("| patch_11 | 1 | 0.2000 |") for line in lines) == 2


def test_errors_of_either_sign_do_not_cancel(script: ModuleType) -> None:
    lines = list(script.tables([row("recipe", 0, 0.1, -0.02), row("recipe", 1, 0.1, 0.04)], ("fraction_error",)))
    assert cells(lines, "recipe")[2] == "3.00% ± 1.41%"


def test_legend(script: ModuleType) -> None:
    legend = list(script.tables([], ("s2",)))[-1]
    # Student's t beyond 2 on both sides: 1 - 2 / pi * atan(2) with one degree of freedom, 1 - 2 / sqrt(6) with two
    assert "30% with 2 seeds" in legend
    assert "18% with 3 seeds" in legend


def test_rows_are_read_as_written(script: ModuleType, tmp_path: Path) -> None:
    path, key = tmp_path / "runs.csv", ("recipe", "M1", "0", "80", "volumes=11,12 size=128 calibration.threshold_blocks=4")
    assert script.read_rows(path) == []
    for factor in (1.0, 2.0):
        script.append_row(path, key, {name: factor * n for n, name in enumerate(script.COLUMNS, 1)})
    first, second = script.read_rows(path)
    assert tuple(first) == (*script.KEY, *script.COLUMNS)
    assert tuple(second[name] for name in script.KEY) == key
    assert [float(second[name]) for name in script.COLUMNS] == [2.0 * n for n in range(1, 11)]
