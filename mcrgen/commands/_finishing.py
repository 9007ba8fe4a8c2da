"""The end of ``mcrgen train``: a trained network is calibrated on full volumes, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._hardware import Precision, torch_dtype
from mcrgen.commands._learning import target_fractions
from mcrgen.commands._train_config import CalibrationConfig, TrainConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.generation.generator import Generator
    from mcrgen.tasks.swnn import SWNNTask

_SHOWN_FRACTIONS = 3


def calibrate_task(config: TrainConfig, task: SWNNTask, exemplars: Exemplars, precision: Precision) -> tuple[float, ...]:
    """Put statistics of full volumes into the task's network, and the thresholds into its record.

    Args:
        config: the options.
        task: the trained task, on the device to generate on.
        exemplars: what it has learnt from.
        precision: arithmetic to generate in.

    Returns:
        The phase fractions that were calibrated for; of a conditional generator, those it makes when none are asked for.
    """
    fractions = target_fractions(config.data, exemplars)
    if config.data.phase_fraction_range is None:
        _calibrate_one(config.calibration, task, fractions, exemplars.phases.phase, precision)
    else:
        _calibrate_range(config.calibration, task, fractions, exemplars.phases.phase, precision)
    return fractions


def _calibrate_one(
    settings: CalibrationConfig, task: SWNNTask, fractions: tuple[float, ...], phase: int, precision: Precision
) -> None:
    from mcrgen.generation.calibration import reestimate_batchnorm
    from mcrgen.generation.generator import Generator

    network = task.network
    with console.status("calibrating on full volumes"):
        reestimate_batchnorm(
            network, network.halo, network.noise_channels, settings.batchnorm_blocks, settings.batchnorm_block_size
        )
        generator = Generator(network.folded(torch_dtype(precision)), network.halo, network.noise_channels)
        _calibrate(settings, task, generator, fractions, phase, precision)


def _calibrate(
    settings: CalibrationConfig,
    task: SWNNTask,
    generator: Generator,
    fractions: tuple[float, ...],
    phase: int,
    precision: Precision,
) -> None:
    from mcrgen.generation.calibration import calibrate

    found = calibrate(
        generator,
        fractions,
        phase=phase,
        precision=precision.value,
        blocks=settings.threshold_blocks,
        block_size=settings.threshold_block_size,
    )
    task.record["calibration"] = configuration.to_plain(found)


def _calibrate_range(
    settings: CalibrationConfig, task: SWNNTask, fractions: tuple[float, ...], phase: int, precision: Precision
) -> None:
    import numpy as np

    from mcrgen.generation.conditional import generator_at, measure_table

    low, high = task.hparams["phase_fraction_range"]
    with progress_bar(transient=True) as progress:
        bar = progress.add_task("calibrating on full volumes", total=settings.fractions, unit="fraction", status="")
        table = measure_table(
            task.network,
            np.linspace(low, high, settings.fractions).tolist(),
            phase=phase,
            dtype=torch_dtype(precision),
            precision=precision.value,
            batchnorm=(settings.batchnorm_blocks, settings.batchnorm_block_size),
            threshold=(settings.fraction_blocks, settings.threshold_block_size),
            advance=lambda: progress.advance(bar),
        )
    task.record["conditional"] = table.plain()
    generator = generator_at(task.network, table, fractions[phase], torch_dtype(precision))
    _calibrate(settings, task, generator, fractions, phase, precision)


def preview(path: Path, config: TrainConfig, task: SWNNTask, exemplars: Exemplars, precision: Precision) -> None:
    """The exemplar beside sections of the calibrated field: three normals or, of a range, one normal at three fractions."""
    import numpy as np

    from mcrgen.generation.conditional import ConditionTable, generator_at
    from mcrgen.generation.generator import Generator
    from mcrgen.plotting.slices import plot_slices

    sections = exemplars.sections[0]
    panels: dict[str, NDArray[Any]] = {"exemplar": sections[len(sections) // 2] / (exemplars.phases.count - 1)}
    network, dtype, shape = task.network, torch_dtype(precision), [config.trainer.slab_size] * 3
    if "conditional" in task.record:
        table = ConditionTable.from_plain(task.record["conditional"])
        for fraction in np.linspace(table.fractions[0], table.fractions[-1], _SHOWN_FRACTIONS).tolist():
            generator = generator_at(network, table, fraction, dtype)
            bias = [-float(table.threshold_at([fraction])[0])]
            panels[f"phase fraction {fraction:.3g}"] = _section(generator, bias, exemplars, shape, 0, config.seed)
    else:
        generator = Generator(network.folded(dtype), network.halo, network.noise_channels)
        for normal, name in enumerate("zyx"):
            bias = task.record["calibration"]["bias"]
            panels[f"normal to {name}"] = _section(generator, bias, exemplars, shape, normal, config.seed)
    plot_slices(path, panels, title=f"{exemplars.name}: exemplar and calibrated sections")


def _section(
    generator: Generator, bias: list[float], exemplars: Exemplars, shape: list[int], normal: int, seed: int
) -> NDArray[np.floating]:
    from mcrgen.generation.calibration import classify
    from mcrgen.generation.noise import Noise

    z, y, x = (1 if axis == normal else length for axis, length in enumerate(shape))
    labels = classify(generator.scores(Noise(seed), (0, 0, 0), (z, y, x)), bias, exemplars.phases.phase)
    picture: NDArray[np.floating] = labels.cpu().numpy().squeeze(normal) / (exemplars.phases.count - 1)
    return picture
