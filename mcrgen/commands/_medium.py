"""What the options of ``mcrgen generate`` describe: labels as a field over the voxel grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._cells import check_cells
from mcrgen.commands._console import console
from mcrgen.commands._extent import Extent
from mcrgen.commands._fields import ANY, DEVIATIONS, FRACTIONS, Bounds, parse_field, parse_mask, with_axis
from mcrgen.commands._generators import LoadedGenerator, load_generator
from mcrgen.commands._region_source import ManyGenerators, open_map
from mcrgen.commands._regions import RegionSpec, parse_regions
from mcrgen.commands._smoothing import TYPICAL_SHAPE, Smoothing
from mcrgen.commands._sources import EMPTY, Inside, OneGenerator, Settled, Source, Store
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.generation.blocks import Block, Triple
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.noise import Noise, ScalarField
    from mcrgen.generation.team import Team

_SAME_SIZE = 0.01
_ROUNDING = 1e-7


@dataclass(frozen=True)
class Medium:
    """A source of labels and the output steps behind it.

    Attributes:
        source: where the labels come from.
        smoothing: filter of the labels, if there is one.
        inside: where the mask is not 0; None without a mask.
        outside: label of the other voxels; None for what the source makes there.
        aimed: whether the source aims at phase fractions of this very medium, so that they can be compared with its own.
        phase_fraction_field: the local fraction of the phase of interest that is aimed at; None for the same everywhere.
    """

    source: Source
    smoothing: Smoothing | None
    inside: Inside | None
    outside: int | None
    aimed: bool
    phase_fraction_field: ScalarField | None

    def memory(self, shape: Triple) -> int:
        """Bytes that a block takes to make, about."""
        return (self.smoothing or self.source).memory(shape)

    def settle(self, blocks: Sequence[Block], team: Team) -> Settled:
        """Choose all thresholds.

        Returns:
            Plain data with the fractions of all phases of the volume that are aimed at as ``fractions``, empty if none are.

        Raises:
            InputError: no voxel to choose them on is inside the mask.
        """
        share = self._share_inside(blocks, team)
        settled = self.source.settle(blocks, team)
        if self.smoothing:
            settled |= {"smoothing": self.smoothing.settle(settled, blocks, team)}
        return settled | {"fractions": self._of_the_volume(settled["fractions"], share) if self.aimed else []}

    def labels(self, settled: Settled, store: Store | None = None) -> BlockLabels:
        """The finished labels; ``store`` is given the scores of each block."""
        if self.smoothing:
            labels = self.smoothing.labels(settled, settled["smoothing"], store)
        else:
            labels = self.source.labels(settled, store)
        if self.inside is None or self.outside is None:
            return labels
        return _outside_labelled(labels, self.inside, self.outside)

    def _share_inside(self, blocks: Sequence[Block], team: Team) -> float:
        """Share of the volume that is inside the mask, where that matters."""
        if self.inside is None or not self.aimed:
            return 1.0
        import numpy as np

        found = sum((self.source.voxels(block) for block in team.share(blocks)), np.zeros(1, np.int64))
        share = float(team.total(found)[0]) / sum(prod(block.shape) for block in blocks)
        if not share:
            raise InputError(EMPTY)
        return share

    def _of_the_volume(self, fractions: Sequence[float], share: float) -> list[float]:
        """Fractions of all of the volume from those inside the mask."""
        if self.inside is None:
            return list(fractions)
        if self.outside is None:
            return []
        labels = range(max(len(fractions), 1 + self.outside))
        inside = [*fractions, *[0.0] * (len(labels) - len(fractions))]
        return [share * inside[label] + (1.0 - share) * (label == self.outside) for label in labels]


def open_medium(config: GenerateConfig, loaded: LoadedGenerator, extent: Extent, files: ExitStack) -> Medium:
    """Read everything that the options name.

    Args:
        config: the options, checked.
        loaded: the generator of the checkpoint.
        extent: which part of the field.
        files: keeps the files open for as long as the medium is in use.

    Raises:
        InputError: a file, a field, a mask or a region that is not what its option expects.
    """
    mask = None
    if config.mask is not None:
        mask = parse_mask(config.mask, config.mask_weights or None, extent.shape, extent.period, files)
    inside = None if mask is None else _where(mask)
    noise = _noise(config, mask, extent, files)
    plain = noise.mask is noise.mean is noise.deviation is None
    source: Source
    typical = fractions = None
    if config.regions is not None:
        source = _of_regions(config, config.regions, loaded, noise, extent, files, inside)
    else:
        fractions = _fractions(config, loaded, extent, files)
        wanted, exact = config.phase_fraction, config.exact
        source = OneGenerator(loaded, noise, extent, wanted, fractions, exact=exact, inside=inside)
        if plain and fractions is None and not exact:
            typical = _typical(loaded, wanted)
    smoothing = None
    if config.smoothing and len(source.values) > 1:
        smoothing = Smoothing(config.smoothing, source, extent.shape, typical, sampled=not config.exact)
    aimed = config.regions is None and (plain or config.exact)
    return Medium(source, smoothing, inside, config.outside, aimed, fractions)


def phase_fraction_text(config: GenerateConfig) -> str | None:
    """The phase fraction field as one text, its axis in it.

    Raises:
        InputError: the axis is missing, or out of place.
    """
    return with_axis("phase_fraction_field", config.phase_fraction_field, config.gradient_axis)


def _fractions(config: GenerateConfig, loaded: LoadedGenerator, extent: Extent, files: ExitStack) -> ScalarField | None:
    text = phase_fraction_text(config)
    if text is None:
        return None
    bounds = FRACTIONS if loaded.conditional is None else _within(*loaded.conditional.range)
    shape, period, stretched = extent.shape, extent.period, config.resample_field
    return parse_field("phase_fraction_field", text, shape, period, files, bounds=bounds, stretched=stretched)


def _within(low: float, high: float) -> Bounds:
    """Bounds that let the ends pass in single precision too, in which files have them."""
    return Bounds(low - _ROUNDING, high + _ROUNDING)


def _noise(config: GenerateConfig, mask: ScalarField | None, extent: Extent, files: ExitStack) -> Noise:
    from mcrgen.generation.fields import moved
    from mcrgen.generation.noise import Noise

    mean = _field("noise_mean", config.noise_mean, extent, files, ANY)
    deviation = _field("noise_deviation", config.noise_deviation, extent, files, DEVIATIONS)
    fields = [None if field is None else moved(field, extent.origin) for field in (mask, mean, deviation)]
    return Noise(config.seed, extent.period, *fields)


def _field(name: str, text: str | None, extent: Extent, files: ExitStack, bounds: Bounds) -> ScalarField | None:
    if text is None:
        return None
    return parse_field(name, text, extent.shape, extent.period, files, bounds=bounds)


def _typical(loaded: LoadedGenerator, phase_fraction: float | None) -> Source:
    """Some of the unlimited field that the thresholds are calibrated on."""
    from mcrgen.generation.calibration import CALIBRATION_SEED
    from mcrgen.generation.noise import APERIODIC, Noise

    extent = Extent((0, 0, 0), TYPICAL_SHAPE, APERIODIC)
    return OneGenerator(loaded, Noise(CALIBRATION_SEED), extent, phase_fraction, None, exact=False, inside=None)


def _of_regions(
    config: GenerateConfig,
    path: Path,
    loaded: LoadedGenerator,
    noise: Noise,
    extent: Extent,
    files: ExitStack,
    inside: Inside | None,
) -> Source:
    regions = open_map(path, extent, files)
    specs = _with_default(parse_regions(config.region), regions.values, config.checkpoint)
    known = {config.checkpoint: loaded}
    for spec in specs:
        if spec.checkpoint is not None and spec.checkpoint not in known:
            known[spec.checkpoint] = _load(spec.checkpoint, spec.value, loaded)
            check_cells(config, known[spec.checkpoint].generator, extent, spec.checkpoint)
    filled = [(spec, known[spec.checkpoint] if spec.checkpoint else None) for spec in specs]
    return ManyGenerators(regions, filled, noise, extent, transition=config.transition, inside=inside)


def _load(checkpoint: Path, value: int, main: LoadedGenerator) -> LoadedGenerator:
    """The generator of a region, on the device and in the arithmetic of the main one."""
    try:
        loaded = load_generator(checkpoint, str(main.device), main.precision)
    except InputError as error:
        raise InputError(f"region: {value}={checkpoint}: {error}") from error
    edge, other = main.record["voxel_size_um"], loaded.record["voxel_size_um"]
    if edge is not None and other is not None and not math.isclose(edge, other, rel_tol=_SAME_SIZE):
        console.print(
            f"warning: region: '{checkpoint}' was trained with voxels of {other:g} micrometres, the volume has {edge:g}; "
            "what it makes comes out at another scale.",
            style="yellow",
        )
    return loaded


def _with_default(specs: Sequence[RegionSpec], values: Sequence[int], checkpoint: Path) -> list[RegionSpec]:
    """The entries, and one with the main checkpoint for each region without."""
    given = {spec.value for spec in specs}
    return [*specs, *(RegionSpec(value, checkpoint, None) for value in values if value not in given)]


def _where(mask: ScalarField) -> Inside:
    """Where a mask is not 0, in the coordinates of the blocks."""
    from mcrgen.generation.fields import zero_in

    return lambda block: ~zero_in(mask, block)


def _outside_labelled(labels: BlockLabels, inside: Inside, label: int) -> BlockLabels:
    def found(block: Block) -> NDArray[np.uint8]:
        values = labels(block)
        values[~inside(block)] = label
        return values

    return found
