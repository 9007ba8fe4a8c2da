"""Options of ``mcrgen reconstruct`` that its other options leave without a use."""

from __future__ import annotations

from collections.abc import Iterable

from mcrgen import config as configuration
from mcrgen.commands._reconstruct_config import Method, Optimizer, ReconstructConfig, descriptor_names
from mcrgen.errors import InputError

_OF_DIFFERENTIABLE = (
    "descriptors.slices", "descriptors.multigrid", "descriptors.variation", "descriptors.vgg_weights",
    "descriptors.pattern_size", "descriptors.pattern_features", "descriptors.sum_weight",
    "optimization.optimizer", "optimization.learning_rate", "optimization.history", "optimization.max_steps",
    "optimization.coarse_steps", "optimization.levels", "optimization.slices_per_normal", "optimization.slices_per_batch",
    "optimization.tolerance", "optimization.patience", "record.", "smoothing",
)  # fmt: skip
_ON_CPU = ("auto", "cpu")


def check_unused(config: ReconstructConfig) -> None:
    """Raise on options that were set and would do nothing; those with their default values are not looked at.

    Raises:
        InputError: options of the other method or optimiser, or of a descriptor that is not matched; a GPU for annealing.
    """
    if config.method == Method.annealing:
        _refuse(config, _OF_DIFFERENTIABLE, "the method differentiable")
        if config.optimization.device not in _ON_CPU:
            raise InputError(
                f"optimization.device: expected auto or cpu with the method annealing, which swaps on the CPU, got "
                f"'{config.optimization.device}'; leave it out."
            )
        return
    _refuse(config, ("annealing.",), "--method annealing")
    if config.optimization.optimizer == Optimizer.adam:
        _refuse(config, ("optimization.history",), "the optimizer lbfgs")
    else:
        _refuse(config, ("optimization.learning_rate",), "the optimizer adam")
    names = descriptor_names(config)
    if "gram" not in names:
        _refuse(config, ("descriptors.vgg_weights",), "gram among the descriptors")
    if "patterns" not in names:
        _refuse(config, ("descriptors.pattern_",), "patterns among the descriptors")
    if "variation" not in names:
        _refuse(config, ("descriptors.variation",), "variation among the descriptors")
    if not config.record.monitor_every:
        _refuse(config, ("record.monitor_size",), "--record.monitor-every")


def refuse_pictures(config: ReconstructConfig) -> None:
    """Raise on options that compare with an image where there is a table only.

    Raises:
        InputError: options of previews or of the monitor.
    """
    _refuse(config, ("record.preview_every", "record.monitor_"), "an image as the source")


def _refuse(config: ReconstructConfig, keys: Iterable[str], use: str) -> None:
    """Raise on options whose names begin so."""
    usual = configuration.to_plain(ReconstructConfig(paths=config.paths, size=config.size))
    found = [key for key in configuration.differences(config, usual) if key.startswith(tuple(keys))]
    if found:
        raise InputError(f"{', '.join(found)}: expected with {use} only; leave {'it' if len(found) == 1 else 'them'} out.")
