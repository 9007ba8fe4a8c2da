"""``mcrgen reconstruct``: a medium from the descriptors of images, or of tables."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._annealing import AnnealingGoal, anneal, annealing_goal
from mcrgen.commands._console import console, quiet_libraries
from mcrgen.commands._exemplars import Exemplars, read_exemplars, with_absolute_paths
from mcrgen.commands._hardware import resolve_device
from mcrgen.commands._learning import example
from mcrgen.commands._made import Made
from mcrgen.commands._reconstruct_checks import check_exemplars, check_options, check_output, check_table
from mcrgen.commands._reconstruct_config import Method, ReconstructConfig
from mcrgen.commands._reconstruction import reconstruct
from mcrgen.commands._statistics import SUFFIXES, Statistics, read_statistics
from mcrgen.commands._targets import Goal, goal_of_images, goal_of_table
from mcrgen.errors import InputError, StoppedError, require_free

if TYPE_CHECKING:
    import torch
    from pytorch_lightning import Callback

Source = Exemplars | Statistics

_VOLUME = 3
_WHOLE = 2
_OPTIONS = "config.yaml"


@dataclass(frozen=True)
class ReconstructResult:
    """What was made.

    Attributes:
        outputs: the media.
        errors: of each, by descriptor.
    """

    outputs: tuple[Path, ...]
    errors: tuple[dict[str, Any], ...]


def run(config: ReconstructConfig) -> ReconstructResult:
    """Optimise a medium until its slices have the descriptors of the source, and write it.

    Beside the output OUT are left ``OUT.json`` (options, provenance, errors of the descriptors) and the folder
    ``OUT.reconstruction`` with the log, the last checkpoint, pictures and ``convergence.png``.

    Raises:
        InputError: bad input, before any work; or the loss was no number: the last good medium is written all the same.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    check_options(config)
    device = resolve_device(config.optimization.device)
    configs, sources = _read(config)
    outputs = _outputs(config)
    for output in outputs:
        _check_output(config, sources, output)
    with quiet_libraries():
        try:
            return _reconstruct(configs, sources, outputs, device)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            raise StoppedError("stopped; go on with the same command and --resume.") from interrupt


def _check_output(config: ReconstructConfig, sources: Sequence[Source], output: Path) -> None:
    """Raise unless a medium can be written there; one that is there is replaced if asked for, or by the run that made it.

    Raises:
        InputError: see :func:`check_output`; a source has that name.
    """
    folder = working_folder(output)
    replaced = config.overwrite or (config.resume and (folder / _OPTIONS).exists())
    check_output(config, output, overwrite=replaced)
    require_free("output", folder, overwrite=replaced)
    if output.resolve() in (path.resolve() for source in sources for path in _inputs(source).values()):
        raise InputError(f"output: expected another file than the source '{output}'; choose another name.")


def _inputs(source: Source) -> dict[str, Path]:
    return source.inputs if isinstance(source, Exemplars) else {"source": source.path}


def working_folder(output: Path) -> Path:
    """Where the run that makes ``output`` keeps what is its own."""
    return output.with_name(f"{output.name}.reconstruction")


def _read(config: ReconstructConfig) -> tuple[list[ReconstructConfig], list[Source]]:
    """The sources, and the options with each of them in its place.

    Raises:
        InputError: too few or too many paths, or a source that is none.
    """
    given = config.paths if config.interpolate else config.paths[:-1]
    if config.interpolate:
        if len(given) < 2:
            raise InputError(f"interpolate: expected two or more images to go between, got {len(given)}.")
    elif len(config.paths) not in (1, _WHOLE):
        raise InputError(
            f"paths: expected SOURCE OUT, or OUT alone with --data.images and the like, got {len(config.paths)} paths; media "
            "between several sources are made by --interpolate."
        )
    if given and config.data.image is not None:
        raise InputError(f"data.image: expected without the source '{given[0]}'; give the image in one way only.")
    if not given:
        configs = [replace(config, data=with_absolute_paths(config.data))]
    else:
        configs = [replace(config, data=with_absolute_paths(replace(config.data, image=path))) for path in given]
    sources = [_read_one(one, given[place] if given else None) for place, one in enumerate(configs)]
    if len({_phase_count(source) for source in sources}) > 1:
        raise InputError(
            "interpolate: expected sources with equally many phases, got "
            f"{', '.join(str(_phase_count(source)) for source in sources)}."
        )
    return configs, sources


def _read_one(config: ReconstructConfig, path: Path | None) -> Source:
    if path is not None and path.suffix.lower() in SUFFIXES:
        if config.interpolate:
            raise InputError(f"interpolate: expected images, '{path}' is a table of descriptors; give its image.")
        if config.phase_fraction is not None and path.suffix.lower() != ".csv":
            raise InputError(f"phase_fraction: expected with a table in CSV only, '{path}' holds its own; leave it out.")
        table = read_statistics(path, config.phase_fraction)
        check_table(config, table)
        return table
    if config.phase_fraction is not None:
        raise InputError("phase_fraction: expected with a table in CSV only, an image has its own; leave it out.")
    exemplars = read_exemplars(config.data)
    check_exemplars(config, exemplars)
    return exemplars


def _phase_count(source: Source) -> int:
    return source.phases.count if isinstance(source, Exemplars) else 2


def _outputs(config: ReconstructConfig) -> list[Path]:
    """The files to write."""
    if config.interpolate is None:
        if config.output is not None:
            raise InputError("output: expected with --interpolate only; give the output as the second path.")
        return [config.paths[-1]]
    suffix = ".tif"
    folder = config.output or Path(f"{config.paths[0].stem}_to_{config.paths[-1].stem}")
    return [folder / f"medium_{number:02d}{suffix}" for number in range(config.interpolate)]


def _reconstruct(
    configs: Sequence[ReconstructConfig], sources: Sequence[Source], outputs: Sequence[Path], device: torch.device
) -> ReconstructResult:
    with console.status("measuring the source"):
        goals = [_goal(config, source) for config, source in zip(configs, sources, strict=True)]
    errors = []
    for number, output in enumerate(outputs):
        place = number * (len(goals) - 1) / max(1, len(outputs) - 1)
        before = min(int(place), max(0, len(goals) - 2))
        goal = goals[0] if len(goals) == 1 else _between(goals[before], goals[before + 1], place - before)
        errors.append(_one(configs[0], sources, goal, output, device))
    return ReconstructResult(tuple(outputs), tuple(errors))


def _between(first: Goal | AnnealingGoal, second: Goal | AnnealingGoal, share: float) -> Goal | AnnealingGoal:
    if isinstance(first, AnnealingGoal) and isinstance(second, AnnealingGoal):
        return first.towards(second, share)
    assert isinstance(first, Goal)
    assert isinstance(second, Goal)
    return first.towards(second, share)


def _goal(config: ReconstructConfig, source: Source) -> Goal | AnnealingGoal:
    if config.method == Method.annealing:
        return annealing_goal(config, source)
    return goal_of_table(config, source) if isinstance(source, Statistics) else goal_of_images(config, source)


def _one(
    config: ReconstructConfig, sources: Sequence[Source], goal: Goal | AnnealingGoal, output: Path, device: torch.device
) -> dict[str, Any]:
    """Reconstruct one medium, several times if asked to, and write the best.

    Raises:
        InputError: the loss was no number.
    """
    folder, curves = working_folder(output), isinstance(sources[0], Statistics)
    _prepare(config, folder)
    made: list[Made] = []
    for restart in range(config.optimization.restarts):
        alone = config.optimization.restarts == 1
        own, title = (folder, "reconstructing") if alone else (folder / f"run_{restart + 1}", f"run {restart + 1}")
        own.mkdir(parents=True, exist_ok=True)
        seed = config.seed + restart
        if isinstance(goal, AnnealingGoal):
            made.append(anneal(config, goal, seed, own, title=title))
        else:
            callbacks = _callbacks(config, own, sources[0], goal)
            made.append(reconstruct(config, goal, seed, own, callbacks, device, curves=curves, title=title))
    best = min(made, key=lambda one: (one.failed, one.loss))
    _write(config, sources, goal.voxel_size_um, best, output)
    if best.failed:
        raise InputError(
            f"descriptors.weights: the loss was no number after step {best.steps}; the last good medium is in '{output}'. Try "
            "smaller weights or another learning rate."
        )
    return best.errors


def _prepare(config: ReconstructConfig, folder: Path) -> None:
    """Clear what an earlier run left, or check that it was this one.

    Raises:
        InputError: the run to go on with had other options.
    """
    plain, saved = replace(config, resume=False, overwrite=False), folder / _OPTIONS
    if config.resume and saved.exists():
        before = configuration.to_plain(configuration.load(ReconstructConfig, saved))
        changed = [key for key in configuration.differences(plain, before) if not key.startswith(_FREE_ON_RESUME)]
        if changed:
            raise InputError(
                f"resume: {', '.join(changed)} differ from the run in '{folder}'; give the same options or another output."
            )
        return
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    configuration.save(plain, saved)


_FREE_ON_RESUME = ("logging.", "record.", "optimization.device", "smoothing")


def _callbacks(config: ReconstructConfig, folder: Path, source: Source, goal: Goal) -> list[Callback]:
    """Pictures, and the monitor if there is an image to compare with."""
    from mcrgen.callbacks.sample_images import SampleImages
    from mcrgen.commands._learning import make_monitor

    if isinstance(source, Statistics):
        return []
    callbacks: list[Callback] = [SampleImages(folder / "previews", example(source), every=config.record.preview_every)]
    if config.record.monitor_every:
        callbacks.append(
            make_monitor(
                source, folder / "monitor", goal.fractions, every=config.record.monitor_every, samples=_WINDOWS,
                size=config.record.monitor_size, max_lag=config.record.monitor_size // 2,
            )
        )  # fmt: skip
    return callbacks


_WINDOWS = 8


def _write(config: ReconstructConfig, sources: Sequence[Source], voxel_size_um: float | None, best: Made, output: Path) -> None:
    """The medium, the record beside it, the figure of convergence; and a table on the terminal."""
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
        inputs |= {f"{name}{suffix}": path for name, path in _inputs(source).items()}
    end = {"loss": None if best.failed else best.loss, "steps": best.steps, "ended": best.why}
    record = provenance("reconstruct", configuration.to_plain(config), inputs) | {"run": end, "errors": best.errors}
    write_json(sidecar(output), record)
    _draw(config, best, sources[0], output)
    _tell(best.errors, output)


_UNITS = {Method.differentiable: "squared error (1: no structure)", Method.annealing: "energy"}


def _draw(config: ReconstructConfig, best: Made, source: Source, output: Path) -> None:
    """The figure of convergence."""
    from mcrgen.plotting.convergence import plot_convergence
    from mcrgen.plotting.slices import grey

    labels = best.labels
    middle = labels if labels.ndim < _VOLUME else labels[len(labels) // 2]
    beside = {"exemplar": grey(example(source))} if isinstance(source, Exemplars) else {}
    beside |= {"reconstructed": middle / max(1, int(labels.max()))}
    path, title = working_folder(output) / "convergence.png", f"{output.name}: {best.why}"
    plot_convergence(path, best.course, beside, title=title, unit=_UNITS[config.method])


def _tell(errors: dict[str, Any], output: Path) -> None:
    from rich.table import Table

    table = Table("descriptor", "relative error")
    for name, values in errors.items():
        if name != "phase_fractions":
            table.add_row(name.replace("_", "-"), f"{values['mean']:.3%}")
    fractions = errors["phase_fractions"]
    for phase, (wanted, found) in enumerate(zip(fractions["wanted"], fractions["found"], strict=True)):
        table.add_row(f"phase {phase}", f"{found:.4f} (wanted {wanted:.4f})")
    console.print(table)
    console.print(f"written: {output}")
