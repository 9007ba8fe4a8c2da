"""What ``mcrgen reconstruct`` checks before any work."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._reconstruct_config import Method, Optimizer, ReconstructConfig, Variation, descriptor_names
from mcrgen.commands._reconstruct_limit import FEWEST_LAGS
from mcrgen.commands._reconstruct_unused import check_unused, refuse_pictures
from mcrgen.commands._statistics import Statistics
from mcrgen.commands._targets import ANNEALED, CORRELATIONS, KNOWN, SMALLEST_GRAM, chosen_names
from mcrgen.errors import InputError, near_name, require_fraction, require_positive, require_seed

if TYPE_CHECKING:
    from mcrgen.commands._exemplars import Exemplars

_IMAGE, _VOLUME = 2, 3
_PAIRS = ("s2_diagonal", "s2_map")


def check_options(config: ReconstructConfig) -> None:
    """Raise on options that are wrong whatever the source.

    Raises:
        InputError: a number out of its range, an unknown descriptor, a weight without its descriptor, a size that the limit or
            the Gram matrices do not fit, an option that would do nothing.
    """
    require_seed(config.seed)
    if len(config.size) not in (_IMAGE, _VOLUME) or min(config.size, default=0) < 1:
        got = " ".join(map(str, config.size)) or "nothing"
        raise InputError(f"size: expected two or three numbers of voxels, such as 64 64 64, got {got}.")
    _check_numbers(config)
    if config.smoothing is not None:
        require_positive("smoothing", config.smoothing)
    if config.phase_fraction is not None:
        require_fraction("phase_fraction", config.phase_fraction)
    if config.optimization.slices_per_normal is not None and config.optimization.optimizer == Optimizer.lbfgs:
        raise InputError(
            "optimization.slices_per_normal: expected with the optimizer adam, since lbfgs needs the same loss in every step; "
            "add --optimization.optimizer adam or leave it out."
        )
    _check_descriptors(config)
    check_unused(config)
    window = config.record.monitor_size
    if config.record.monitor_every and window is not None and window > min(config.size):
        raise InputError(
            f"record.monitor_size: expected {min(config.size)} or less, the shortest edge of the medium, got {window}."
        )


def _check_numbers(config: ReconstructConfig) -> None:
    """Numbers above zero, and those that may be zero."""
    for section, names in {
        "descriptors": ("limit", "pattern_size", "pattern_features"),
        "optimization": (
            "learning_rate", "history", "max_steps", "coarse_steps", "slices_per_normal", "slices_per_batch", "patience",
            "restarts",
        ),
        "record": ("checkpoint_every", "preview_every", "monitor_size"),
    }.items():  # fmt: skip
        for name in names:
            value = getattr(getattr(config, section), name)
            if value is not None:
                require_positive(f"{section}.{name}", value)
    for name, value in {
        "optimization.levels": config.optimization.levels,
        "optimization.tolerance": config.optimization.tolerance,
        "record.monitor_every": config.record.monitor_every,
        "descriptors.sum_weight": config.descriptors.sum_weight,
    }.items():
        if value < 0:
            raise InputError(f"{name}: expected 0 or more, got {value}.")


def _check_descriptors(config: ReconstructConfig) -> None:
    names = descriptor_names(config)
    all_known = ANNEALED if config.method == Method.annealing else KNOWN
    for given, name in zip(config.descriptors.names, names, strict=False):
        if name not in all_known:
            known = [n.replace("_", "-") for n in all_known]
            advice = near_name(given, known) or "; leave it out"
            raise InputError(f"descriptors.names: expected any of {', '.join(known)}, got '{given}'{advice}.")
    for field in fields(config.descriptors.weights):
        weight = getattr(config.descriptors.weights, field.name)
        if weight is None:
            continue
        require_positive(f"descriptors.weights.{field.name}", weight)
        if field.name not in names:
            raise InputError(
                f"descriptors.weights.{field.name}: expected weights of {', '.join(names).replace('_', '-')} only; add "
                f"{field.name.replace('_', '-')} to --descriptors.names or leave its weight out."
            )
    shortest, limit = min(config.size), config.descriptors.limit
    if "s2_map" in names and len(config.size) == _VOLUME:
        raise InputError(
            "descriptors.names: expected s2-map for an image only, as sections do not tell all lags of a volume; use s2 and "
            "s2-diagonal."
        )
    if any(name in (*CORRELATIONS, *ANNEALED) for name in names):
        _check_limit(shortest, limit)
    if "gram" in names and shortest < SMALLEST_GRAM:
        raise InputError(
            f"size: expected {SMALLEST_GRAM} voxels or more along each edge for Gram matrices, got {shortest}; make the medium "
            "larger or leave gram out."
        )
    if "patterns" in names and config.descriptors.pattern_size > shortest // 2:
        raise InputError(
            f"descriptors.pattern_size: expected at most {shortest // 2}, half the shortest edge of the medium, got "
            f"{config.descriptors.pattern_size}; use smaller patterns or a larger --size."
        )


def _check_limit(shortest: int, limit: int | None) -> None:
    """Whether the medium has room for the limit, or for the least that is chosen where none is given."""
    if limit is None:
        if shortest < 2 * FEWEST_LAGS:
            raise InputError(
                f"size: expected {2 * FEWEST_LAGS} voxels or more along each edge for correlations, got {shortest}; make the "
                "medium larger."
            )
    elif not 1 <= limit <= shortest // 2:
        raise InputError(
            f"descriptors.limit: expected 1 to {shortest // 2}, half the shortest edge of the medium, got {limit}; "
            f"use a larger --size or --descriptors.limit {shortest // 2}."
        )


def check_exemplars(config: ReconstructConfig, exemplars: Exemplars) -> None:
    """Raise on images that the options do not fit.

    Raises:
        InputError: images smaller than twice the limit, or than Gram matrices need; a phase too rare for a medium of this size.
    """
    rarest, voxels = float(exemplars.fractions.min()), math.prod(config.size)
    if rarest * voxels < 1.0:
        raise InputError(
            f"size: expected {math.ceil(1.0 / rarest)} voxels or more for one of the rarest phase, got {voxels}; make the "
            "medium larger."
        )
    needed, smaller = _pixels_needed(config)
    for (option, path), labels in zip(exemplars.files, exemplars.media, strict=True):
        if min(labels.shape) < needed:
            raise InputError(
                f"{option}: expected at least {needed} pixels along each edge for these descriptors, '{path}' has "
                f"{' x '.join(map(str, labels.shape))}; use a larger image{smaller}."
            )


def _pixels_needed(config: ReconstructConfig) -> tuple[int, str]:
    """Fewest pixels along an edge of an image, and what to make smaller instead where that is possible."""
    names, limit, patterns = chosen_names(config), config.descriptors.limit, config.descriptors.pattern_size
    needs = [(2, "")]
    if any(name in (*CORRELATIONS, *_PAIRS) for name in names):
        needs.append((2 * FEWEST_LAGS, "") if limit is None else (2 * limit, " or a smaller --descriptors.limit"))
    if "gram" in names:
        needs.append((SMALLEST_GRAM, ""))
    if "patterns" in names:
        needs.append((2 * patterns, " or a smaller --descriptors.pattern-size"))
    return max(needs)


def check_table(config: ReconstructConfig, table: Statistics) -> None:
    """Raise on a table that lacks what is to be matched.

    Raises:
        InputError: a descriptor that is not in it, a curve that ends before the limit, or pictures to compare with an image.
    """
    refuse_pictures(config)
    limit = config.descriptors.limit
    there = [*table.curves, *(["variation"] if table.interface_density else []), "phase_fraction"]
    advice = "leave it out" if config.descriptors.names else "choose by --descriptors.names"
    for name in descriptor_names(config):
        minimised = name == "variation" and config.descriptors.variation == Variation.minimised
        if name not in there and not minimised:
            raise InputError(
                f"descriptors.names: expected any of {', '.join(n.replace('_', '-') for n in there)}, which '{table.path}' "
                f"holds, got {name.replace('_', '-')}; {advice} or give the image."
            )
        for values in table.curves.get(name, {}).values():
            if limit is None and len(values) < FEWEST_LAGS:
                raise InputError(
                    f"source: expected {FEWEST_LAGS} lags or more of {name.replace('_', '-')}, '{table.path}' has "
                    f"{len(values)}; measure more of them."
                )
            if limit is not None and len(values) < limit:
                raise InputError(
                    f"descriptors.limit: expected {len(values)} or less, as '{table.path}' has lags up to "
                    f"{len(values) - 1}, got {limit}."
                )


def check_output(config: ReconstructConfig, path: Path, *, overwrite: bool) -> None:
    """Raise unless the medium can be written there.

    Raises:
        InputError: a suffix for another kind of medium, or a name that is taken.
    """
    from mcrgen.errors import require_output_file
    from mcrgen.io.volume_output import require_volume_output

    if len(config.size) == _VOLUME:
        require_volume_output(path, overwrite=overwrite)
        return
    if path.suffix.lower() not in (".tif", ".tiff", ".png", ".bmp", ".npy"):
        raise InputError(f"output: expected a name ending in .tif, .tiff, .png, .bmp or .npy for an image, got '{path}'.")
    require_output_file("output", path, overwrite=overwrite)
