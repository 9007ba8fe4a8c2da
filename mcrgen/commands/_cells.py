"""What ``mcrgen generate`` checks of generators that grow media from latent cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._extent import Extent
from mcrgen.errors import InputError

if TYPE_CHECKING:
    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.generation.generator import Generator
    from mcrgen.generation.latent import LatentGenerator


def check_cells(config: GenerateConfig, generator: Generator | LatentGenerator, extent: Extent, checkpoint: Path) -> None:
    """Raise on options that a generator which grows media from latent cells does not take.

    Raises:
        InputError: noise that varies from voxel to voxel, or a period of other than whole cells.
    """
    from mcrgen.generation.latent import LatentGenerator

    if not isinstance(generator, LatentGenerator):
        return
    for name in ("mask", "noise_mean", "noise_deviation"):
        if getattr(config, name) is not None:
            raise InputError(
                f"{name}: expected with a generator that has noise in every voxel, '{checkpoint}' has cells of "
                f"{generator.network.step} voxels; leave it out, or use --regions."
            )
    for period in extent.period:
        if period is not None and period % generator.network.step:
            raise InputError(
                f"periodic: expected a size that is a multiple of {generator.network.step} voxels, the cells of "
                f"'{checkpoint}', got {period}."
            )
