"""The schema of ``mcrgen train`` for GANs; every default of theirs stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mcrgen.commands._hardware import Precision
from mcrgen.commands._train_config import ExemplarConfig, LoggingConfig


class GanMethod(StrEnum):
    """What the critic measures."""

    wgan_gp = "wgan_gp"
    dcgan = "dcgan"


class UpsamplingChoice(StrEnum):
    """How the generator's layers double the size."""

    transposed = "transposed"
    resize = "resize"


class LatentChoice(StrEnum):
    """What the generator starts from."""

    vector = "vector"
    field = "field"


@dataclass(kw_only=True)
class CropsConfig(ExemplarConfig):
    """The micrograph, and the windows of it that are learnt from."""

    image: Path | None = None
    """Segmented image, however large, or a volume (TIFF, NPY and Zarr are read piece by piece); any integer labels."""
    phase_names: tuple[str, ...] = ()
    """Names of the phases in ascending order of their values, such as pore grain; written beside what is generated."""
    window: int | None = None
    """Edge length of the windows, in voxels; network.size if not given. Other windows are resized to it and labelled again:
    the voxels of what is generated are window / size times as large."""
    stride: int = 16
    """Distance between neighbouring windows, in voxels."""
    held_out: float = 0.2
    """Share at the end of each file that is only compared with, never learnt from."""
    balanced: bool = False
    """Draw windows so that rare phases are as frequent in them as others; the calibrated threshold makes up for it."""


@dataclass(kw_only=True)
class GanNetworkConfig:
    """Generator and critic."""

    size: int = 64
    """Edge length of training samples: 16, 32, 64, 128 and, in 2D, 256 or 512 voxels."""
    dimensions: int = 0
    """2 or 3; 0: those of the data. 3 with images: a generator of volumes whose sections are judged (SliceGAN).
    2 with a volume: of images like its sections normal to z."""
    latent: LatentChoice = LatentChoice.vector
    """vector: one for a whole sample (Radford); field: cells that the medium grows from uniformly, so that volumes and images
    of any size come out without repeats or borders (SliceGAN)."""
    latent_channels: int = 512
    """Gaussian values of the vector, or of each cell of the field."""
    features: int = 64
    """Width of the generator's last hidden layer; it doubles with every layer before it."""
    critic_features: int = 64
    """Width of the critic's first layer; it doubles with every layer after it."""
    max_features: int = 512
    """Width that no layer exceeds."""
    upsampling: UpsamplingChoice = UpsamplingChoice.transposed
    """transposed: transposed convolutions, as published; resize: voxels repeated, then a convolution: no checkerboards."""
    spectral_norm: bool = False
    """Hold the critic's layers to a Lipschitz constant of 1 (Miyato et al.)."""


@dataclass(kw_only=True)
class AdversarialConfig:
    """What the critic and the generator make small."""

    critic_steps: int = 5
    """Updates of the critic for each of the generator."""
    gradient_penalty: float = 10.0
    """Weight of the gradient penalty (wgan_gp)."""
    label_smoothing: float = 0.0
    """Real samples are to be judged real by one minus this (dcgan)."""
    instance_noise: float = 0.0
    """Standard deviation of Gaussian noise on all that is judged, at the first step; it falls to 0 linearly."""


@dataclass(kw_only=True)
class AdamConfig:
    """Adam of generator and critic."""

    learning_rate: float = 1e-4
    """Of the generator."""
    critic_learning_rate: float | None = None
    """Of the critic; that of the generator if not given."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay rates of the moments."""
    averaging: float = 0.999
    """Decay of the average of the generator's weights, which becomes the model; 0: the last weights do."""


@dataclass(kw_only=True)
class GanTrainerConfig:
    """The training loop."""

    max_steps: int = 20000
    """Updates of the generator."""
    batch_size: int = 64
    """Crops per update of the critic, and samples or sections beside them."""
    volumes: int = 4
    """Generated volumes that the sections of an update are cut from (SliceGAN)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Precision = Precision.auto
    """Arithmetic of the networks; auto: bf16 where the device has it, else fp32. The gradient penalty is always in fp32."""
    checkpoint_every: int = 200
    """Steps between two saves of last.ckpt, from which --resume goes on."""
    preview_every: int = 500
    """Steps between two pictures of samples and losses."""
    log_every: int = 10
    """Steps between two rows of the log."""


@dataclass(kw_only=True)
class GanCalibrationConfig:
    """What is measured when training has ended."""

    samples: int = 64
    """Samples that the threshold is chosen on, by the phase fractions of the crops."""


@dataclass(kw_only=True)
class GanMonitorConfig:
    """Descriptors of samples against held-out windows, while training; and which step becomes the model."""

    every: int = 500
    """Steps between two looks; 0: none, and the last step is taken."""
    samples: int = 64
    """Samples that are measured."""
    windows: int = 256
    """Held-out windows that they are compared with, as far as there are so many."""
    max_lag: int = 32
    """Largest lag of the curves, in voxels of the samples."""
    select: str = "s2_mse"
    """The model is the step with the least of this error (s2_mse, f2_mse, f3h_mse, f3v_mse, f4_mse, f6_mse, lineal_path_mse,
    phase_fraction_error), or the last one (last)."""


@dataclass(kw_only=True)
class GanConfig:
    """Train a GAN on crops of a large segmented micrograph or volume; `mcrgen generate` takes its model.ckpt.

    - `--config wgan_gp` or `--config dcgan`: images from an image, volumes from a volume.
    - `--config slicegan`: volumes from one image, or from images of several section normals.
    """

    method: GanMethod = GanMethod.wgan_gp
    """wgan_gp: Wasserstein distance with gradient penalty; dcgan: real or generated; swnn: see `mcrgen train --help`."""
    data: CropsConfig = field(default_factory=CropsConfig)
    network: GanNetworkConfig = field(default_factory=GanNetworkConfig)
    loss: AdversarialConfig = field(default_factory=AdversarialConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    trainer: GanTrainerConfig = field(default_factory=GanTrainerConfig)
    calibration: GanCalibrationConfig = field(default_factory=GanCalibrationConfig)
    monitor: GanMonitorConfig = field(default_factory=GanMonitorConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    output: Path | None = None
    """Run folder; runs/IMAGE if not given."""
    seed: int = 0
    """Seed of everything random."""
    resume: bool = False
    """Go on from the run folder's last.ckpt; starts anew if there is none yet."""
    overwrite: bool = False
    """Replace the run that is in the run folder."""
