"""Controllable reconstruction (section 3.2 and fig. 8 of the SWNN paper): volumes of several phase fractions after one image.

    python scripts/reproduce_controllable.py --output DIR --images FOLDER     the paper's network, five fractions: for a GPU
    python scripts/reproduce_controllable.py --output DIR --quick             a built-in medium, three fractions: for two cores

The paper trains a network for each fraction; beside them stands one conditional network for all of them. Both give volumes with
the threshold of their calibration and, with --exact, with one of their own. The fractions are 0.10 to 0.30 or, where the
patterns of an image do not reach them, evenly spaced within reach. There is no image of such a medium to compare with: S2 and
2D autocovariance are judged by those of the patterns that were learnt from, over their lags. DIR gets controllable.csv and .md,
a figure controllable_NAME.png for each image, the models and the volumes. The same call goes on where an earlier one stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _controllable_figure import WAYS, Control, Result, draw
from _exemplars import begin
from _reproduction import Options, generate, report, run, train, training

import mcrgen
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._learning import build_data
from mcrgen.data.control import reachable_range
from mcrgen.data.sections import Windows
from mcrgen.descriptors.compare import relative_l2
from mcrgen.descriptors.measure import measure
from mcrgen.errors import InputError
from mcrgen.io.images import read_medium

PAPER = (0.10, 0.15, 0.20, 0.25, 0.30)
KINDS = {"": False, ", exact": True}
COLUMNS = {"φ": ".4f", "φ error": ".2%", "S2 rel. L2": ".4f", "2D autocov. rel. L2": ".3f"}


def wide(targets: tuple[float, ...]) -> str:
    """The setting of a conditional network for all targets."""
    return f"data.phase_fraction_range=[{targets[0]},{targets[-1]}]"


def plan(options: Options, name: str, image: Path) -> Control:
    """Choose the targets and measure their patterns.

    Raises:
        InputError: an image of more than two phases.
    """
    medium = read_medium(image, "images", phase=None, phase_name="phase")
    if medium.phases.count != 2:
        raise InputError(f"images: expected two phases, '{image}' has {medium.phases.count}; take it out of the folder.")
    size = training(options, image, options.output).data.patch_size
    low, high = reachable_range(Windows([medium.labels], size).fractions(2)[:, medium.phases.phase])
    targets = PAPER if low <= PAPER[0] and PAPER[-1] <= high else tuple(np.linspace(low, high, 7)[1:-1].round(3).tolist())
    targets = targets[::2] if options.quick else targets
    config = training(options, image, options.output, wide(targets), quick="swnn_conditional")
    data = build_data(config, read_exemplars(config.data))
    return Control(name, medium, targets, data.pattern_covariance(targets)[:, 0, 0].double().numpy())


def make(options: Options, control: Control, image: Path, way: str) -> Result:
    """Train in one of the two ways, generate and measure."""
    folder, lag = options.output / control.name.replace(" ", "_"), control.covariance.shape[-1] // 2
    if way == "single":
        models = [train(options, image, folder / f"single_{t:g}", f"data.phase_fraction={t}") for t in control.targets]
    else:
        models = [train(options, image, folder / way, wide(control.targets), quick="swnn_conditional")]
    volumes: dict[str, list[Path]] = {}
    for kind, exact in KINDS.items():
        asked = zip(control.targets, models * (len(control.targets) // len(models)), strict=True)
        volumes[kind] = [
            generate(
                mcrgen.GenerateConfig(
                    checkpoint=model.checkpoint,
                    output=folder / f"{way}_{t:g}{'_exact' * exact}.npy",
                    size=(options.edge,),
                    phase_fraction=t,
                    exact=exact,
                    seed=options.seed + 1,
                )
            )
            for t, model in asked
        ]
    phase, spent = control.medium.phases.phase, [model.seconds for model in models]
    measured = {
        kind: [measure(np.load(path) == phase, max_lag=lag, curves=("s2",), map_lag=lag) for path in paths]
        for kind, paths in volumes.items()
    }
    return Result(volumes, measured, None if None in spent else sum(s for s in spent if s is not None))


def rows(control: Control, results: dict[str, Result]) -> list[dict[str, Any]]:
    """A row for each target and way."""
    found = []
    for number, target in enumerate(control.targets):
        for way, result in results.items():
            row: dict[str, Any] = {"exemplar": control.name, "networks": way, "requested φ": target}
            for kind, measured in result.measured.items():
                m = measured[number]
                maps = [relative_l2(values, control.covariance[number]) for values in m.maps.values()]
                s2 = relative_l2(m.curves["s2"].mean, control.s2(number))
                values = (m.fraction, abs(m.fraction / target - 1.0), s2, float(np.sqrt(np.mean(np.square(maps)))))
                row |= {column + kind: value for column, value in zip(COLUMNS, values, strict=True)}
            found.append(row | {"training of all, s": result.seconds})
    return found


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    images = begin(options, ["spheres"])
    plans = [plan(options, name, image) for name, image in images.items()]
    table: list[dict[str, Any]] = []
    for control in plans:
        results = {way: make(options, control, images[control.name], way) for way in WAYS}
        table += rows(control, results)
        draw(options.output / f"controllable_{control.name.replace(' ', '_')}.png", control, results)
    formats = {"exemplar": "", "networks": "", "requested φ": ".3f"}
    formats |= {column + kind: spec for kind in KINDS for column, spec in COLUMNS.items()}
    report(options.output / "controllable", formats | {"training of all, s": ".0f"}, table)
    print(f"\nfigures: {options.output / 'controllable_*.png'}")


if __name__ == "__main__":
    run(main)
