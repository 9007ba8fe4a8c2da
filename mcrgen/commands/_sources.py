"""Where the labels of a volume come from: of what kind it is, and the one of a single generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from mcrgen.commands._console import progress_bar
from mcrgen.commands._extent import Extent
from mcrgen.commands._generators import LoadedGenerator
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.generation.blocks import Block, BlockScores, Triple
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.noise import Noise, ScalarField
    from mcrgen.generation.team import Team

Settled = dict[str, Any]
"""What is settled before any block is made, as plain data; the same in every process, and kept by a run that goes on."""
Store = Callable[["Block", "Tensor"], None]
Inside = Callable[["Block"], "NDArray[np.bool_]"]
"""Which voxels of a block count towards the phase fractions."""

Array = TypeVar("Array", "NDArray[Any]", "Tensor")

EMPTY = "mask: expected some voxels of the volume where it is not 0, got none; make what it leaves open larger."

_KEPT_SHARE = 0.25
_MEAN_EDGE = 128


class Source(ABC):
    """Makes the labels of any block.

    Attributes:
        values: the labels that may occur, ascending.
        phase: the one of interest.
        parts: number of regions.
    """

    values: tuple[int, ...]
    phase: int
    parts: int = 1

    def __init__(self, inside: Inside | None) -> None:
        """Where voxels count towards the phase fractions; None for everywhere."""
        self._inside = inside

    @property
    def contents(self) -> list[dict[str, Any]]:
        """What fills the regions as plain data, where there are several."""
        return []

    @property
    def phases(self) -> int:
        """Number of labels, those between them included that do not occur."""
        return 1 + self.values[-1]

    def counted(self, block: Block, values: Array) -> Array:
        """Of an array or a tensor ``(..., *block.shape)``, what counts towards the phase fractions, ``(..., N)``."""
        if self._inside is None:
            return values
        import numpy as np
        import torch

        inside = self._inside(block)
        return values[..., inside if isinstance(values, np.ndarray) else torch.from_numpy(inside).to(values.device)]

    def voxels(self, block: Block) -> NDArray[np.int64]:
        """How many such voxels of each region a block has."""
        import numpy as np

        return np.array([prod(block.shape) if self._inside is None else self._inside(block).sum()])

    @abstractmethod
    def settle(self, blocks: Sequence[Block], team: Team) -> Settled:
        """Choose thresholds.

        Returns:
            Plain data with the phase fractions aimed at as ``fractions``, empty if there are none.
        """

    @abstractmethod
    def labels(self, settled: Settled, store: Store | None = None) -> BlockLabels:
        """The labels with these thresholds; ``store`` is given the scores of each block."""

    @abstractmethod
    def memory(self, shape: Triple) -> int:
        """Bytes that the labels of a block take to make, about."""


def block_scores(loaded: LoadedGenerator, noise: Noise, origin: Triple) -> BlockScores:
    """Scores of blocks that are counted from ``origin``."""

    def scores(block: Block) -> Tensor:
        return loaded.generator.scores(noise, block.moved(origin).start, block.shape)

    return scores


class OneGenerator(Source):
    """A medium of one generator, its phase fraction trained, asked for, exact, or a field."""

    def __init__(
        self,
        loaded: LoadedGenerator,
        noise: Noise,
        extent: Extent,
        phase_fraction: float | None,
        phase_fraction_field: ScalarField | None,
        *,
        exact: bool,
        inside: Inside | None,
    ) -> None:
        """Nothing is computed yet.

        Raises:
            InputError: a fraction field for a generator of more than two phases.
        """
        from mcrgen.generation.fields import moved

        super().__init__(inside)
        self.phase = loaded.phase
        self.values = tuple(range(len(loaded.fractions(None))))
        if phase_fraction_field is not None and self.phases > 2:
            raise InputError(
                f"phase_fraction_field: expected a generator of two phases, this one has {self.phases}; leave it out."
            )
        self._loaded = loaded
        self._extent = extent
        self._wanted = phase_fraction
        self._field = phase_fraction_field
        self._exact = exact
        if phase_fraction_field is not None and loaded.conditional is not None:
            self._loaded = loaded.over(moved(phase_fraction_field, extent.origin))
        self._network = block_scores(self._loaded, noise, extent.origin)
        self._adjusted: BlockScores | None = None

    def settle(self, blocks: Sequence[Block], team: Team) -> Settled:
        """Choose the bias: the calibrated one or, by a first pass over this very volume, the exact one.

        Raises:
            InputError: no voxel to follow a phase fraction field in is inside the mask.
        """
        fractions = team.told(self._targets() if team.leads else ())
        if not fractions:
            raise InputError(EMPTY)
        if self._exact:
            bias = self._exact_bias(blocks, fractions, team)
        elif self._field is not None:
            bias = (0.0,)
        else:
            bias = team.told(self._loaded.calibration(self._wanted).bias if team.leads else ())
        return {"bias": list(bias), "fractions": list(fractions)}

    def labels(self, settled: Settled, store: Store | None = None) -> BlockLabels:
        """The labels where score plus bias is largest, or positive."""
        from mcrgen.generation.labels import classified

        found = self._scores()

        def scores(block: Block) -> Tensor:
            values = found(block)
            if store is not None:
                store(block, values)
            return values

        return classified(scores, settled["bias"], self.phase)

    def memory(self, shape: Triple) -> int:
        """Bytes of the network for a block, about."""
        return self._loaded.generator.memory(shape)

    def _scores(self) -> BlockScores:
        """Of the network, shifted to the local phase fraction where it does not follow that; 0 or the bias is the threshold."""
        if self._adjusted is None:
            field = None if self._loaded.conditional else self._field
            self._adjusted = self._network if field is None else self._shifted(field)
        return self._adjusted

    def _shifted(self, field: ScalarField) -> BlockScores:
        from mcrgen.generation.local_fraction import LocalFraction, fraction_offsets

        return LocalFraction(self._network, fraction_offsets(self._loaded.calibration_scores()[0]), field)

    def _targets(self) -> tuple[float, ...]:
        """Phase fractions; empty if they are those of no voxel."""
        if self._field is None:
            return self._loaded.fractions(self._wanted)
        mean = self._mean(self._field)
        return () if mean is None else self._loaded.fractions(mean)

    def _mean(self, field: ScalarField) -> float | None:
        """Of the voxels that count, if any do; in blocks of a size of its own, so that no digit depends on the other blocks."""
        from mcrgen.generation.blocks import Block, grid
        from mcrgen.generation.fields import average

        blocks = list(grid(self._extent.shape, _MEAN_EDGE))
        inside = self._inside
        if inside is None:
            return average(field, blocks)

        def box(origin: Triple, shape: Triple) -> NDArray[np.float32]:
            z, y, x = (start + length for start, length in zip(origin, shape, strict=True))
            return inside(Block(origin, (z, y, x))).astype("float32")

        share = average(box, blocks)
        return average(lambda origin, shape: field(origin, shape) * box(origin, shape), blocks) / share if share else None

    def _exact_bias(self, blocks: Sequence[Block], fractions: tuple[float, ...], team: Team) -> tuple[float, ...]:
        import psutil

        from mcrgen.generation.exact import KeptScores, exact_bias

        scores, mine = self._scores(), team.share(blocks)
        need = 4 * self._loaded.generator.out_channels * sum(prod(block.shape) for block in mine)
        if need < _KEPT_SHARE * psutil.virtual_memory().available / team.size:
            fresh, kept, planned = scores, KeptScores(scores), set(mine)  # a filter asks for other, larger blocks
            scores = self._adjusted = lambda block: kept(block) if block in planned else fresh(block)
        with progress_bar(transient=True) as progress:
            bar = progress.add_task("first pass", total=len(mine), unit="block", status="")

            def counted(block: Block) -> Tensor:
                found = self.counted(block, scores(block))
                progress.advance(bar)
                return found

            return exact_bias(counted, blocks, fractions, self.phase, team)
