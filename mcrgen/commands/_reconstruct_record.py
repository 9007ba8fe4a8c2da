"""What ``mcrgen reconstruct`` leaves behind: the medium, the record beside it, the figure of convergence, a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._learning import example
from mcrgen.commands._made import Made
from mcrgen.commands._reconstruct_config import Method, ReconstructConfig
from mcrgen.commands._reconstruct_sources import Source, inputs_of, working_folder

_WORDS = {
    Method.differentiable: {"unit": "squared error (1: no structure)", "count": "step", "total": "loss"},
    Method.annealing: {"unit": "energy", "count": "swap", "total": "energy"},
}
"""How the figure of convergence calls things."""
_VOLUME = 3


def write_medium(
    config: ReconstructConfig, sources: Sequence[Source], voxel_size_um: float | None, best: Made, output: Path
) -> None:
    """Write the medium and what belongs to it, and show its errors on the terminal."""
    from mcrgen.io.images import write_labels
    from mcrgen.io.provenance import provenance, sidecar, write_json
    from mcrgen.io.volumes import open_volume

    labels = best.labels
    output.parent.mkdir(parents=True, exist_ok=True)
    if labels.ndim == _VOLUME:
        depth, height, width = labels.shape
        with open_volume(output, labels.shape, voxel_size_um, overwrite=True) as writer:
            writer.write((slice(0, depth), slice(0, height), slice(0, width)), labels)
    else:
        write_labels(output, labels, voxel_size_um)
    inputs: dict[str, Path] = {}
    for number, source in enumerate(sources):
        suffix = f" {number + 1}" if len(sources) > 1 else ""
        inputs |= {f"{name}{suffix}": path for name, path in inputs_of(source, config.start).items()}
    end = {"loss": None if best.failed else best.loss, "steps": best.steps, "ended": best.why}
    record = provenance("reconstruct", configuration.to_plain(config), inputs) | {"run": end, "errors": best.errors}
    write_json(sidecar(output), record)
    _draw(config, best, sources, output)
    _tell(best.errors, output)


def _draw(config: ReconstructConfig, best: Made, sources: Sequence[Source], output: Path) -> None:
    """The figure of convergence; a medium between several images has all of them beside it."""
    from mcrgen.plotting.convergence import plot_convergence
    from mcrgen.plotting.slices import grey

    labels = best.labels
    middle = labels if labels.ndim < _VOLUME else labels[len(labels) // 2]
    images = [grey(example(source)) for source in sources if isinstance(source, Exemplars)]
    beside = {f"exemplar {number}" if len(images) > 1 else "exemplar": image for number, image in enumerate(images, 1)}
    beside |= {"reconstructed": middle / max(1, int(labels.max()))}
    path, title = working_folder(output) / "convergence.png", f"{output.name}: {best.why}"
    plot_convergence(path, best.course, beside, title=title, **_WORDS[config.method])


def tell_media(outputs: Sequence[Path]) -> None:
    """Show how the search for each of several media ended, which tells those that have converged from the others."""
    from rich.table import Table

    from mcrgen.io.provenance import sidecar

    table = Table("medium", "phase fractions", "loss", "steps", "ended")
    for output in outputs:  # their records, as the media themselves may be too large to keep all
        record = json.loads(sidecar(output).read_text())
        end, fractions = record["run"], record["errors"]["phase_fractions"]["found"]
        found = " ".join(f"{value:.4f}" for value in fractions)
        table.add_row(output.stem, found, f"{end['loss']:.3g}", str(end["steps"]), end["ended"])
    console.print(table)


def _tell(errors: dict[str, Any], output: Path) -> None:
    from rich.table import Table

    table = Table("descriptor", "relative error", "squared")
    for name, values in errors.items():
        if name != "phase_fractions":
            table.add_row(name.replace("_", "-"), f"{values['mean']:.3%}", f"{values['squared']:.4%}")
    fractions = errors["phase_fractions"]
    for phase, (wanted, found) in enumerate(zip(fractions["wanted"], fractions["found"], strict=True)):
        table.add_row(f"phase {phase}", f"{found:.4f} (wanted {wanted:.4f})")
    console.print(table)
    console.print(f"written: {output}")
