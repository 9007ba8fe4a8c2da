"""What ``mcrgen reconstruct`` matches: descriptors of images, or tables of them, for each level and section normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._reconstruct_config import ReconstructConfig, Variation, descriptor_names
from mcrgen.commands._statistics import Statistics

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from mcrgen.losses.slice_descriptors import Parts
    from mcrgen.losses.slice_matching import SliceTarget
    from mcrgen.networks.vgg import Padding

CORRELATIONS = ("s2", "s3", "lineal_path")
SMALLEST_GRAM = 16
KNOWN = (*CORRELATIONS, "gram", "patterns", "variation", "phase_fraction")
ANNEALED = ("s2", "s2_diagonal", "s2_map", "lineal_path", "p3h", "p3v", "p4", "p6")

_AXES = "zyx"
_IMAGE = 2
_SHUFFLE_SEED = 0

Targets = dict[str, list[dict[int, "SliceTarget"]]]
"""Name of a descriptor -> by level, 0 the finest -> by section normal."""


@dataclass(frozen=True)
class Goal:
    """What a medium should be.

    Attributes:
        targets: what its slices are held to.
        fractions: fraction of each phase.
        phase: index of the phase of interest.
        voxel_size_um: edge length of a voxel, or None.
    """

    targets: Targets
    fractions: tuple[float, ...]
    phase: int
    voxel_size_um: float | None

    @property
    def channels(self) -> int:
        """Indicators per voxel: 1 for two phases."""
        return 1 if len(self.fractions) == 2 else len(self.fractions)

    @property
    def channel_fractions(self) -> tuple[float, ...]:
        """Mean of each indicator."""
        return (self.fractions[self.phase],) if self.channels == 1 else self.fractions

    def to(self, device: torch.device) -> Goal:
        """The same on another device."""
        targets = {
            name: [{normal: target.to(device) for normal, target in of_level.items()} for of_level in levels]
            for name, levels in self.targets.items()
        }
        return replace(self, targets=targets)

    def towards(self, other: Goal, share: float) -> Goal:
        """A goal ``share`` of the way to another in the space of descriptors, on the levels that both have."""
        targets = {
            name: [
                {normal: target.interpolated(there[normal], share) for normal, target in here.items()}
                for here, there in zip(levels, other.targets[name], strict=False)
            ]
            for name, levels in self.targets.items()
        }
        pairs = zip(self.fractions, other.fractions, strict=True)
        return replace(self, targets=targets, fractions=tuple((1.0 - share) * a + share * b for a, b in pairs))


def chosen_names(config: ReconstructConfig) -> list[str]:
    """Descriptors of slices to match, underscores in their names."""
    matched = [name for name in descriptor_names(config) if name != "phase_fraction"]
    return [name for name in matched if name != "variation" or config.descriptors.variation == Variation.matched]


def descriptor_parts(
    config: ReconstructConfig, channels: int, *, periodic: bool, curves: bool = False, device: torch.device | None = None
) -> dict[str, Parts]:
    """The functions behind the names.

    Args:
        config: the options.
        channels: indicators per voxel.
        periodic: wrap around.
        curves: take S2 along the axes only, as tables have it.
        device: where the slices will be; the CPU if None.

    Raises:
        InputError: a file that holds no weights of VGG-19.
    """
    import torch

    from mcrgen.descriptors.pattern_characteristic import pattern_frequencies
    from mcrgen.losses.slice_descriptors import Correlations, gram, patterns

    settings = config.descriptors
    at = Correlations(settings.lags, _ALL_LEVELS if settings.multigrid else 1, periodic)
    known: dict[str, Parts] = {
        "s2": at.two_point_curves if curves else at.two_point,
        "s3": at.three_point,
        "lineal_path": at.lineal_path,
        "variation": at.variation,
    }
    if "gram" in chosen_names(config):
        # Of a medium that wraps around, an image that does not is shown so too: zeros at its edges would be seen as a phase.
        padding: Padding = "periodic" if periodic or config.periodic else "zero"
        known["gram"] = gram(_features(settings.vgg_weights, padding).to(device or "cpu"))
    if "patterns" in chosen_names(config):
        generator = torch.Generator().manual_seed(config.seed)
        waves = pattern_frequencies(settings.pattern_features, channels, settings.pattern_size, generator)
        known["patterns"] = patterns(waves.to(device or "cpu"), periodic=periodic)
    return {name: known[name] for name in chosen_names(config)}


_ALL_LEVELS = 64


@lru_cache(maxsize=2)
def _features(weights: str, padding: Padding) -> nn.Module:
    """The network of Gram matrices, which targets, reconstruction and errors share."""
    from mcrgen.networks.vgg_weights import load_vgg

    return load_vgg(weights, padding=padding, name="descriptors.vgg_weights")


def level_count(config: ReconstructConfig, images: Sequence[tuple[int, ...]]) -> int:
    """Levels from coarse to fine: as many as asked for, or as fit the medium and the images.

    Args:
        config: the options.
        images: shapes of the images.
    """
    from mcrgen.reconstruction.levels import coarsest_level

    if config.start is not None:
        return 1
    names, smallest = chosen_names(config), 2
    if any(name in CORRELATIONS for name in names):
        smallest = 2 * config.descriptors.lags
    if "gram" in names:
        smallest = max(smallest, SMALLEST_GRAM)
    if "patterns" in names:
        smallest = max(smallest, 2 * config.descriptors.pattern_size)
    most = 1 + coarsest_level(config.size, smallest)
    while most > 1 and any(n >> (most - 1) < smallest for shape in images for n in shape):
        most -= 1
    return min(most, config.optimization.levels or most)


def goal_of_images(config: ReconstructConfig, exemplars: Exemplars) -> Goal:
    """Measure images."""
    from mcrgen.losses.slice_descriptors import coarsened
    from mcrgen.losses.slice_matching import SliceTarget

    levels = level_count(config, [section.shape for sections in exemplars.sections for section in sections])
    measured: dict[tuple[int, str], list[Tensor]] = {}
    parts = descriptor_parts(config, exemplars.phases.channels, periodic=config.exemplar_periodic)
    targets: Targets = {name: [{} for _ in range(levels)] for name in parts}
    found: dict[tuple[int, str, int, str], SliceTarget] = {}
    for normal, sections, symmetry in zip(exemplars.normals, exemplars.sections, exemplars.symmetries, strict=True):
        flat = len(config.size) == _IMAGE
        if flat and normal != exemplars.normals[0]:
            break
        key = id(sections), symmetry.value
        if key not in measured:
            measured[key] = _images(exemplars, sections, symmetry.value)
        for name, descriptor in parts.items():
            for level in range(levels):
                if (*key, level, name) not in found:
                    images = [coarsened(image, level) for image in measured[key]]
                    found[*key, level, name] = SliceTarget.measure(descriptor, images, _SHUFFLE_SEED)
                targets[name][level][0 if flat else normal] = found[*key, level, name]
    return Goal(targets, tuple(exemplars.fractions.tolist()), exemplars.phases.phase, exemplars.voxel_size_um)


def _images(exemplars: Exemplars, sections: Sequence[NDArray[np.uint8]], symmetry: str) -> list[Tensor]:
    """Indicators ``(1, C, H, W)`` of all sections, turned in all ways of their symmetry."""
    import torch

    from mcrgen.data.symmetry import ELEMENTS, Symmetry, turn
    from mcrgen.io.phases import indicators

    images = [torch.from_numpy(indicators(section, exemplars.phases))[None] for section in sections]
    return [turn(image, element) for image in images for element in ELEMENTS[Symmetry(symmetry)]]


def goal_of_table(config: ReconstructConfig, table: Statistics) -> Goal:
    """Targets from curves.

    On a coarse level the medium stands for every second, fourth, ... voxel of the finished one, whose S2 and variation follow
    from S2 at every second, fourth, ... lag. Lineal paths at these lags are those of the finished medium: too small, since what
    lies between the voxels is not looked at, but near enough for a start of the next level.
    """
    from mcrgen.losses.slice_matching import SliceTarget

    dimensions, names = len(config.size), chosen_names(config)
    axes = _AXES[-dimensions:] if table.covers(dimensions) else "---"[:dimensions]
    structureless = _without_structure(table.fraction, config.descriptors.lags)
    levels = _table_levels(config, table)
    targets: Targets = {name: [{} for _ in range(levels)] for name in names}
    for normal in range(1 if dimensions == 2 else 3):
        along = [axis for place, axis in enumerate(axes) if dimensions == 2 or place != normal]
        for name in names:
            for level in range(levels):
                wanted = _of_table(table, name, along, level, config.descriptors.lags)
                targets[name][level][normal] = SliceTarget.between([wanted], [structureless[name].expand(wanted.shape)])
    fractions = (1.0 - table.fraction, table.fraction) if table.phase else (table.fraction, 1.0 - table.fraction)
    return Goal(targets, fractions, table.phase, table.voxel_size_um)


def _without_structure(fraction: float, limit: int) -> dict[str, Tensor]:
    """Descriptors of independent voxels."""
    import torch

    lags = torch.arange(limit)
    return {
        "s2": torch.where(lags == 0, fraction, fraction**2),
        "lineal_path": fraction ** (lags + 1.0),
        "variation": torch.tensor(4.0 * fraction * (1.0 - fraction)),
    }


def _of_table(table: Statistics, name: str, along: Sequence[str], level: int, limit: int) -> Tensor:
    """A descriptor of sections whose rows and columns run along two axes, ``(1, 2, limit)``, or ``(1,)`` of the variation."""
    import torch

    step = 2**level
    if name != "variation":
        return torch.tensor([table.along(name, axis)[::step][:limit] for axis in along])[None]
    if level == 0:
        return torch.tensor([sum(table.density(axis) for axis in along)])
    return torch.tensor([sum(2.0 * (table.fraction - table.along("s2", axis)[step]) for axis in along)])


def _table_levels(config: ReconstructConfig, table: Statistics) -> int:
    """As many levels as fit the medium, and the lags that the table has."""
    names, levels = chosen_names(config), level_count(config, [])
    curves = [table.curves[name] for name in (*names, "s2") if name in table.curves]
    longest = min(len(values) for curve in curves for values in curve.values())
    while levels > 1 and (config.descriptors.lags - 1) << (levels - 1) >= longest:
        levels -= 1
    return levels if "s2" in table.curves or "variation" not in names else 1
