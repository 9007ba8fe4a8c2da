"""From a checkpoint to a generator that is ready to be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen.commands._conditional import ConditionalGenerator
from mcrgen.commands._console import console
from mcrgen.commands._hardware import Precision, blocks_at_once, resolve_device, resolve_precision, torch_dtype
from mcrgen.commands._processes import Processes
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from mcrgen.generation.blocks import Triple
    from mcrgen.generation.calibration import Calibration
    from mcrgen.generation.generator import Generator
    from mcrgen.generation.latent import LatentGenerator
    from mcrgen.generation.noise import ScalarField
    from mcrgen.networks.swnn import SWNN

GANS = ("dcgan", "wgan_gp")
"""Kinds of checkpoints whose generator was trained against a critic."""

_BLOCK_SIZES = (256, 192, 128, 96, 64, 48, 32, 16)


@dataclass(frozen=True)
class LoadedGenerator:
    """A trained generator on its device.

    Attributes:
        generator: the inference network: SWNN's, or that of a GAN which grows media from a field.
        record: what the checkpoint tells of it: phases, calibration, configuration, voxel size.
        precision: arithmetic of the network.
        conditional: of a checkpoint of many phase fractions, what makes the generator of each; None of one of a single one.
        fraction: which of them the network makes.
    """

    generator: Generator | LatentGenerator
    record: dict[str, Any]
    precision: Precision
    conditional: ConditionalGenerator | None = None
    fraction: float | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.generator.network.parameters()).device

    @property
    def phase(self) -> int:
        """Label of the phase of interest."""
        phase: int = self.record["phases"]["phase"]
        return phase

    def at(self, phase_fraction: float | None) -> LoadedGenerator:
        """The generator of another phase fraction, if it is one of many and one is asked for; else itself.

        Raises:
            InputError: the phase fraction is out of range.
        """
        if self.conditional is None or phase_fraction is None or phase_fraction == self.fraction:
            return self
        return replace(self, generator=self.conditional.at(phase_fraction), fraction=phase_fraction)

    def over(self, field: ScalarField) -> LoadedGenerator:
        """The generator of many phase fractions, with the one that a field says at each voxel; 0 is its threshold."""
        if self.conditional is None:
            raise ValueError("a generator of a single phase fraction")
        return replace(self, generator=self.conditional.over(field), fraction=None)

    def fractions(self, phase_fraction: float | None) -> tuple[float, ...]:
        """Phase fractions to aim at: those of the training, or rescaled to another one of the phase of interest."""
        from mcrgen.generation.calibration import rescale_fractions

        trained = tuple(self.record["calibration"]["fractions"])
        return trained if phase_fraction is None else rescale_fractions(trained, self.phase, phase_fraction)

    def calibration(self, phase_fraction: float | None) -> Calibration:
        """The checkpoint's calibration, or a new one of this network for another fraction or arithmetic."""
        from mcrgen.generation.calibration import Calibration, calibrate

        stored, fractions = self.record["calibration"], self.fractions(phase_fraction)
        own = phase_fraction == stored["fractions"][self.phase] and self.fraction in (None, phase_fraction)
        if (own or phase_fraction is None) and stored["precision"] == self.precision.value:
            return Calibration(
                tuple(stored["bias"]), fractions, tuple(stored["achieved"]), stored["precision"], stored["voxels"]
            )
        with console.status(f"calibrating in {self.precision} for a phase fraction of {fractions[self.phase]:.4f}"):
            return calibrate(
                self.generator, fractions, phase=self.phase, precision=self.precision.value, **self._calibration_volumes()
            )

    def calibration_scores(self) -> NDArray[np.float32]:
        """Scores ``(C, N)`` of the volumes that the generator is calibrated on."""
        from mcrgen.generation.calibration import calibration_scores

        with console.status(f"calibrating in {self.precision}"):
            return calibration_scores(self.generator, **self._calibration_volumes())

    def _calibration_volumes(self) -> dict[str, int]:
        settings = self.record["config"]["calibration"]
        if "samples" in settings:
            return {"blocks": settings["samples"], "block_size": self.record["config"]["network"]["size"]}
        return {"blocks": settings["threshold_blocks"], "block_size": settings["threshold_block_size"]}


def load_generator(checkpoint: Path, device: str, precision: Precision) -> LoadedGenerator:
    """Read a checkpoint and rebuild its inference network.

    Raises:
        InputError: a checkpoint that cannot be read, or as :func:`build_generator`.
    """
    from mcrgen.io.checkpoints import read_checkpoint

    return build_generator(read_checkpoint(checkpoint, "checkpoint"), device, precision)


def build_generator(checkpoint: dict[str, Any], device: str, precision: Precision) -> LoadedGenerator:
    """Rebuild the inference network of a checkpoint that has been read.

    Raises:
        InputError: no such device or arithmetic; a checkpoint of a run that has not ended.
    """
    from mcrgen.generation.generator import Generator

    where = resolve_device(device)
    arithmetic = resolve_precision(precision, where)
    if checkpoint["mcrgen"]["kind"] in GANS:
        return _load_gan(checkpoint, where, precision)
    network, record = _network(checkpoint).to(where), checkpoint["mcrgen"]
    if "conditional" not in record:
        folded = network.folded(torch_dtype(arithmetic))
        return LoadedGenerator(Generator(folded, network.halo, network.noise_channels), record, arithmetic)
    conditional = ConditionalGenerator(network, record, arithmetic)
    fraction = record["calibration"]["fractions"][record["phases"]["phase"]]
    return LoadedGenerator(conditional.at(fraction), record, arithmetic, conditional, fraction)


def makes_samples(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint's generator makes whole samples, images or volumes, rather than parts of an unlimited volume."""
    if checkpoint["mcrgen"]["kind"] not in GANS:
        return False
    settings = checkpoint["hyper_parameters"]
    return bool(settings["dimensions"] == 2 or settings["latent"] == "vector")


def _load_gan(checkpoint: dict[str, Any], device: torch.device, precision: Precision) -> LoadedGenerator:
    """The generator of a GAN that grows volumes from a field of cells, in float32 unless asked otherwise.

    Raises:
        InputError: a generator of whole samples.
    """
    if makes_samples(checkpoint):
        raise InputError(
            "checkpoint: expected a generator of volumes of any size, this one makes samples of its own size; use it with "
            "`mcrgen generate CKPT OUT`, without regions and blocks."
        )
    arithmetic = Precision.fp32 if precision is Precision.auto else resolve_precision(precision, device)
    return LoadedGenerator(gan_generator(checkpoint, device, arithmetic), checkpoint["mcrgen"], arithmetic)


def gan_generator(checkpoint: dict[str, Any], device: torch.device, precision: Precision) -> LatentGenerator:
    """The finished generator of a GAN's checkpoint: the average of its weights, if one was kept."""
    from mcrgen.generation.latent import LatentGenerator
    from mcrgen.tasks.adversarial_settings import AdversarialSettings

    require_finished(checkpoint)
    network = AdversarialSettings(**checkpoint["hyper_parameters"]).generator()
    prefixes = ("averaged.module.", "generator.")
    state = checkpoint["state_dict"]
    prefix = next(p for p in prefixes if any(key.startswith(p) for key in state))
    network.load_state_dict({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    return LatentGenerator(network.eval().to(device, torch_dtype(precision)))


def require_finished(checkpoint: dict[str, Any]) -> None:
    """Raise unless the training run of a checkpoint has ended.

    Raises:
        InputError: it has not.
    """
    if "calibration" not in checkpoint["mcrgen"]:
        raise InputError(
            "checkpoint: this is the state of a training run that has not ended; go on with `mcrgen train --resume`, "
            "then use its model.ckpt."
        )


def _network(checkpoint: dict[str, Any]) -> SWNN:
    """Rebuild the network from a checkpoint's plain data."""
    from mcrgen.networks.swnn import SWNN

    record = checkpoint["mcrgen"]
    if record["kind"] != "swnn":
        kinds = ", ".join(("swnn", *GANS))
        raise InputError(f"checkpoint: expected a generator of the kind {kinds}, got one of the kind {record['kind']}.")
    require_finished(checkpoint)
    settings = checkpoint["hyper_parameters"]
    sizes = {name: settings[name] for name in ("out_channels", "channels", "layers", "noise_channels")}
    network = SWNN(**sizes, condition_range=settings.get("phase_fraction_range"))  # older checkpoints have none
    prefix = "network."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    network.load_state_dict(state)
    return network.eval()


def choose_block_size(
    memory: Callable[[Triple], int], shape: Triple, wanted: int | None, device: torch.device, processes: Processes
) -> int:
    """The block size that was asked for, or the largest usual one that takes at most half of the memory at hand; it is told.

    Args:
        memory: bytes that a block of a shape takes, about.
        shape: (D, H, W) of the volume.
        wanted: edge length in voxels that was asked for, or None.
        device: whose memory it is.
        processes: that share the memory (of a node, unless each has a device of its own) and the blocks.

    Raises:
        InputError: the blocks would not fit into memory; the message names a size that would.
    """
    available = _available_memory(device) // (blocks_at_once(device) if device.type == "cuda" else processes.devices)

    def need(size: int) -> int:
        z, y, x = (min(size, length) for length in shape)
        return memory((z, y, x))

    def enough(size: int) -> bool:
        return prod(-(-length // size) for length in shape) >= processes.count

    fitting = [size for size in _BLOCK_SIZES if need(size) <= available / 2]
    size = wanted or next((size for size in fitting if enough(size)), fitting[-1] if fitting else _BLOCK_SIZES[-1])
    if need(size) > available:
        advice = f"use --block-size {fitting[0]}" if fitting else "free some memory"
        needed, free = (f"{amount / 2**30:.1f} GiB" for amount in (need(size), available))
        raise InputError(f"block_size: blocks of {size} voxels need about {needed}, {free} are free; {advice}.")
    each = " in each process" if processes.count > 1 else ""
    console.print(f"blocks of up to {size} voxels an edge, about {need(size) / 2**30:.2f} GiB for the network{each}")
    return size


def _available_memory(device: torch.device) -> int:
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    available: int = psutil.virtual_memory().available
    return available
