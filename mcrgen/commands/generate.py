"""``mcrgen generate``: a trained generator makes a volume of any size, block by block."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen.commands._achieved import tell_achieved
from mcrgen.commands._cells import check_cells
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._extent import Extent, parse_extent
from mcrgen.commands._generate_checks import check
from mcrgen.commands._generators import build_generator, makes_samples
from mcrgen.commands._hardware import Precision, blocks_at_once
from mcrgen.commands._medium import open_medium
from mcrgen.commands._processes import device_of, predict, processes
from mcrgen.commands._production import Produced, Production
from mcrgen.commands._samples import SampleMaker, check_sample_output, missing_samples
from mcrgen.errors import StoppedError

if TYPE_CHECKING:
    from mcrgen.generation.blocks import Triple

FRACTION_TOLERANCE = 0.2


@dataclass(kw_only=True)
class GenerateConfig:
    """Generate a volume from a checkpoint of `mcrgen train`, block by block, in bounded memory; or images, from one of images.

    - which part of it: --size or --box, --periodic, --seed
    - several of them: --count
    - how much of the phase of interest: --phase-fraction, --exact
    - or how much where: --phase-fraction-field, --gradient-axis, --resample-field
    - a medium that varies in space: --mask, --mask-weights, --outside, --noise-mean, --noise-deviation
    - several media in one volume: --regions, --region, --transition
    - what becomes of the labels: --smoothing, --keep-scores, --pyramid, --overwrite
    - on which machine: --block-size, --precision, --device, --devices, --nodes

    - A FIELD is a number, a ramp A:B:AXIS such as 0.2:0.5:z from the first to the last voxel, or a file.
    - Files of fields, masks and regions are 3D volumes (.npy, .tif, .zarr, .raw), stretched to the size or the box; a phase
      fraction field only with --resample-field.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CKPT")]
    """The model.ckpt of a training run."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Volume to write: .tif (compressed, BigTIFF past 4 GiB), .zarr (version 3, sharded, OME-NGFF), .npy or .raw (uint8);
    of a generator of images .tif, .png, .bmp or .npy; with --count a folder for sample_0.tif, sample_1.tif, ..."""
    size: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="N|D H W")] = None
    """Edge length in voxels, or depth height width (images: height width).
    128 if not given; of a GAN that makes whole samples (images, or volumes from one vector) the training size."""
    box: Annotated[str | None, tyro.conf.arg(metavar="z0:z1,y0:y1,x0:x1")] = None
    """Instead of a size: a part of the seed's unlimited field, the same as cut from any larger volume."""
    periodic: Annotated[str, tyro.conf.arg(metavar="AXES")] = "none"
    """Axes along which opposite faces fit together: none, all, or some such as x or zy."""
    seed: int = 0
    """Seed of the noise (0 or more); each seed is another volume of the same medium."""
    count: int | None = None
    """Make so many samples, with this seed and those after it, in the folder OUT; the same command goes on after a stop."""
    phase_fraction: float | None = None
    """Fraction of the phase of interest; the trained one if not given. Checkpoints trained for a range make any within it,
    of others the threshold is recalibrated, for fractions near the trained one."""
    exact: bool = False
    """Choose the threshold in a first pass: this very volume, inside its mask, then has the fraction within 1e-4."""
    phase_fraction_field: Annotated[str | None, tyro.conf.arg(metavar="FIELD")] = None
    """Local fraction of the phase of interest (a porosity field), for generators of two phases: the network of a
    checkpoint trained for a range follows it, of others the threshold does.
    What is achieved is written beside the volume: OUT.phase_fraction.tif (local means), .csv and .png (profiles)."""
    gradient_axis: Annotated[str | None, tyro.conf.arg(metavar="z|y|x")] = None
    """Axis of a phase fraction field that is a ramp without one: 0.1:0.3 along z is 0.1:0.3:z."""
    resample_field: bool = False
    """Stretch a file with a phase fraction field to the volume, instead of expecting one of its shape."""
    mask: Path | None = None
    """What the noise is multiplied by: floating-point numbers from 0 to 1, or labels (see --mask-weights)."""
    mask_weights: tuple[float, ...] = ()
    """Factor of the noise for each label of the mask in ascending order; evenly spread from 0 to 1 if not given."""
    outside: Annotated[int | None, tyro.conf.arg(metavar="LABEL")] = None
    """Label of the voxels where the mask is 0; what the generator makes of no noise if not given.
    The medium fades towards them over half the receptive field; --regions cuts it off sharply."""
    noise_mean: Annotated[str | None, tyro.conf.arg(metavar="FIELD")] = None
    """Mean of the noise, 0 if not given: a few tenths take the medium to one phase or the other."""
    noise_deviation: Annotated[str | None, tyro.conf.arg(metavar="FIELD")] = None
    """Standard deviation of the noise, 1 if not given: changes the phase fraction as well, unless --exact is given."""
    regions: Path | None = None
    """Map of integers, with a generator or a label of its own in each region; CKPT in those that no --region names."""
    region: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="VALUE=CKPT[:LABELS]|VALUE=LABEL")] = ()
    """What fills the region of a value: a checkpoint, and labels of its phases other than 0, 1, ...; or one label.
    For example --region 1=fine.ckpt:0,2 --region 2=3."""
    transition: float = 0.0
    """Width in voxels over which generators with the same labels blend at the regions' boundaries; 0 for a sharp cut."""
    smoothing: float = 0.0
    """Standard deviation in voxels of a Gaussian filter of the labels; 0 for none.
    The phase fractions stay the same on average or, with --exact, in this very volume."""
    keep_scores: bool = False
    """Keep the network's scores, before the threshold, as float16 in OUT.scores.npy."""
    pyramid: bool = False
    """Write coarser resolutions too (.zarr), for viewers."""
    block_size: int | None = None
    """Largest edge length of a block, in voxels; sets the memory, not the result; 256, or what fits, if not given."""
    precision: Precision = Precision.auto
    """Arithmetic of the network; auto: bf16 where the device has it, else, and of GANs, fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    devices: int = 1
    """Processes on this machine, each with a GPU of its own or its share of the CPU's cores, that make the volume together."""
    nodes: int = 1
    """Machines with so many processes each, sharing a file system; started by torchrun or SLURM."""
    overwrite: bool = False
    """Replace the output if it exists, and what another interrupted run left beside it."""


@dataclass(frozen=True)
class GenerateResult:
    """What was generated.

    Attributes:
        path: the volume or image, or the folder of several.
        shape: (D, H, W) in voxels of each, an image being one plane.
        phase_fractions: achieved fraction of each phase; the mean over those made, of several.
        seconds: time from the first block, or first pass, to the finished file, or files.
    """

    path: Path
    shape: Triple
    phase_fractions: tuple[float, ...]
    seconds: float


def run(config: GenerateConfig) -> GenerateResult:
    """Generate a volume and write it with its provenance.

    A run that was stopped in whatever way goes on from its last finished blocks when the same command is given again, to the
    same bytes: they stand in OUT.partial, and OUT.journal tells which they are. With several processes, this function is
    called in every one of them; Lightning starts the others by running the program again, so it must be a script or a command.

    Raises:
        InputError: bad input, before any work; no space left while writing; another run is writing there.
        StoppedError: stopped by Ctrl-C.
    """
    from mcrgen.io.checkpoints import read_checkpoint

    content = read_checkpoint(config.checkpoint, "checkpoint")
    if makes_samples(content):
        return _samples(config, content)
    if config.count is None:
        return _volume(config, content)
    results = [_volume(each, content) for each in missing_samples(config)]
    return _together(config, results)


def _samples(config: GenerateConfig, content: dict[str, Any]) -> GenerateResult:
    """Of a generator of whole samples."""
    start, maker = time.perf_counter(), SampleMaker(config, content)
    if config.count is None:
        check_sample_output(config, len(maker.shape))
        fractions = [maker.write(config)]
        share = ", ".join(f"{fraction:.4f}" for fraction in fractions[0])
        console.print(f"generated: {config.output}  {' x '.join(map(str, maker.shape))} voxels, phase fractions {share}")
    else:
        with progress_bar() as progress:
            fractions = [maker.write(each) for each in missing_samples(config, progress)]
    return GenerateResult(config.output, maker.shape3, _mean(fractions), time.perf_counter() - start)


def _mean(fractions: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(of_phase) / len(fractions) for of_phase in zip(*fractions, strict=True))


def _together(config: GenerateConfig, results: Sequence[GenerateResult]) -> GenerateResult:
    """Of several volumes what has been made now; an earlier run may have finished the others."""
    shape = parse_extent(config.size, config.box, config.periodic).shape
    mean = _mean([result.phase_fractions for result in results])
    return GenerateResult(config.output, shape, mean, sum(result.seconds for result in results))


def _volume(config: GenerateConfig, content: dict[str, Any]) -> GenerateResult:
    """Of a generator of volumes of any size."""
    place = processes(config.devices, config.nodes)
    console.quiet = place.rank > 0
    extent, inputs = check(config, place)
    loaded = build_generator(content, device_of(config.device, place), config.precision).at(config.phase_fraction)
    check_cells(config, loaded.generator, extent, config.checkpoint)
    if config.phase_fraction is not None and loaded.conditional is None:
        _warn_far(config.phase_fraction, loaded.record)
    with ExitStack() as files:
        medium = open_medium(config, loaded, extent, files)
        production = files.enter_context(Production(config, loaded, extent, medium, inputs, place))
        if place.count > 1:
            produced = predict(place, loaded.device, production.prepare, production.sink, production.finish)
        else:
            produced = _alone(production, workers=blocks_at_once(loaded.device))
    _tell(config, extent, produced, loaded.phase)
    return GenerateResult(config.output, extent.shape, produced.fractions, produced.seconds)


def _alone(production: Production, workers: int) -> Produced:
    from mcrgen.generation.stream import generate_blocks
    from mcrgen.generation.team import ALONE

    try:
        blocks, labels = production.prepare(ALONE)
        generate_blocks(labels, blocks, production.sink, workers=workers)
        return production.finish(ALONE)
    except KeyboardInterrupt as interrupt:
        raise StoppedError(f"stopped: {production.made}; the same command goes on.") from interrupt


def _warn_far(wanted: float, record: dict[str, Any]) -> None:
    trained = record["calibration"]["fractions"][record["phases"]["phase"]]
    if abs(wanted / trained - 1.0) > FRACTION_TOLERANCE:
        console.print(
            f"warning: phase_fraction {wanted:g} is {wanted / trained - 1.0:+.0%} off the trained {trained:.4f}; only the "
            "threshold moves, so shapes grow or shrink; train with --data.phase-fraction for a faithful medium.",
            style="yellow",
        )


def _tell(config: GenerateConfig, extent: Extent, produced: Produced, phase: int) -> None:
    share = "phase fractions " + ", ".join(f"{fraction:.4f}" for fraction in produced.fractions)
    if produced.target:
        achieved, wanted = produced.fractions[phase], produced.target[phase]
        whole = " of the whole volume" if config.mask else ""
        share = f"phase fraction{whole} {achieved:.{5 if config.exact else 4}f} (target {wanted:.4f})"
    console.print(
        f"generated: {config.output}  {' x '.join(map(str, extent.shape))} voxels, {produced.bytes / 2**20:.1f} MiB, "
        f"{produced.seconds:.1f} s, {share}"
    )
    if produced.achieved:
        tell_achieved(config.output, produced.achieved)
