"""Labels from several generators by a map of regions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._extent import Extent
from mcrgen.commands._generators import LoadedGenerator
from mcrgen.commands._regions import RegionSpec, check_map_values
from mcrgen.commands._sources import Inside, Settled, Source, Store, block_scores
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mcrgen.generation.blocks import Block, Triple
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.noise import Noise, ScalarField
    from mcrgen.generation.regions import Region
    from mcrgen.generation.team import Team


@dataclass(frozen=True)
class RegionMapFile:
    """The regions of a volume.

    Attributes:
        values: of the regions in the map, ascending.
        indices: number of the region of each voxel of a box, counted from 0 in the order of their values.
    """

    values: tuple[int, ...]
    indices: ScalarField


def open_map(path: Path, extent: Extent, files: ExitStack) -> RegionMapFile:
    """Open a map of regions, stretched to a volume.

    Raises:
        InputError: not a 3D volume of labels.
    """
    import numpy as np

    from mcrgen.generation.fields import resampled
    from mcrgen.io.label_files import LabelFile

    file = files.enter_context(LabelFile(path, "regions", phase=None, phase_name="regions"))
    if len(file.shape) != 3:
        raise InputError(f"regions: expected a 3D volume, '{path}' has the shape {file.shape}.")

    def read(box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        return file.part(box).astype(np.float32)

    d, h, w = file.shape
    return RegionMapFile(file.phases.values, resampled(read, (d, h, w), extent.shape, extent.period, order=0))


class ManyGenerators(Source):
    """A medium with a generator, or a label, for each region of a map."""

    def __init__(
        self,
        regions: RegionMapFile,
        filled: Sequence[tuple[RegionSpec, LoadedGenerator | None]],
        noise: Noise,
        extent: Extent,
        *,
        transition: float,
        inside: Inside | None,
    ) -> None:
        """Nothing is computed yet.

        Raises:
            InputError: the entries are not those of the map, or name more or fewer labels than a generator has phases.
        """
        super().__init__(inside)
        check_map_values([spec for spec, _ in filled], regions.values)
        self._map = regions.indices
        self._filled = sorted(filled, key=lambda entry: entry[0].value)
        self._noise = noise
        self._extent = extent
        self._transition = transition
        self._output = [
            (spec.labels or (0,)) if loaded is None else spec.phase_labels(len(loaded.fractions(None)))
            for spec, loaded in self._filled
        ]
        self.values = tuple(sorted({label for labels in self._output for label in labels}))
        self.phase = self.values[-1]
        self.parts = len(self._output)

    @property
    def contents(self) -> list[dict[str, Any]]:
        """Each region's value in the map, labels and, of a generator, phases and configuration of its training."""
        return [
            {"value": spec.value, "labels": list(labels)}
            | ({} if loaded is None else {"phases": loaded.record["phases"], "training": loaded.record["config"]})
            for (spec, loaded), labels in zip(self._filled, self._output, strict=True)
        ]

    def settle(self, blocks: Sequence[Block], team: Team) -> Settled:
        """Choose each generator's bias and, for transitions, the unit of its scores."""
        found = [self._threshold(loaded) if loaded and team.leads else None for _, loaded in self._filled]
        return {"regions": team.told(found), "fractions": []}

    def labels(self, settled: Settled, store: Store | None = None) -> BlockLabels:
        """The labels of each voxel's region."""
        from mcrgen.generation.regions import GeneratedRegion, UniformRegion, regions_labels

        regions: list[Region] = []
        for (_, loaded), labels, threshold in zip(self._filled, self._output, settled["regions"], strict=True):
            if loaded is None:
                regions.append(UniformRegion(labels[0]))
                continue
            bias, scale = threshold
            scores = block_scores(loaded, self._noise, self._extent.origin)
            regions.append(GeneratedRegion(scores, tuple(bias), loaded.phase, tuple(labels), scale))

        return regions_labels(regions, self._region_of, transition=self._transition)

    def voxels(self, block: Block) -> NDArray[np.int64]:
        """How many voxels of each region count in a block."""
        import numpy as np

        return np.bincount(self.counted(block, self._region_of(block.start, block.shape)).ravel(), minlength=self.parts)

    def memory(self, shape: Triple) -> int:
        """Bytes of the largest network for a block, and of the weights of a transition."""
        from mcrgen.generation.separable import box_taps

        generators = [loaded.generator for _, loaded in self._filled if loaded]
        around = prod(length + len(box_taps(self._transition)) - 1 for length in shape)
        return max((generator.memory(shape) for generator in generators), default=0) + 16 * around

    def _region_of(self, origin: Triple, shape: Triple) -> NDArray[np.uint8]:
        return self._map(origin, shape).astype("uint8")

    def _threshold(self, loaded: LoadedGenerator) -> list[Any]:
        scale = float(loaded.calibration_scores().std()) if self._transition > 1 else 1.0
        return [list(loaded.calibration(None).bias), scale]
