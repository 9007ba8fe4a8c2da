"""What ``mcrgen train`` checks before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._learning import files_record
from mcrgen.commands._train_config import LAST, DataConfig, LossKind, MonitorConfig, TrainConfig
from mcrgen.errors import (
    InputError,
    near_name,
    require_fraction,
    require_free,
    require_positive,
    require_seed,
    require_writable,
)

if TYPE_CHECKING:
    from mcrgen.commands._exemplars import Exemplars

_SMALLEST_SAMPLE = 8
_SUM_TOLERANCE = 1e-6
_FREE_ON_RESUME = (
    "resume", "overwrite", "output", "data.image", "data.phase_names", "logging.", "calibration.", "trainer.device",
    "trainer.checkpoint_every", "trainer.preview_every", "trainer.log_every", "monitor.every",
)  # fmt: skip


def check_numbers(config: TrainConfig) -> None:
    """Raise on settings that are wrong whatever the image.

    Raises:
        InputError: a number out of its range.
    """
    require_seed(config.seed)
    for name in ("data.patch_size", "network.channels", "network.noise_channels", "loss.projections",
                 "optimizer.learning_rate", "optimizer.final_learning_rate", "trainer.max_steps", "trainer.checkpoint_every",
                 "trainer.preview_every", "trainer.log_every", "calibration.batchnorm_blocks",
                 "calibration.batchnorm_block_size", "calibration.threshold_blocks",
                 "calibration.threshold_block_size", "calibration.fraction_blocks", "monitor.max_lag"):  # fmt: skip
        section, key = name.split(".")
        require_positive(name, getattr(getattr(config, section), key))
    if config.network.layers < 0:
        raise InputError(f"network.layers: expected 0 (derived) or more, got {config.network.layers}.")
    if config.loss.covariance_weight < 0:
        raise InputError(f"loss.covariance_weight: expected 0 (off) or more, got {config.loss.covariance_weight}.")
    if config.loss.exponent < 1:
        raise InputError(f"loss.exponent: expected 1 or more, got {config.loss.exponent}.")
    if config.trainer.slab_size < config.data.patch_size:
        raise InputError(
            f"trainer.slab_size: expected at least data.patch_size = {config.data.patch_size}, got {config.trainer.slab_size}."
        )
    _check_monitor(config.monitor)
    if config.data.voxel_size_um is not None:
        require_positive("data.voxel_size_um", config.data.voxel_size_um)
    if config.calibration.fractions < 2:
        raise InputError(
            f"calibration.fractions: expected 2 or more, the ends of the range, got {config.calibration.fractions}."
        )
    _check_fractions(config.data)
    if config.loss.kind != LossKind.gram and config.loss.vgg_weights is not None:
        raise InputError(
            f"loss.vgg_weights: expected with the loss of the kind gram only, got {config.loss.kind}; leave it out."
        )
    if config.data.phase_fraction_range is not None and config.loss.kind != LossKind.patterns:
        raise InputError(
            f"loss.kind: expected patterns for a range of phase fractions, which chooses among them, got {config.loss.kind}."
        )


def _check_monitor(monitor: MonitorConfig) -> None:
    from mcrgen.callbacks.metrics import ERRORS

    if monitor.every < 0:
        raise InputError(f"monitor.every: expected 0 (off) or more, got {monitor.every}.")
    if monitor.samples < 2:
        raise InputError(f"monitor.samples: expected 2 or more, to see how they scatter, got {monitor.samples}.")
    if monitor.sample_size < _SMALLEST_SAMPLE:
        raise InputError(f"monitor.sample_size: expected {_SMALLEST_SAMPLE} or more, got {monitor.sample_size}.")
    known = (*ERRORS, LAST)
    if monitor.select not in known:
        raise InputError(
            f"monitor.select: expected one of {', '.join(known)}, got '{monitor.select}'{near_name(monitor.select, known)}."
        )


def check_exemplars(config: TrainConfig, exemplars: Exemplars) -> None:
    """Raise on images that the settings do not fit.

    Raises:
        InputError: images smaller than slab or patch, target fractions for another number of phases, or other than one name
            per phase.
    """
    from mcrgen.io.phases import check_phase_names

    needed = config.trainer.slab_size
    for (name, path), labels in zip(exemplars.files, exemplars.media, strict=True):
        if min(labels.shape) < needed:
            what = "image" if labels.ndim == 2 else "volume"
            raise InputError(
                f"{name}: expected at least {needed} pixels along each edge for slabs of that size, '{path}' has "
                f"{' x '.join(map(str, labels.shape))}; use a larger {what} or a smaller --trainer.slab-size."
            )
    phases, data = exemplars.phases, config.data
    check_phase_names(data.phase_names, phases, "data.phase_names")
    for name in ("phase_fraction", "phase_fraction_range"):
        if getattr(data, name) is not None and phases.count > 2:
            raise InputError(
                f"data.{name}: expected images of two phases, '{exemplars.files[0][1]}' has {phases.count}; "
                "use --data.phase-fractions."
            )
    if data.phase_fractions and len(data.phase_fractions) != phases.count:
        raise InputError(
            f"data.phase_fractions: expected one for each of the {phases.count} phases (values "
            f"{', '.join(map(str, phases.values))}), got {len(data.phase_fractions)}."
        )


def _check_fractions(data: DataConfig) -> None:
    """Raise on target fractions that are wrong whatever the images.

    Raises:
        InputError: out of range, or given in more than one way.
    """
    given = [
        name for name in ("phase_fraction", "phase_fraction_range", "phase_fractions") if getattr(data, name) not in (None, ())
    ]
    if len(given) > 1:
        raise InputError(f"data.{given[1]}: expected without data.{given[0]}; give one of the two.")
    if data.phase_fraction is not None:
        require_fraction("data.phase_fraction", data.phase_fraction)
    for fraction in data.phase_fractions:
        require_fraction("data.phase_fractions", fraction)
    if data.phase_fractions and abs(sum(data.phase_fractions) - 1.0) > _SUM_TOLERANCE:
        raise InputError(
            f"data.phase_fractions: expected fractions that sum to one, got a sum of {sum(data.phase_fractions):g}."
        )
    if data.phase_fraction_range is not None:
        low, high = data.phase_fraction_range
        if not 0.0 < low < high < 1.0:
            raise InputError(
                f"data.phase_fraction_range: expected a lower and a higher fraction between 0 and 1, got {low:g} {high:g}."
            )


def find_resume_point(config: TrainConfig, folder: Path, exemplars: Exemplars) -> Path | None:
    """The checkpoint to resume from, or None for a new run in a folder that may be written to.

    Raises:
        InputError: the folder is taken; or the run in it had other options or another image.
    """
    require_writable("output", folder)
    last = folder / "last.ckpt"
    if not config.resume:
        require_free("output", folder, overwrite=config.overwrite)
        return None
    if not last.exists():
        require_free("output", folder / "model.ckpt", overwrite=config.overwrite)
        console.print(f"nothing to resume in {folder}: starting anew")
        return None
    from mcrgen.io.checkpoints import read_checkpoint

    record = read_checkpoint(last, "resume")["mcrgen"]
    if "exemplars" not in record:
        raise InputError(
            f"resume: the run in '{folder}' was begun by an older version of mcrgen, whose training this one cannot go on "
            "with; train anew with --overwrite or another --output."
        )
    changed = [key for key in configuration.differences(config, record["config"]) if not key.startswith(_FREE_ON_RESUME)]
    if changed:
        raise InputError(
            f"resume: {', '.join(changed)} differ from the run in '{folder}'; give the same options "
            f"(`--config {folder / 'config.yaml'}`) or another --output."
        )
    _check_same_files(files_record(exemplars), record["exemplars"], folder)
    return last


def _check_same_files(files: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Raise unless these are the files, in the order, that a run began with: the order numbers the patterns."""
    known = [(file["option"], file["sha256"]) for file in before]
    if [(file["option"], file["sha256"]) for file in files] == known:
        return
    for file in files:
        if (file["option"], file["sha256"]) not in known:
            raise InputError(
                f"resume: '{file['path']}' is not the image that the run in '{folder}' began with; give that one "
                "or another --output."
            )
    expected, got = (", ".join(f"'{file['path']}'" for file in some) for some in (before, files))
    raise InputError(
        f"resume: expected all images that the run in '{folder}' began with in their order, {expected}, got {got}; "
        "give those or another --output."
    )
