"""What ``mcrgen train`` checks before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._train_config import LAST, MonitorConfig, TrainConfig
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
    from mcrgen.io.images import Medium

_SMALLEST_SAMPLE = 8
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
                 "calibration.threshold_block_size", "monitor.max_lag"):  # fmt: skip
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
    if config.data.phase_fraction is not None:
        require_fraction("data.phase_fraction", config.data.phase_fraction)


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


def check_exemplar(config: TrainConfig, medium: Medium) -> None:
    """Raise on an image the settings do not fit.

    Raises:
        InputError: a volume, an image smaller than slab or patch, a target fraction for more than two phases, or other than one
            name per phase.
    """
    from mcrgen.io.phases import check_phase_names

    shape = medium.labels.shape
    if len(shape) != 2:
        raise InputError(f"data.image: expected one 2D section, got a volume of {shape}; save one section as an image.")
    needed = config.trainer.slab_size
    if min(shape) < needed:
        raise InputError(
            f"data.image: expected at least {needed} x {needed} pixels for slabs of that size, "
            f"got {shape[0]} x {shape[1]}; use a larger image or a smaller --trainer.slab-size."
        )
    check_phase_names(config.data.phase_names, medium.phases, "data.phase_names")
    if config.data.phase_fraction is not None and medium.phases.count > 2:
        raise InputError(
            f"data.phase_fraction: expected an image of two phases, '{config.data.image}' has {medium.phases.count}; "
            "leave it out."
        )


def find_resume_point(config: TrainConfig, folder: Path) -> Path | None:
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
    from mcrgen.io.provenance import sha256

    record = read_checkpoint(last, "resume")["mcrgen"]
    changed = [key for key in configuration.differences(config, record["config"]) if not key.startswith(_FREE_ON_RESUME)]
    if changed:
        raise InputError(
            f"resume: {', '.join(changed)} differ from the run in '{folder}'; give the same options "
            f"(`--config {folder / 'config.yaml'}`) or another --output."
        )
    if sha256(config.data.image) != record["exemplar"]["sha256"]:
        raise InputError(
            f"resume: '{config.data.image}' is not the image that the run in '{folder}' began with; give that one "
            "or another --output."
        )
    return last
