"""What ``mcrgen train`` checks of a GAN's options before any work."""

from __future__ import annotations

import math

from mcrgen.commands._gan_config import GanConfig, GanMethod
from mcrgen.commands._micrographs import Micrographs
from mcrgen.commands._train_checks import check_select
from mcrgen.errors import InputError, require_positive, require_seed

_POSITIVE = (
    "data.stride", "network.latent_channels", "network.features", "network.critic_features", "network.max_features",
    "loss.critic_steps", "optimizer.learning_rate", "trainer.max_steps", "trainer.batch_size", "trainer.volumes",
    "trainer.checkpoint_every", "trainer.preview_every", "trainer.log_every", "calibration.samples", "monitor.max_lag",
)  # fmt: skip
_FROM_ZERO = ("loss.gradient_penalty", "loss.instance_noise")
_BELOW_ONE = ("loss.label_smoothing", "optimizer.averaging", "data.held_out")


def check_gan_numbers(config: GanConfig) -> None:
    """Raise on settings that are wrong whatever the image.

    Raises:
        InputError: a number out of its range, or an option of the other method.
    """
    require_seed(config.seed)
    for name in _POSITIVE:
        require_positive(name, _value(config, name))
    for name in _FROM_ZERO:
        if not 0 <= _value(config, name) < math.inf:
            raise InputError(f"{name}: expected 0 (off) or more, got {_value(config, name)}.")
    for name in _BELOW_ONE:
        if not 0 <= _value(config, name) < 1:
            raise InputError(f"{name}: expected 0 or more and less than 1, got {_value(config, name)}.")
    for name in ("data.window", "data.voxel_size_um", "optimizer.critic_learning_rate"):
        if _value(config, name) is not None:
            require_positive(name, _value(config, name))
    for beta in config.optimizer.betas:
        if not 0 <= beta < 1:
            raise InputError(f"optimizer.betas: expected 0 or more and less than 1, got {beta}.")
    for name in ("features", "critic_features"):
        if (width := getattr(config.network, name)) > config.network.max_features:
            raise InputError(
                f"network.{name}: expected at most network.max_features = {config.network.max_features}, got {width}."
            )
    _check_monitor(config)
    if config.method is GanMethod.wgan_gp and config.loss.label_smoothing:
        raise InputError("loss.label_smoothing: expected with --method dcgan only, whose critic tells real from generated.")


def _check_monitor(config: GanConfig) -> None:
    if config.monitor.every < 0:
        raise InputError(f"monitor.every: expected 0 (off) or more, got {config.monitor.every}.")
    if config.monitor.samples < 2:
        raise InputError(f"monitor.samples: expected 2 or more, to see how they scatter, got {config.monitor.samples}.")
    if config.monitor.windows < 2:
        raise InputError(f"monitor.windows: expected 2 or more, to see how they scatter, got {config.monitor.windows}.")
    check_select(config.monitor.select)


def check_network(config: GanConfig, micrographs: Micrographs) -> None:
    """Raise on a training size that the networks do not have, and on sections that volumes do not have.

    Raises:
        InputError: a size that is not among the allowed; sections that cannot be shared among the volumes.
    """
    from mcrgen.io.phases import check_phase_names
    from mcrgen.networks.dcgan import allowed_sizes

    check_phase_names(config.data.phase_names, micrographs.phases, "data.phase_names")
    sizes, size = allowed_sizes(micrographs.dimensions), config.network.size
    if size not in sizes:
        raise InputError(
            f"network.size: expected {', '.join(map(str, sizes[:-1]))} or {sizes[-1]} in {micrographs.dimensions}D, got {size}."
        )
    _check_edges(config, micrographs)
    batch, volumes = config.trainer.batch_size, config.trainer.volumes
    if not micrographs.judged:
        return
    if batch % volumes:
        raise InputError(f"trainer.batch_size: expected a multiple of trainer.volumes = {volumes}, got {batch}.")
    planes = size * min(map(len, micrographs.judged))
    if batch // volumes > planes:
        raise InputError(
            f"trainer.batch_size: expected at most {planes * volumes} for {volumes} volumes of {planes} sections each, got "
            f"{batch}; use more --trainer.volumes."
        )


def _check_edges(config: GanConfig, micrographs: Micrographs) -> None:
    """Raise where windows of the training size do not fit, and no other window was asked for."""
    size = config.network.size
    for (name, path), medium in zip(micrographs.files, micrographs.media, strict=True):
        shortest = min(medium.shape[-micrographs.crop_dimensions :])
        if config.data.window is None and shortest < size:
            what = "image" if len(medium.shape) == 2 else "volume"
            raise InputError(
                f"network.size: expected at most {shortest}, the shortest edge of '{path}' ({name}), got {size}; choose a "
                f"smaller --network.size, a larger {what}, or a --data.window to resize."
            )


def _value(config: GanConfig, name: str) -> float:
    section, key = name.split(".")
    value: float = getattr(getattr(config, section), key)
    return value
