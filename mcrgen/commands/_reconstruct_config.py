"""The schema of ``mcrgen reconstruct``; every default of reconstruction stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import tyro

from mcrgen.commands._train_config import ExemplarConfig, LoggingConfig
from mcrgen.reconstruction.schedule import Schedule


class Method(StrEnum):
    """How the medium is found."""

    differentiable = "differentiable"
    annealing = "annealing"


class Variation(StrEnum):
    """What is done with the total variation."""

    matched = "matched"
    minimised = "minimised"


class Slices(StrEnum):
    """Whether slices are held to the target one by one."""

    together = "together"
    each = "each"


class Optimizer(StrEnum):
    """How the voxels are moved."""

    lbfgs = "lbfgs"
    adam = "adam"


@dataclass(kw_only=True)
class WeightsConfig:
    """Weight of each descriptor's squared error, in units of an image without structure; 1 if not given."""

    s2: float | None = None
    """Two-point correlation."""
    s2_diagonal: float | None = None
    """S2 along the diagonals of sections (annealing)."""
    s2_map: float | None = None
    """S2 over all lags of a square or cube (annealing)."""
    s3: float | None = None
    """Three-point correlation (differentiable)."""
    lineal_path: float | None = None
    """Lineal path."""
    p3h: float | None = None
    """Triangles with a horizontal edge (annealing)."""
    p3v: float | None = None
    """Triangles with a vertical edge (annealing)."""
    p4: float | None = None
    """Squares (annealing)."""
    p6: float | None = None
    """Hexagons (annealing)."""
    gram: float | None = None
    """Gram matrices (differentiable)."""
    patterns: float | None = None
    """Local patterns (differentiable)."""
    variation: float | None = None
    """Normalised total variation (differentiable)."""
    phase_fraction: float | None = None
    """Phase fractions of the whole medium (differentiable; annealing has them exactly)."""


@dataclass(kw_only=True)
class DescriptorConfig:
    """What of the slices is matched; annealing takes names, weights and limit only."""

    names: tuple[str, ...] = ()
    """Any of s2, s3, lineal-path, gram, patterns, variation, phase-fraction; if not given, s2 s3 variation phase-fraction.
    Annealing: any of s2, s2-diagonal, s2-map, lineal-path, p3h, p3v, p4, p6; if not given, s2 lineal-path."""
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    slices: Slices = Slices.together
    """together: the mean over the slices normal to an axis is matched, so that they may differ as those of a medium do;
    each: every slice is (Seibert et al. 2022, eq. 7)."""
    limit: int | None = None
    """Lags of correlations, lineal path and polytopes stay below this, in voxels.
    If not given, 16 (annealing: 32), or, where less, half the shortest edge of medium and images or the lags of a table."""
    multigrid: bool = True
    """Measure s2 and s3 on coarsened slices too, so that they see further than the limit."""
    variation: Variation = Variation.matched
    """matched: as in the exemplar; minimised: as small as the other descriptors allow."""
    vgg_weights: str = "random"
    """Weights of VGG-19 for gram: random (untrained filters), imagenet (downloaded) or a file."""
    pattern_size: int = 7
    """Edge length of the local patterns that patterns compares, in voxels of each level."""
    pattern_features: int = 256
    """Random frequencies at which the distributions of local patterns are compared: more see more, and take longer."""
    sum_weight: float = 1.0
    """Three phases and more: weight of the mean squared distance of their indicators' sum from one."""

    @property
    def lags(self) -> int:
        """The limit, once it is settled: how many lags there are, 0 among them."""
        if self.limit is None:
            raise ValueError("the limit is settled when the sources have been read")
        return self.limit


@dataclass(kw_only=True)
class OptimizationConfig:
    """How the voxels are moved, and from how coarse to how fine (differentiable); restarts are of both methods."""

    optimizer: Optimizer = Optimizer.lbfgs
    """lbfgs (bounded, with line search), or adam (projected onto the bounds), for random subsets of the slices."""
    learning_rate: float = 0.02
    """Of adam."""
    history: int = 10
    """Pairs of steps that lbfgs keeps."""
    max_steps: int = 300
    """Most steps on the finest level."""
    coarse_steps: int = 100
    """Most steps on each of the coarser ones."""
    levels: int = 0
    """Levels from coarse to fine; 0: as many as have twice the limit, and twice the size of patterns, in voxels
    along every edge, and as a table has lags."""
    slices_per_normal: int | None = None
    """Look at so many slices per section normal in a step, drawn anew; at all of them if not given."""
    slices_per_batch: int = 128
    """Slices worked through at a time: fewer take less memory; of more slices than this, descriptors are computed twice."""
    tolerance: float = 1e-5
    """Loss at which it stops."""
    patience: int = 40
    """Steps without a fall of the loss by 0.1 % after which it stops."""
    restarts: int = 1
    """Runs from different random media; the one with the lowest loss is kept."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(kw_only=True)
class RecordConfig:
    """What is kept while it runs (differentiable)."""

    checkpoint_every: int = 20
    """Steps between two saves, from which --resume goes on."""
    preview_every: int = 50
    """Steps between two preview pictures."""
    monitor_every: int = 0
    """Steps between two comparisons of windows of the medium with the exemplar (polytopes, S2, lineal path); 0: none."""
    monitor_size: int | None = None
    """Edge length of these windows, in voxels. If not given, 32, or the shortest edge of the medium where that is less."""


_USUAL = {
    Method.differentiable: ("s2", "s3", "variation", "phase_fraction"),
    Method.annealing: ("s2", "lineal_path"),
}
USUAL_WINDOW = 32
"""Edge length of the monitor's windows where there is room for it."""
USUAL_LIMIT = {Method.differentiable: 16, Method.annealing: 32}
"""Limit where there is room for it; annealing has no coarser levels to see further on."""


@dataclass(kw_only=True)
class ReconstructConfig:
    """Reconstruct a medium from the descriptors of its slices: SOURCE OUT --size 64 64 64.

    SOURCE is a segmented image (or several, by --data.images and the like, then without SOURCE); a small volume; or a table of
    descriptors as `mcrgen characterize` writes it (characterization.json, s2.csv). With --interpolate N the media lie between
    two or more sources in the space of their descriptors: A B --interpolate N --output FOLDER.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE OUT")]
    """Source and output; the output is a volume (.tif, .npy, .raw, .zarr) or an image (.tif, .png, .bmp, .npy)."""
    size: tuple[int, ...]
    """Voxels along z, y and x, or, for an image, along y and x."""
    data: ExemplarConfig = field(default_factory=ExemplarConfig)
    descriptors: DescriptorConfig = field(default_factory=DescriptorConfig)
    method: Method = Method.differentiable
    """differentiable: gradients move all voxels; annealing: single voxels are swapped (Yeong and Torquato)."""
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    annealing: Schedule = field(default_factory=Schedule)
    record: RecordConfig = field(default_factory=RecordConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    periodic: bool = True
    """The medium wraps around."""
    exemplar_periodic: bool = False
    """The images wrap around too: their descriptors are measured so. Not for tables, which are measured already."""
    phase_fraction: float | None = None
    """Fraction of the phase of interest for a table in CSV; its value at lag 0 if not given."""
    start: Path | None = None
    """Segmented medium of the size asked for, to start from; there are no coarser levels then."""
    smoothing: float | None = None
    """Standard deviation in voxels of a Gaussian over the finished medium before its threshold (differentiable).
    Phase fractions stay."""
    interpolate: int | None = None
    """Make so many media between the sources, those included, at equal distances."""
    output: Path | None = None
    """Folder for the media of --interpolate; A_to_B if not given."""
    seed: int = 0
    """Seed of the medium to start from."""
    resume: bool = False
    """Go on with an interrupted run."""
    overwrite: bool = False
    """Replace an earlier result."""


def descriptor_names(config: ReconstructConfig) -> tuple[str, ...]:
    """Names of the descriptors to match, with underscores; the usual ones of the method if none are given."""
    return tuple(name.replace("-", "_") for name in config.descriptors.names) or _USUAL[config.method]
