"""What the options of ``mcrgen generate`` describe: labels as a field over the voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._extent import Extent
from mcrgen.commands._fields import ANY, DEVIATIONS, FRACTIONS, Bounds, parse_field, parse_mask
from mcrgen.commands._generators import LoadedGenerator, load_generator
from mcrgen.commands._regions import RegionSpec, parse_regions
from mcrgen.commands._sources import ManyGenerators, OneGenerator, Settled, Source, Store, open_map
from mcrgen.errors import InputError, require_positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.generation.blocks import Block, Triple
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.noise import Noise, ScalarField
    from mcrgen.generation.team import Team

_SAMPLE_EDGE, _SAMPLE_COUNT, _SAMPLE_SEED = 64, 16, 0
_LARGEST_LABEL = 255


@dataclass(frozen=True)
class Medium:
    """A source of labels and the output steps behind it.

    Attributes:
        source: where the labels come from.
        shape: (D, H, W) of the volume in voxels.
        smoothing: standard deviation of a Gaussian filter of the labels, in voxels; 0 for none.
        sampled: choose the threshold behind that filter on a sample of the volume, not on all of it.
        mask: spatial location mask, if there is one.
        outside: label of the voxels where that is 0; None for what the source makes there.
    """

    source: Source
    shape: Triple
    smoothing: float
    sampled: bool
    mask: ScalarField | None
    outside: int | None

    @property
    def radius(self) -> int:
        """Voxels around a block that its labels depend on, beside the network's halo."""
        from mcrgen.generation.separable import gaussian_taps

        return len(gaussian_taps(self.smoothing)) // 2 if self.smoothing else 0

    def memory(self, shape: Triple) -> int:
        """Bytes that a block takes to make, about."""
        z, y, x = (length + 2 * self.radius for length in shape)
        filters = 16 * self.source.phases * z * y * x if self.smoothing else 0
        return self.source.memory((z, y, x)) + filters

    def settle(self, blocks: Sequence[Block], team: Team) -> Settled:
        """Choose all thresholds."""
        settled = self.source.settle(blocks, team)
        if not self.smoothing:
            return settled
        from mcrgen.generation.smoothing import fraction_preserving_bias, sample_blocks, smoothed

        source = self.source
        labels = source.labels(settled)
        scores = smoothed(labels, phases=source.phases, phase=source.phase, sigma=self.smoothing)
        sample = sample_blocks(self.shape, _SAMPLE_EDGE, _SAMPLE_COUNT, _SAMPLE_SEED) if self.sampled else blocks
        bias = fraction_preserving_bias(labels, scores, sample, phases=source.phases, phase=source.phase, team=team)
        return settled | {"smoothing": list(bias)}

    def labels(self, settled: Settled, store: Store | None = None) -> BlockLabels:
        """The finished labels; ``store`` is given the scores of each block."""
        from mcrgen.generation.labels import classified
        from mcrgen.generation.smoothing import smoothed

        labels, source = self.source.labels(settled, store), self.source
        if self.smoothing:
            scores = smoothed(labels, phases=source.phases, phase=source.phase, sigma=self.smoothing)
            labels = classified(scores, settled["smoothing"], source.phase)
        if self.mask is None or self.outside is None:
            return labels
        return _outside_labelled(labels, self.mask, self.outside)


def open_medium(config: GenerateConfig, loaded: LoadedGenerator, extent: Extent, files: ExitStack) -> Medium:
    """Read everything that the options name.

    Args:
        config: the options.
        loaded: the generator of the checkpoint.
        extent: which part of the field.
        files: keeps the files open for as long as the medium is in use.

    Raises:
        InputError: a file, a field, a mask or a region that is not what its option expects, options that exclude each other.
    """
    check_options(config)
    mask = None
    if config.mask is not None:
        mask = parse_mask(config.mask, config.mask_weights or None, extent.shape, extent.period, files)
    noise = _noise(config, mask, extent, files)
    source: Source
    if config.regions is not None:
        regions = open_map(config.regions, extent, files)
        specs = _with_default(parse_regions(config.region), regions.values, config.checkpoint)
        known = {config.checkpoint: loaded}
        for spec in specs:
            if spec.checkpoint is not None and spec.checkpoint not in known:
                known[spec.checkpoint] = load_generator(spec.checkpoint, str(loaded.device), loaded.precision)
        filled = [(spec, known[spec.checkpoint] if spec.checkpoint else None) for spec in specs]
        source = ManyGenerators(regions, filled, noise, extent, transition=config.transition)
    else:
        field = _field("fraction_field", config.fraction_field, extent, files, FRACTIONS)
        source = OneGenerator(
            loaded, noise, extent, phase_fraction=config.phase_fraction, fraction_field=field, exact=config.exact
        )
    return Medium(source, extent.shape, config.smoothing, not config.exact, mask, config.outside)


def check_options(config: GenerateConfig) -> None:
    """Raise where options exclude or need each other, before any file is read.

    Raises:
        InputError: two that do.
    """
    if config.regions is not None:
        alone = {"phase_fraction": config.phase_fraction, "fraction_field": config.fraction_field}
        alone |= {"exact": config.exact or None, "keep_scores": config.keep_scores or None}
        for name in (name for name, value in alone.items() if value is not None):
            raise InputError(f"{name}: expected with one generator, not with one for each region; leave one of the two out.")
    elif config.region or config.transition:
        raise InputError("regions: expected a map beside --region and --transition, got none; add --regions MAP.")
    if config.fraction_field is not None and config.phase_fraction is not None:
        raise InputError("fraction_field: expected without a phase fraction, which it replaces; leave one of the two out.")
    if config.smoothing and config.keep_scores:
        raise InputError("keep_scores: expected without smoothing, whose labels are not those of the scores; leave one out.")
    if config.smoothing:
        require_positive("smoothing", config.smoothing)
    if config.transition:
        require_positive("transition", config.transition)
    if config.mask is None and (config.mask_weights or config.outside is not None):
        raise InputError("mask: expected a file beside --mask-weights and --outside, got none; add --mask FILE.")
    if config.outside is not None and not 0 <= config.outside <= _LARGEST_LABEL:
        raise InputError(f"outside: expected a label from 0 to {_LARGEST_LABEL}, got {config.outside}.")


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


def _with_default(specs: Sequence[RegionSpec], values: Sequence[int], checkpoint: Path) -> list[RegionSpec]:
    """The entries, and one with the main checkpoint for each region without."""
    given = {spec.value for spec in specs}
    return [*specs, *(RegionSpec(value, checkpoint, None) for value in values if value not in given)]


def _outside_labelled(labels: BlockLabels, mask: ScalarField, label: int) -> BlockLabels:
    from mcrgen.generation.fields import zero_in

    def found(block: Block) -> NDArray[np.uint8]:
        values = labels(block)
        values[zero_in(mask, block)] = label
        return values

    return found
