"""``mcrgen generate --count N``: a folder of samples; and generators that make whole samples, images for the most part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._generators import gan_generator
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision
from mcrgen.errors import InputError, require_fraction, require_free, require_output_file, require_positive, require_seed
from mcrgen.io.provenance import provenance, sha256, sidecar, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.generation.blocks import Triple
    from mcrgen.generation.latent import LatentGenerator

RECORD = "samples.json"
_NOT_SETTLING = ("checkpoint", "output", "overwrite", "device", "devices", "nodes", "block_size")
_TAKEN = {"checkpoint", "output", "size", "seed", "phase_fraction", "exact", "count", "precision", "device", "overwrite"}
"""The options that a generator of whole samples takes."""
_IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".npy")
_VOLUME = 3


def missing_samples(config: GenerateConfig, progress: Progress | None = None) -> Iterator[GenerateConfig]:
    """The options for each single sample of a folder that is not there yet; a bar moves when one is done.

    The seeds are consecutive. The same command goes on after an interrupted one. Nothing but samples is ever replaced.

    Raises:
        InputError: a count below 1, or a folder with other content.
    """
    count, folder = config.count or 0, config.output
    require_positive("count", count)
    require_seed(config.seed)
    if folder.suffix:
        raise InputError(
            f"output: expected the name of a folder for {count} samples, got '{folder}'; leave '{folder.suffix}' out."
        )
    goes_on = _open_folder(config)
    bar = progress.add_task("generating", total=count, unit="sample", status="") if progress else None
    for number in range(count):
        path = folder / f"sample_{number:0{len(str(count - 1))}d}.tif"
        if not (goes_on and path.exists() and sidecar(path).exists()):
            yield replace(config, output=path, seed=config.seed + number, count=None, overwrite=not goes_on)
        if progress and bar is not None:
            progress.advance(bar)
    console.print(f"generated: {count} samples in {folder}")


def _open_folder(config: GenerateConfig) -> bool:
    """Make the folder, or take that of an interrupted run; tells which.

    Raises:
        InputError: it holds something else.
    """
    plain, folder = configuration.to_plain(config), config.output
    settled = {key: value for key, value in plain.items() if key not in _NOT_SETTLING}
    settled |= {"checkpoint_sha256": sha256(config.checkpoint)}
    before = _settled(folder)
    if before == settled and not config.overwrite:
        return True
    require_free("output", folder, overwrite=config.overwrite)
    if before is not None:
        for path in folder.iterdir():
            if re.fullmatch(r"sample_\d+\.tif(\..+)?", path.name) and path.is_file():
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    record = provenance("generate", plain, {"checkpoint": config.checkpoint})
    write_json(folder / RECORD, record | {"settled": settled})
    return False


def _settled(folder: Path) -> dict[str, Any] | None:
    """What settled the samples of a folder; None if it is no folder of samples."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    found = record.get("settled") if isinstance(record, dict) and record.get("command") == "generate" else None
    return found if isinstance(found, dict) else None


class SampleMaker:
    """Makes whole samples of the generator of a checkpoint, in memory."""

    def __init__(self, config: GenerateConfig, checkpoint: dict[str, Any]) -> None:
        """Check the options and load the network.

        Raises:
            InputError: options that such a generator does not take; a size that it does not have.
        """
        _refuse_others(config)
        require_seed(config.seed)
        if config.phase_fraction is not None:
            require_fraction("phase_fraction", config.phase_fraction)
        device = resolve_device(config.device)
        precision = Precision.fp32 if config.precision is Precision.auto else resolve_precision(config.precision, device)
        self.record: dict[str, Any] = checkpoint["mcrgen"]
        self.generator: LatentGenerator = gan_generator(checkpoint, device, precision)
        self.shape = _shape(config, self.generator)
        _check_memory(self.generator, self.shape3)
        _warn_large(self.generator, self.shape)
        self._bias = self._settle(config, precision)
        self._exact = config.exact

    @property
    def _phase(self) -> int:
        phase: int = self.record["phases"]["phase"]
        return phase

    def _settle(self, config: GenerateConfig, precision: Precision) -> tuple[float, ...]:
        """The calibrated bias, or that for another phase fraction or arithmetic."""
        from mcrgen.generation.calibration import calibration_of, rescale_fractions
        from mcrgen.generation.latent import sample_scores

        stored = self.record["calibration"]
        self._fractions: tuple[float, ...] = tuple(stored["fractions"])
        if config.phase_fraction is not None:
            self._fractions = rescale_fractions(self._fractions, self._phase, config.phase_fraction)
        elif stored["precision"] == precision.value:
            return tuple(stored["bias"])
        network, count = self.generator.network, self.record["config"]["calibration"]["samples"]
        with console.status(f"calibrating for a phase fraction of {self._fractions[self._phase]:.4f}"):
            scores = sample_scores(self.generator, range(-count, 0), (network.size,) * network.dimensions)
            flat = scores.transpose(0, 1).flatten(1).numpy()
            return calibration_of(flat, self._fractions, phase=self._phase, precision=precision.value).bias

    def labels(self, seed: int) -> NDArray[np.uint8]:
        """The labels of one sample, of :attr:`shape`."""
        from mcrgen.generation.calibration import classify, solve_bias
        from mcrgen.generation.latent import sample_scores

        scores = sample_scores(self.generator, [seed], self.shape)[0]
        bias = self._bias
        if self._exact:
            wanted = self._fractions if len(scores) > 1 else (self._fractions[self._phase],)
            bias = solve_bias(scores.flatten(1).numpy(), wanted)
        channels = scores if scores.ndim == 1 + _VOLUME else scores[:, None]
        found: NDArray[np.uint8] = classify(channels, bias, self._phase).numpy().reshape(self.shape)
        return found

    def write(self, config: GenerateConfig) -> tuple[float, ...]:
        """Make one sample and write it with its provenance; returns its phase fractions."""
        from mcrgen.io.images import write_labels
        from mcrgen.io.phases import phase_fractions
        from mcrgen.io.volumes import open_volume

        labels, voxel = self.labels(config.seed), self.record["voxel_size_um"]
        if labels.ndim == _VOLUME:
            depth, height, width = self.shape3
            with open_volume(config.output, self.shape3, voxel, overwrite=True) as writer:
                writer.write((slice(0, depth), slice(0, height), slice(0, width)), labels)
        else:
            write_labels(config.output, labels, voxel)
        fractions = tuple(phase_fractions(labels, len(self._fractions)).tolist())
        record = provenance("generate", configuration.to_plain(config), {"checkpoint": config.checkpoint})
        tell = {"voxel_size_um": voxel, "phases": self.record["phases"], "phase_fractions": list(fractions)}
        write_json(sidecar(config.output), record | tell)
        return fractions

    @property
    def shape3(self) -> Triple:
        """(D, H, W); an image is one plane."""
        depth, height, width = (1, *self.shape) if len(self.shape) < _VOLUME else self.shape
        return depth, height, width


def check_sample_output(config: GenerateConfig, dimensions: int) -> None:
    """Raise unless OUT can become an image or a volume.

    Raises:
        InputError: a name with another ending, or one that is taken.
    """
    from mcrgen.io.volume_output import require_volume_output

    require_output_file("output", sidecar(config.output), overwrite=config.overwrite)
    if dimensions == _VOLUME:
        require_volume_output(config.output, overwrite=config.overwrite)
        return
    if config.output.suffix.lower() not in _IMAGE_SUFFIXES:
        raise InputError(
            f"output: expected a name ending in {', '.join(_IMAGE_SUFFIXES)} for an image, got '{config.output}'; "
            "name a folder for several, with --count."
        )
    require_output_file("output", config.output, overwrite=config.overwrite)


def _refuse_others(config: GenerateConfig) -> None:
    usual = configuration.to_plain(replace(type(config)(checkpoint=config.checkpoint, output=config.output)))
    changed = [key for key in configuration.differences(config, usual) if key not in _TAKEN]
    if changed:
        raise InputError(
            f"{changed[0]}: expected with a generator of volumes of any size, '{config.checkpoint}' makes whole samples; "
            "leave it out."
        )


def _check_memory(generator: LatentGenerator, shape: Triple) -> None:
    import psutil

    need, free = generator.memory(shape), psutil.virtual_memory().available
    if need > free:
        needed, available = (f"{amount / 2**30:.1f} GiB" for amount in (need, free))
        raise InputError(f"size: whole samples of that size need about {needed}, {available} are free; make smaller ones.")


def _warn_large(generator: LatentGenerator, shape: tuple[int, ...]) -> None:
    network = generator.network
    if max(shape) > network.size and network.latent.value == "vector":
        console.print(
            f"warning: this generator has learnt samples of {network.size} voxels from one latent vector; larger ones mix "
            "several, with borders and another phase fraction (--exact sets it); --network.latent field is for any size.",
            style="yellow",
        )


def _shape(config: GenerateConfig, generator: LatentGenerator) -> tuple[int, ...]:
    """Voxels along each axis: those asked for, or those of training."""
    network = generator.network
    if config.size is None:
        return (network.size,) * network.dimensions
    if len(config.size) not in (1, network.dimensions) or min(config.size) <= 0:
        given = " ".join(map(str, config.size))
        raise InputError(
            f"size: expected one or {network.dimensions} edge lengths greater than 0 for a generator of "
            f"{network.dimensions}D media, got '{given}'."
        )
    return tuple(config.size) * network.dimensions if len(config.size) == 1 else tuple(config.size)
