"""``mcrgen generate``: a trained generator makes a volume of any size, block by block."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision, torch_dtype
from mcrgen.errors import InputError, require_fraction, require_output_file, require_positive, require_seed

if TYPE_CHECKING:
    import torch

    from mcrgen.generation.calibration import Calibration
    from mcrgen.generation.generator import Generator, Triple

FRACTION_TOLERANCE = 0.2


@dataclass(kw_only=True)
class GenerateConfig:
    """Generate a volume from a checkpoint of `mcrgen train`, in blocks and in bounded memory."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CKPT")]
    """The model.ckpt of a training run."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Volume to write: .tif (compressed, BigTIFF past 4 GiB) or .npy."""
    size: tuple[int, ...] = (128,)
    """Edge length in voxels, or depth height width."""
    seed: int = 0
    """Seed of the noise (0 or more); each seed is another volume of the same medium."""
    block_size: int = 128
    """Largest edge length of a block, in voxels; sets the memory, not the result."""
    phase_fraction: float | None = None
    """Fraction of the phase of interest, near the trained one: the threshold is recalibrated; the trained one if not given."""
    precision: Precision = Precision.auto
    """Arithmetic of the network; auto: bf16 where the device has it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    overwrite: bool = False
    """Replace the output if it exists."""


@dataclass(frozen=True)
class GenerateResult:
    """What was generated.

    Attributes:
        path: the volume.
        shape: its (D, H, W) in voxels.
        phase_fractions: achieved fraction of each phase.
        seconds: time spent on the blocks.
    """

    path: Path
    shape: Triple
    phase_fractions: tuple[float, ...]
    seconds: float


def run(config: GenerateConfig) -> GenerateResult:
    """Generate a volume and write it with its provenance.

    Raises:
        InputError: bad input, before any work; no space left while writing.
    """
    shape = _check(config)
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)

    from mcrgen.io.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(config.checkpoint, "checkpoint")
    record = checkpoint["mcrgen"]
    generator = _generator(checkpoint, device, precision)
    if config.phase_fraction is not None:
        _warn_far(config.phase_fraction, record)
    calibration = _calibration(config, generator, record, precision)
    return _write(config, generator, calibration, record, shape)


def _check(config: GenerateConfig) -> Triple:
    from mcrgen.io.provenance import sidecar
    from mcrgen.io.volumes import require_volume_suffix

    if len(config.size) not in (1, 3) or min(config.size) <= 0:
        given = " ".join(map(str, config.size))
        raise InputError(f"size: expected one or three edge lengths greater than 0, got '{given}'.")
    require_positive("block_size", config.block_size)
    require_seed(config.seed)
    if config.phase_fraction is not None:
        require_fraction("phase_fraction", config.phase_fraction)
    d, h, w = config.size * 3 if len(config.size) == 1 else config.size
    require_volume_suffix(config.output)
    for path in (config.output, sidecar(config.output)):
        require_output_file("output", path, overwrite=config.overwrite)
    return d, h, w


def _generator(checkpoint: dict[str, Any], device: torch.device, precision: Precision) -> Generator:
    """Rebuild the inference network from a checkpoint's plain data."""
    from mcrgen.generation.generator import Generator
    from mcrgen.networks.swnn import SWNN

    record = checkpoint["mcrgen"]
    if record["kind"] != "swnn":
        raise InputError(f"checkpoint: expected a generator of the kind swnn, got one of the kind {record['kind']}.")
    if "calibration" not in record:
        raise InputError(
            "checkpoint: this is the state of a training run that has not ended; go on with `mcrgen train --resume`, "
            "then use its model.ckpt."
        )
    settings = checkpoint["hyper_parameters"]
    network = SWNN(**{name: settings[name] for name in ("out_channels", "channels", "layers", "noise_channels")})
    prefix = "network."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    network.load_state_dict(state)
    folded = network.eval().folded(torch_dtype(precision)).to(device)
    return Generator(folded, network.halo, network.noise_channels)


def _calibration(config: GenerateConfig, generator: Generator, record: dict[str, Any], precision: Precision) -> Calibration:
    """The checkpoint's calibration, or a new one for another fraction or arithmetic."""
    from mcrgen.generation.calibration import Calibration, calibrate, rescale_fractions

    stored, phase = record["calibration"], record["phases"]["phase"]
    fractions = tuple(stored["fractions"])
    if config.phase_fraction is None and stored["precision"] == precision.value:
        return Calibration(tuple(stored["bias"]), fractions, tuple(stored["achieved"]), stored["precision"], stored["voxels"])
    if config.phase_fraction is not None:
        fractions = rescale_fractions(fractions, phase, config.phase_fraction)
    settings = record["config"]["calibration"]
    with console.status(f"calibrating in {precision} for a phase fraction of {fractions[phase]:.4f}"):
        return calibrate(
            generator,
            fractions,
            phase=phase,
            precision=precision.value,
            blocks=settings["threshold_blocks"],
            block_size=settings["threshold_block_size"],
        )


def _warn_far(wanted: float, record: dict[str, Any]) -> None:
    trained = record["calibration"]["fractions"][record["phases"]["phase"]]
    if abs(wanted / trained - 1.0) > FRACTION_TOLERANCE:
        console.print(
            f"warning: phase_fraction {wanted:g} is {wanted / trained - 1.0:+.0%} off the trained {trained:.4f}; only the "
            "threshold moves, so shapes grow or shrink; train with --data.phase-fraction for a faithful medium.",
            style="yellow",
        )


def _write(
    config: GenerateConfig, generator: Generator, calibration: Calibration, record: dict[str, Any], shape: Triple
) -> GenerateResult:
    import numpy as np

    from mcrgen.generation.blocks import Block, grid
    from mcrgen.generation.stream import generate_blocks
    from mcrgen.io.provenance import provenance, sidecar, write_json
    from mcrgen.io.volumes import open_volume

    counts = np.zeros(len(calibration.fractions), dtype=np.int64)
    voxel_size_um, phase = record["voxel_size_um"], record["phases"]["phase"]
    total = sum(1 for _ in grid(shape, config.block_size))
    with progress_bar() as progress, open_volume(config.output, shape, voxel_size_um) as volume:
        bar = progress.add_task("generating", total=total, unit="block", status="")

        def sink(block: Block, labels: np.typing.NDArray[np.uint8]) -> None:
            volume.write(block.slices, labels)
            counts[:] += np.bincount(labels.ravel(), minlength=len(counts))
            progress.update(bar, advance=1, status=f"φ {counts[phase] / counts.sum():.4f}")

        start = time.perf_counter()
        generate_blocks(
            generator,
            sink,
            shape=shape,
            seed=config.seed,
            block_size=config.block_size,
            bias=calibration.bias,
            phase=phase,
        )
        seconds = time.perf_counter() - start
    achieved = tuple((counts / counts.sum()).tolist())
    record_out = provenance("generate", configuration.to_plain(config), {"checkpoint": config.checkpoint})
    write_json(
        sidecar(config.output),
        record_out
        | {
            "shape": list(shape),
            "voxel_size_um": voxel_size_um,
            "phases": record["phases"],
            "phase_fractions": list(achieved),
            "calibration": configuration.to_plain(calibration),
            "seconds": round(seconds, 3),
        },
    )
    size = os.path.getsize(config.output) / 2**20
    console.print(
        f"generated: {config.output}  {' x '.join(map(str, shape))} voxels, {size:.1f} MiB, {seconds:.1f} s, "
        f"phase fraction {achieved[phase]:.4f} (target {calibration.fractions[phase]:.4f})"
    )
    return GenerateResult(config.output, shape, achieved, seconds)
