"""What ``mcrgen train`` checks before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcrgen.commands._train_config import LAST, DataConfig, Distance, LossConfig, LossKind, MonitorConfig, TrainConfig
from mcrgen.errors import (
    InputError,
    near_name,
    require_fraction,
    require_positive,
    require_seed,
)

if TYPE_CHECKING:
    from mcrgen.commands._exemplars import Exemplars

_SMALLEST_SAMPLE = 8
_SUM_TOLERANCE = 1e-6


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
    _check_loss(config.loss)
    if config.data.phase_fraction_range is not None and config.loss.kind != LossKind.patterns:
        raise InputError(
            f"loss.kind: expected patterns for a range of phase fractions, which chooses among them, got {config.loss.kind}."
        )


def _check_loss(loss: LossConfig) -> None:
    if loss.covariance_weight < 0:
        raise InputError(f"loss.covariance_weight: expected 0 (off) or more, got {loss.covariance_weight}.")
    if loss.exponent < 1:
        raise InputError(f"loss.exponent: expected 1 or more, got {loss.exponent}.")
    if loss.kind != LossKind.gram and loss.vgg_weights is not None:
        raise InputError(f"loss.vgg_weights: expected with the loss of the kind gram only, got {loss.kind}; leave it out.")
    if loss.distance == Distance.wasserstein:
        return
    if loss.kind != LossKind.patterns:
        raise InputError(f"loss.distance: expected with the loss of the kind patterns only, got {loss.kind}; leave it out.")
    if loss.exponent != LossConfig.exponent:
        raise InputError(f"loss.exponent: expected with the distance wasserstein only, got {loss.exponent}; leave it out.")


def _check_monitor(monitor: MonitorConfig) -> None:
    if monitor.every < 0:
        raise InputError(f"monitor.every: expected 0 (off) or more, got {monitor.every}.")
    if monitor.samples < 2:
        raise InputError(f"monitor.samples: expected 2 or more, to see how they scatter, got {monitor.samples}.")
    if monitor.sample_size < _SMALLEST_SAMPLE:
        raise InputError(f"monitor.sample_size: expected {_SMALLEST_SAMPLE} or more, got {monitor.sample_size}.")
    check_select(monitor.select)


def check_select(select: str) -> None:
    """Raise unless a model can be selected by this.

    Raises:
        InputError: another name.
    """
    from mcrgen.callbacks.metrics import ERRORS

    known = (*ERRORS, LAST)
    if select not in known:
        raise InputError(f"monitor.select: expected one of {', '.join(known)}, got '{select}'{near_name(select, known)}.")


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
