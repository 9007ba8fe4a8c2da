"""``mcrgen train``: a labelled image becomes a trained generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar, quiet_libraries
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision, torch_dtype
from mcrgen.commands._train_checks import check_exemplar, check_numbers, find_resume_point
from mcrgen.commands._train_config import LAST, TrainConfig, WandbMode
from mcrgen.errors import InputError, StoppedError

if TYPE_CHECKING:
    import torch
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
    from mcrgen.data.exemplar import Exemplar
    from mcrgen.descriptors.measure import Measurement
    from mcrgen.generation.calibration import Calibration
    from mcrgen.generation.generator import Generator
    from mcrgen.io.images import Medium
    from mcrgen.tasks.swnn import SWNNTask

PRODUCTS = (
    "model.ckpt", "best.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "previews", "monitor", "log",
    "wandb",
)  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes:
        folder: the run folder.
        checkpoint: the calibrated model, for ``mcrgen generate``.
        phase_fractions: fractions the labels were calibrated for, one per phase.
    """

    folder: Path
    checkpoint: Path
    phase_fractions: tuple[float, ...]


def run(config: TrainConfig) -> TrainResult:
    """Train, calibrate and save.

    Raises:
        InputError: bad input, before any work.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    from mcrgen.io.images import read_medium

    check_numbers(config)
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    medium = read_medium(config.data.image, "data.image", phase=config.data.phase, phase_name="data.phase")
    check_exemplar(config, medium)
    folder = (config.output or Path("runs") / config.data.image.stem).resolve()
    config = replace(config, output=folder, data=replace(config.data, image=config.data.image.resolve()))
    resume_from = find_resume_point(config, folder)
    with quiet_libraries():
        data, task = _build(config, medium)
        _prepare_folder(config, folder, keep=resume_from is not None)
        task.record = _record(config, medium)
        try:
            task.record["selected"] = _fit(config, folder, resume_from, data, task, medium, device, precision)
            return _finish(config, folder, task, medium, device)
        except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning turns a second Ctrl-C into SystemExit
            raise _stopped(folder, "stopped") from interrupt


def _prepare_folder(config: TrainConfig, folder: Path, *, keep: bool) -> None:
    """Clear what an earlier run wrote (never anything else) and write configuration and provenance."""
    import shutil

    from mcrgen.io.provenance import provenance, write_json

    if not keep:
        for product in (folder / name for name in PRODUCTS):
            if product.is_dir():
                shutil.rmtree(product)
            else:
                product.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        configuration.save(replace(config, overwrite=False, resume=False), folder / "config.yaml")
    except OSError as error:
        raise InputError(f"output: cannot write to '{folder}' ({error.strerror}); choose another folder.") from error
    plain = configuration.to_plain(config)
    write_json(folder / "provenance.json", provenance("train", plain, {"image": config.data.image}))


def _build(config: TrainConfig, medium: Medium) -> tuple[Exemplar, SWNNTask]:
    from mcrgen.data.exemplar import Exemplar
    from mcrgen.io.phases import indicators
    from mcrgen.tasks.swnn import SWNNTask

    data = Exemplar(
        indicators(medium.labels, medium.phases),
        patch_size=config.data.patch_size,
        count=(config.trainer.slab_size - config.data.patch_size + 1) ** 2,
        symmetric=config.data.symmetric,
        seed=config.seed,
        phase_fraction=config.data.phase_fraction,
    )
    layers = config.network.layers or _derived_layers(medium)
    matched = config.loss.covariance_weight > 0 and config.data.phase_fraction is None
    task = SWNNTask(
        out_channels=medium.phases.channels,
        channels=config.network.channels,
        layers=layers,
        noise_channels=config.network.noise_channels,
        patch_size=config.data.patch_size,
        slab_size=config.trainer.slab_size,
        projections=config.loss.projections,
        exponent=config.loss.exponent,
        covariance_weight=config.loss.covariance_weight,
        learning_rate=config.optimizer.learning_rate,
        final_learning_rate=config.optimizer.final_learning_rate,
        max_steps=config.trainer.max_steps,
        seed=config.seed,
        covariance=data.covariance(min(2 * layers, config.trainer.slab_size // 2)) if matched else None,
    )
    return data, task


def _derived_layers(medium: Medium) -> int:
    """Depth whose receptive field just covers the autocorrelation length, as the SWNN paper's eq. 12 asks.

    What counts as that length is settled here: the lag at which the scaled autocovariance has fallen to 5 %.
    """
    import torch

    from mcrgen.descriptors.correlation_length import autocorrelation_length

    measured = _measured(medium)
    length = autocorrelation_length(torch.from_numpy(measured.curves["s2"].mean), measured.fraction)
    return max(2, -(-length // 2))


def _measured(medium: Medium) -> Measurement:
    """Phase fraction, surface and S2 of the exemplar."""
    from mcrgen.descriptors.compare import common_lags
    from mcrgen.descriptors.measure import measure

    max_lag, _ = common_lags(medium.labels.shape)
    return measure(medium.labels == medium.phases.phase, max_lag=max_lag, curves=("s2",))


def _record(config: TrainConfig, medium: Medium) -> dict[str, Any]:
    """What the checkpoint tells of the run beside its weights."""
    from mcrgen.io.checkpoints import FORMAT
    from mcrgen.io.phases import phase_fractions
    from mcrgen.io.provenance import sha256, versions

    measured = _measured(medium)
    return {
        "format": FORMAT,
        "config": configuration.to_plain(config),
        "phases": {"values": list(medium.phases.values), "phase": medium.phases.phase, "names": list(config.data.phase_names)},
        "voxel_size_um": config.data.voxel_size_um or medium.voxel_size_um,
        "exemplar": {"path": str(config.data.image), "sha256": sha256(config.data.image), "shape": list(medium.labels.shape)},
        "reference": {
            "phase_fractions": phase_fractions(medium.labels, medium.phases.count).tolist(),
            "s2": measured.curves["s2"].mean.tolist(),
            "specific_surface": measured.specific_surface,
        },
        "versions": versions(),
    }


def _fit(
    config: TrainConfig,
    folder: Path,
    resume_from: Path | None,
    data: Exemplar,
    task: SWNNTask,
    medium: Medium,
    device: torch.device,
    precision: Precision,
) -> dict[str, Any]:
    """Train, and leave the weights of the selected step in the task; which one it was is returned."""
    from mcrgen.callbacks.progress import TrainingProgress
    from mcrgen.callbacks.resumable import Resumable
    from mcrgen.callbacks.sample_images import SampleImages
    from mcrgen.commands._wandb import close

    monitor, best = _monitor(config, folder, medium), _best(config, folder)
    resumable = Resumable(folder / "last.ckpt", every=config.trainer.checkpoint_every)
    with progress_bar() as progress:
        previews = SampleImages(folder / "previews", data.image, every=config.trainer.preview_every)
        callbacks = [TrainingProgress(progress, "train/loss"), previews, monitor, best, resumable]
        trainer = _trainer(config, _loggers(config, folder), [c for c in callbacks if c is not None], device, precision)
        try:
            trainer.fit(task, data, ckpt_path=resume_from, weights_only=True)
        finally:
            if config.logging.wandb != WandbMode.disabled:
                close()
    if resumable.stopped and trainer.global_step < config.trainer.max_steps:
        raise _stopped(folder, f"stopped at step {trainer.global_step} of {config.trainer.max_steps}")
    _check_finite(config, task)
    return _select(config, task, best)


def _monitor(config: TrainConfig, folder: Path, medium: Medium) -> DescriptorMonitor | None:
    from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
    from mcrgen.callbacks.reference import Reference

    settings, phases = config.monitor, medium.phases
    if settings.every == 0:
        return None
    reference = Reference.measure(medium.labels == phases.phase, size=settings.sample_size, max_lag=settings.max_lag)
    return DescriptorMonitor(
        folder / "monitor",
        replace(reference, fraction=config.data.phase_fraction or reference.fraction),
        _classifier(medium),
        phase=phases.phase,
        every=settings.every,
        samples=settings.samples,
        size=settings.sample_size,
    )


def _classifier(medium: Medium) -> Callable[[Tensor], Tensor]:
    """From scores of several samples to where the phase of interest is, all phase fractions being the exemplar's."""
    from mcrgen.generation.calibration import classify, solve_bias
    from mcrgen.io.phases import phase_fractions

    phase, count = medium.phases.phase, medium.phases.count
    fractions = phase_fractions(medium.labels, count).tolist()
    targets = fractions if count > 2 else [fractions[phase]]

    def classified(scores: Tensor) -> Tensor:
        flat = scores.cpu().transpose(0, 1).flatten(1)
        labels = classify(flat[:, None, None], solve_bias(flat.numpy(), targets), phase)
        return (labels == phase).reshape(len(scores), *scores.shape[2:])

    return classified


def _best(config: TrainConfig, folder: Path) -> BestCheckpoint | None:
    """Keeps the step to take as the model; None if that is the last."""
    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.callbacks.metrics import PREFIX

    if config.monitor.every == 0 or config.monitor.select == LAST or config.data.phase_fraction is not None:
        return None
    return BestCheckpoint(folder / "best.ckpt", PREFIX + config.monitor.select)


def _check_finite(config: TrainConfig, task: SWNNTask) -> None:
    import torch

    if not all(torch.isfinite(p).all() for p in task.network.parameters()):
        raise InputError(
            f"optimizer.learning_rate: training diverged to NaN at {config.optimizer.learning_rate}; try a smaller one."
        )


def _select(config: TrainConfig, task: SWNNTask, best: BestCheckpoint | None) -> dict[str, Any]:
    """Put the weights of the selected step into the task and say which one it is."""
    from mcrgen.io.checkpoints import read_checkpoint

    steps = config.trainer.max_steps
    if best is None or best.best_model_score is None:
        return {"step": steps, "metric": LAST, "value": None}
    checkpoint = read_checkpoint(Path(best.path), "resume")
    task.load_state_dict(checkpoint["state_dict"])
    step, metric, value = checkpoint["global_step"], config.monitor.select, float(best.best_model_score)
    console.print(f"selected: step {step} of {steps}, {metric} {value:.3g}")
    return {"step": step, "metric": metric, "value": value}


def _stopped(folder: Path, what: str) -> StoppedError:
    """How to go on with a run that was interrupted."""
    return StoppedError(f"{what}; go on with `mcrgen train --config {folder / 'config.yaml'} --resume`.")


def _trainer(
    config: TrainConfig, loggers: list[Logger], callbacks: list[Callback], device: torch.device, precision: Precision
) -> Trainer:
    from pytorch_lightning import Trainer

    from mcrgen.callbacks.checkpoint_io import AtomicCheckpointIO

    plugin = {Precision.fp32: "32-true", Precision.bf16: "bf16-mixed", Precision.fp16: "16-mixed"}[precision]
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=plugin,  # type: ignore[arg-type]
        max_steps=config.trainer.max_steps,
        max_epochs=-1,
        logger=loggers,
        callbacks=callbacks,
        plugins=AtomicCheckpointIO(),
        log_every_n_steps=config.trainer.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _loggers(config: TrainConfig, folder: Path) -> list[Logger]:
    """CSV always; Weights & Biases unless disabled."""
    from pytorch_lightning.loggers import CSVLogger

    from mcrgen.commands._wandb import open_logger

    loggers: list[Logger] = [CSVLogger(folder, name="log")]
    if config.logging.wandb != WandbMode.disabled:
        loggers.append(open_logger(config.logging.wandb, config.logging.project, folder, configuration.to_plain(config)))
    return loggers


def _finish(config: TrainConfig, folder: Path, task: SWNNTask, medium: Medium, device: torch.device) -> TrainResult:
    """Calibrate the trained network on full volumes and save it with a preview."""
    from mcrgen.generation.calibration import calibrate, reestimate_batchnorm, rescale_fractions
    from mcrgen.generation.generator import Generator

    checkpoint, settings = folder / "model.ckpt", config.calibration
    precision = resolve_precision(Precision.auto, device)
    fractions = task.record["reference"]["phase_fractions"]
    if config.data.phase_fraction is not None:
        fractions = rescale_fractions(fractions, medium.phases.phase, config.data.phase_fraction)
    with console.status("calibrating on full volumes"):
        network = task.network.to(device)
        reestimate_batchnorm(
            network, network.halo, network.noise_channels, settings.batchnorm_blocks, settings.batchnorm_block_size
        )
        generator = Generator(network.folded(torch_dtype(precision)), network.halo, network.noise_channels)
        calibration = calibrate(
            generator,
            fractions,
            phase=medium.phases.phase,
            precision=precision.value,
            blocks=settings.threshold_blocks,
            block_size=settings.threshold_block_size,
        )
        task.record["calibration"] = configuration.to_plain(calibration)
        task.trainer.save_checkpoint(checkpoint, weights_only=True)
        _preview(folder / "preview.png", config, generator, calibration, medium)
    console.print(f"trained: {checkpoint}")
    return TrainResult(folder, checkpoint, calibration.fractions)


def _preview(path: Path, config: TrainConfig, generator: Generator, calibration: Calibration, medium: Medium) -> None:
    """The exemplar beside three sections of the calibrated field."""
    from mcrgen.generation.calibration import classify
    from mcrgen.generation.noise import Noise
    from mcrgen.plotting.slices import plot_slices

    size = config.trainer.slab_size
    top_label = medium.phases.count - 1
    panels = {"exemplar": medium.labels / top_label}
    for axis, name in enumerate("zyx"):
        z, y, x = (1 if i == axis else size for i in range(3))
        labels = classify(generator.scores(Noise(config.seed), (0, 0, 0), (z, y, x)), calibration.bias, medium.phases.phase)
        panels[f"normal to {name}"] = labels.cpu().numpy().squeeze(axis) / top_label
    plot_slices(path, panels, title=f"{config.data.image.name}: exemplar and calibrated sections")
