"""``mcrgen generate``: a trained generator makes a volume of any size, block by block."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._generators import LoadedGenerator, choose_block_size, load_generator
from mcrgen.commands._hardware import Precision
from mcrgen.errors import InputError, StoppedError, require_fraction, require_output_file, require_positive, require_seed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mcrgen.generation.blocks import Block, Triple
    from mcrgen.generation.noise import Period
    from mcrgen.generation.stream import BlockScores

FRACTION_TOLERANCE = 0.2

_SIZE = 128
_KEPT_SHARE = 0.25


@dataclass(kw_only=True)
class GenerateConfig:
    """Generate a volume from a checkpoint of `mcrgen train`, in blocks and in bounded memory."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CKPT")]
    """The model.ckpt of a training run."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Volume to write: .tif (compressed, BigTIFF past 4 GiB), .zarr (version 3, sharded, OME-NGFF), .npy or .raw (uint8)."""
    size: tuple[int, ...] | None = None
    """Edge length in voxels, or depth height width; 128 if not given."""
    box: str | None = None
    """Instead of a size: a part z0:z1,y0:y1,x0:x1 of the seed's unlimited field, the same as cut from any larger volume."""
    periodic: str = "none"
    """Axes along which opposite faces fit together: none, all, or some such as x or zy."""
    seed: int = 0
    """Seed of the noise (0 or more); each seed is another volume of the same medium."""
    block_size: int | None = None
    """Largest edge length of a block, in voxels; sets the memory, not the result; 128, or what fits, if not given."""
    phase_fraction: float | None = None
    """Fraction of the phase of interest, near the trained one: the threshold is recalibrated; the trained one if not given."""
    exact: bool = False
    """Choose the threshold in a first pass over this very volume, so that it has the phase fraction within 1e-4."""
    precision: Precision = Precision.auto
    """Arithmetic of the network; auto: bf16 where the device has it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    overwrite: bool = False
    """Replace the output if it exists, and what another interrupted run left beside it."""


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

    A run that was stopped in whatever way goes on from its last finished blocks when the same command is given again, to the
    same bytes: they stand in OUT.partial, and OUT.journal tells which they are.

    Raises:
        InputError: bad input, before any work; no space left while writing; another run is writing there.
        StoppedError: stopped by Ctrl-C.
    """
    region = _check(config)
    loaded = load_generator(config.checkpoint, config.device, config.precision)
    if config.phase_fraction is not None:
        _warn_far(config.phase_fraction, loaded.record)
    return _write(config, loaded, region)


@dataclass(frozen=True)
class _Region:
    """Which part of which field."""

    origin: Triple
    shape: Triple
    period: Period

    def scores(self, loaded: LoadedGenerator, seed: int) -> BlockScores:
        """Scores of blocks that are counted from the region's own first voxel."""
        from mcrgen.generation.noise import Noise

        noise = Noise(seed, self.period)

        def scores(block: Block) -> Tensor:
            return loaded.generator.scores(noise, block.moved(self.origin).start, block.shape)

        return scores


def _region(config: GenerateConfig) -> _Region:
    axes = _periodic_axes(config.periodic)
    if config.box is not None:
        if config.size is not None:
            raise InputError("box: expected without a size, which it has itself; leave one of the two out.")
        if axes:
            raise InputError("box: expected of an unlimited field, not of a periodic volume; leave one of the two out.")
        start, stop = _parse_box(config.box)
        z, y, x = (b - a for a, b in zip(start, stop, strict=True))
        return _Region(start, (z, y, x), (None, None, None))
    size = config.size or (_SIZE,)
    if len(size) not in (1, 3) or min(size) <= 0:
        given = " ".join(map(str, size))
        raise InputError(f"size: expected one or three edge lengths greater than 0, got '{given}'.")
    d, h, w = size * 3 if len(size) == 1 else size
    wrapped = [length if name in axes else None for name, length in zip("zyx", (d, h, w), strict=True)]
    return _Region((0, 0, 0), (d, h, w), (wrapped[0], wrapped[1], wrapped[2]))


def _periodic_axes(given: str) -> str:
    axes = {"none": "", "all": "zyx"}.get(given, given)
    if not set(axes) <= set("zyx") or len(set(axes)) < len(axes) or not given:
        raise InputError(f"periodic: expected none, all or axes such as x or zy, got '{given}'.")
    return axes


def _parse_box(given: str) -> tuple[Triple, Triple]:
    parts = re.fullmatch(r"(-?\d+):(-?\d+),(-?\d+):(-?\d+),(-?\d+):(-?\d+)", given.replace(" ", ""))
    if parts is None:
        raise InputError(f"box: expected z0:z1,y0:y1,x0:x1 in voxels such as 0:64,0:128,-32:96, got '{given}'.")
    z0, z1, y0, y1, x0, x1 = map(int, parts.groups())
    if z1 <= z0 or y1 <= y0 or x1 <= x0:
        raise InputError(f"box: expected each end beyond its start, got '{given}'.")
    return (z0, y0, x0), (z1, y1, x1)


def _check(config: GenerateConfig) -> _Region:
    from mcrgen.io.provenance import sidecar
    from mcrgen.io.volumes import interrupted_run, require_volume_output, require_volume_suffix

    region = _region(config)
    if config.block_size is not None:
        require_positive("block_size", config.block_size)
    require_seed(config.seed)
    if config.phase_fraction is not None:
        require_fraction("phase_fraction", config.phase_fraction)
    require_volume_suffix(config.output)
    if interrupted_run(config.output) is None:
        require_volume_output(config.output, overwrite=config.overwrite)
        require_output_file("output", sidecar(config.output), overwrite=config.overwrite)
    return region


def _warn_far(wanted: float, record: dict[str, Any]) -> None:
    trained = record["calibration"]["fractions"][record["phases"]["phase"]]
    if abs(wanted / trained - 1.0) > FRACTION_TOLERANCE:
        console.print(
            f"warning: phase_fraction {wanted:g} is {wanted / trained - 1.0:+.0%} off the trained {trained:.4f}; only the "
            "threshold moves, so shapes grow or shrink; train with --data.phase-fraction for a faithful medium.",
            style="yellow",
        )


def _calibrated(
    config: GenerateConfig, loaded: LoadedGenerator, scores: BlockScores, blocks: list[Block]
) -> tuple[BlockScores, tuple[float, ...], tuple[float, ...]]:
    """Scores, bias and the phase fractions it aims at: calibrated on other volumes, or on this very one."""
    if not config.exact:
        calibration = loaded.calibration(config.phase_fraction)
        return scores, calibration.bias, calibration.fractions
    import psutil

    from mcrgen.generation.exact import KeptScores, exact_bias

    fractions = loaded.fractions(config.phase_fraction)
    voxels = sum(prod(block.shape) for block in blocks)
    if 4 * voxels * len(fractions) < _KEPT_SHARE * psutil.virtual_memory().available:
        scores = KeptScores(scores)
    with progress_bar(transient=True) as progress:
        bar = progress.add_task("first pass", total=len(blocks), unit="block", status="")

        def counted(block: Block) -> Tensor:
            found = scores(block)
            progress.advance(bar)
            return found

        return scores, exact_bias(counted, blocks, fractions, loaded.phase), fractions


def _write(config: GenerateConfig, loaded: LoadedGenerator, region: _Region) -> GenerateResult:
    from mcrgen.generation.blocks import grid
    from mcrgen.generation.stream import generate_blocks
    from mcrgen.io.volumes import open_volume, run_to_go_on_with, stored_bytes

    settings = _settings(config, loaded, region)
    before = run_to_go_on_with(config.output, settings, overwrite=config.overwrite) or {}
    block_size = choose_block_size(loaded.generator, region.shape, before.get("block_size") or config.block_size)
    blocks = list(grid(region.shape, block_size))
    start = time.perf_counter()
    scores = region.scores(loaded, config.seed)
    if before:
        bias, fractions = tuple(before["bias"]), tuple(before["fractions"])
    else:
        scores, bias, fractions = _calibrated(config, loaded, scores, blocks)
    described = settings | {"block_size": block_size, "bias": list(bias), "fractions": list(fractions)}
    voxel_size_um = loaded.record["voxel_size_um"]
    with open_volume(config.output, region.shape, voxel_size_um, run=described, overwrite=config.overwrite) as volume:
        missing = [block for block in blocks if (block.start, block.stop) not in volume.done]
        if len(missing) < len(blocks):
            console.print(f"going on: {len(blocks) - len(missing)} of {len(blocks)} blocks are finished")
        with progress_bar() as progress:
            bar = progress.add_task("generating", total=len(blocks), completed=len(volume.done), unit="block", status="")

            def sink(block: Block, labels: np.typing.NDArray[np.uint8]) -> None:
                volume.write(block.slices, labels)
                share = volume.counts[loaded.phase] / volume.counts.sum()
                progress.update(bar, advance=1, status=f"φ {share:.4f}")

            try:
                generate_blocks(scores, missing, sink, bias=bias, phase=loaded.phase)
            except KeyboardInterrupt as interrupt:
                done = f"{len(volume.done)} of {len(blocks)} blocks are finished"
                raise StoppedError(f"stopped: {done}; the same command goes on.") from interrupt
        seconds = time.perf_counter() - start
        achieved = tuple((volume.counts[: len(fractions)] / volume.counts.sum()).tolist())
        _record(config, loaded, region, {"bias": list(bias), "fractions": list(fractions)}, achieved, seconds)
    size = stored_bytes(config.output) / 2**20
    console.print(
        f"generated: {config.output}  {' x '.join(map(str, region.shape))} voxels, {size:.1f} MiB, {seconds:.1f} s, "
        f"phase fraction {achieved[loaded.phase]:.{5 if config.exact else 4}f} (target {fractions[loaded.phase]:.4f})"
    )
    return GenerateResult(config.output, region.shape, achieved, seconds)


def _settings(config: GenerateConfig, loaded: LoadedGenerator, region: _Region) -> dict[str, Any]:
    """What the user has chosen that settles the labels; block size and threshold follow, and an interrupted run's are kept."""
    from mcrgen.io.provenance import sha256

    return {
        "checkpoint": sha256(config.checkpoint),
        "seed": config.seed,
        "shape": list(region.shape),
        "origin": list(region.origin),
        "period": list(region.period),
        "precision": loaded.precision.value,
        "phase_fraction": config.phase_fraction,
        "exact": config.exact,
    } | ({} if config.block_size is None else {"block_size": config.block_size})


def _record(
    config: GenerateConfig,
    loaded: LoadedGenerator,
    region: _Region,
    calibration: dict[str, list[float]],
    achieved: tuple[float, ...],
    seconds: float,
) -> None:
    """Provenance beside the volume."""
    from mcrgen.io.provenance import provenance, sidecar, write_json

    target = calibration["fractions"]
    write_json(
        sidecar(config.output),
        provenance("generate", configuration.to_plain(config), {"checkpoint": config.checkpoint})
        | {
            "shape": list(region.shape),
            "dtype": "uint8",
            "origin": list(region.origin),
            "period": list(region.period),
            "voxel_size_um": loaded.record["voxel_size_um"],
            "phases": loaded.record["phases"],
            "phase_fractions": list(achieved),
            "residual": max(abs(a - b) for a, b in zip(achieved, target, strict=True)),
            "precision": loaded.precision.value,
            "calibration": calibration,
            "seconds": round(seconds, 3),
        },
    )
