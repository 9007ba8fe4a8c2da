"""``mcrgen train`` for GANs: crops of micrographs become a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._console import console, progress_bar, quiet_libraries
from mcrgen.commands._exemplars import with_absolute_paths
from mcrgen.commands._fitting import best_checkpoint, fit, select
from mcrgen.commands._gan_checks import check_gan_numbers, check_network
from mcrgen.commands._gan_config import GanConfig, GanMethod
from mcrgen.commands._hardware import Precision, resolve_device, resolve_precision
from mcrgen.commands._learning import classifier
from mcrgen.commands._micrographs import Micrographs, open_micrographs
from mcrgen.commands._run_folder import TrainResult, files_record, find_resume_point, prepare_folder, stopped
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.callbacks.best_checkpoint import BestCheckpoint
    from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
    from mcrgen.data.crops import Crops
    from mcrgen.tasks.adversarial import AdversarialTask

_SHOWN = 25
_STACK = 3


def train_gan(config: GanConfig) -> TrainResult:
    """Train, calibrate and save.

    Raises:
        InputError: bad input, before any work; a loss that was not a number, after the best model before it was saved.
        StoppedError: stopped by a signal; the message says how to go on.
    """
    check_gan_numbers(config)
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    with open_micrographs(config) as micrographs:
        check_network(config, micrographs)
        folder = (config.output or Path("runs") / micrographs.name).resolve()
        config = replace(config, output=folder, data=with_absolute_paths(config.data))
        resume_from = find_resume_point(config, folder, lambda: _files(micrographs))
        crops = _crops(config, micrographs)
        with quiet_libraries():
            return _Run(config, folder, micrographs, crops, device, precision).perform(resume_from)


def _files(micrographs: Micrographs) -> list[dict[str, Any]]:
    return files_record(micrographs.files, [medium.shape for medium in micrographs.media])


def _crops(config: GanConfig, micrographs: Micrographs) -> Crops:
    """Windows of the files.

    Raises:
        InputError: windows that do not fit the files, or of a single phase.
    """
    from mcrgen.data.crops import Crops
    from mcrgen.data.symmetry import Symmetry

    data = config.data
    return Crops(
        micrographs.sources,
        micrographs.phases,
        dimensions=micrographs.crop_dimensions,
        normals=[0] * len(micrographs.sources),
        window=data.window or config.network.size,
        stride=data.stride,
        size=config.network.size,
        symmetry=[Symmetry(symmetry.value) for symmetry in micrographs.symmetries],
        batch=config.trainer.batch_size,
        updates=config.loss.critic_steps,
        held_out=data.held_out,
        balanced=data.balanced,
        seed=config.seed,
    )


def build_gan(config: GanConfig, micrographs: Micrographs) -> AdversarialTask:
    """Generator, critics and losses."""
    from mcrgen.tasks.adversarial_settings import AdversarialSettings
    from mcrgen.tasks.dcgan import DCGANTask
    from mcrgen.tasks.wgan_gp import WGANGPTask

    network, loss, optimizer, trainer = config.network, config.loss, config.optimizer, config.trainer
    kind = {GanMethod.dcgan: DCGANTask, GanMethod.wgan_gp: WGANGPTask}[config.method]
    return kind(
        AdversarialSettings(
            dimensions=micrographs.dimensions,
            channels=micrographs.phases.channels,
            size=network.size,
            latent=network.latent.value,
            latent_channels=network.latent_channels,
            features=network.features,
            max_features=network.max_features,
            upsampling=network.upsampling.value,
            critic_features=network.critic_features,
            spectral_norm=network.spectral_norm,
            judged=micrographs.judged,
            batch=trainer.batch_size,
            volumes=trainer.volumes,
            critic_steps=loss.critic_steps,
            learning_rate=optimizer.learning_rate,
            critic_learning_rate=optimizer.critic_learning_rate or optimizer.learning_rate,
            betas=optimizer.betas,
            averaging=optimizer.averaging,
            gradient_penalty=loss.gradient_penalty,
            label_smoothing=loss.label_smoothing,
            instance_noise=loss.instance_noise,
            max_steps=trainer.max_steps,
            seed=config.seed,
        )
    )


class _Run:
    """A training run, from the open files to the finished model."""

    def __init__(
        self,
        config: GanConfig,
        folder: Path,
        micrographs: Micrographs,
        crops: Crops,
        device: torch.device,
        precision: Precision,
    ) -> None:
        import numpy as np

        self.config, self.folder, self.micrographs, self.crops = config, folder, micrographs, crops
        self.device, self.precision = device, precision
        self.task = build_gan(config, micrographs)
        each = -(-config.monitor.windows // len(micrographs.sources))
        sources = [crops.held_out_windows(each, source) for source in range(len(micrographs.sources))]
        # evenly mixed, so that the first few show all sections
        order = np.argsort(np.concatenate([np.linspace(0, 1, len(windows)) for windows in sources]), kind="stable")
        self.windows: NDArray[np.uint8] = np.concatenate(sources)[order]
        # a source that stands for the sections normal to two axes counts twice, as it does in volumes
        times = [len(kinds) for kinds in micrographs.judged] if len(sources) > 1 else [1]
        self._compared = np.concatenate([np.repeat(w, n, axis=0) for w, n in zip(sources, times, strict=True)])
        self._check_windows()
        exact = config.data.balanced or crops.size == (config.data.window or crops.size)
        self.fractions = micrographs.fractions if exact else tuple(crops.phase_fractions)

    def _check_windows(self) -> None:
        """Raise unless the phase of interest and another one are in the held-out windows.

        Raises:
            InputError: they are of one phase, and S2 would have nothing to be scaled by.
        """
        phases = self.micrographs.phases
        share = float((self.windows == phases.phase).mean())
        if self.config.monitor.every and not 0.0 < share < 1.0:
            found = "nothing but" if share else "nothing of"
            raise InputError(
                f"data.held_out: expected windows with several phases at the end of '{self.micrographs.files[0][1]}', found "
                f"{found} the value {phases.values[phases.phase]}; choose another share, 0 for windows of the whole, or "
                "--monitor.every 0."
            )

    def perform(self, resume_from: Path | None) -> TrainResult:
        """Train, calibrate, save and show.

        Raises:
            InputError: a loss that was not a number.
            StoppedError: stopped by a signal.
        """
        prepare_folder(self.config, self.folder, self.micrographs.inputs, keep=resume_from is not None)
        self.task.record = self._record()
        self._write_windows()
        try:
            self.task.record["selected"] = self._fit(resume_from)
            return self._finish()
        except (KeyboardInterrupt, SystemExit) as interrupt:  # Lightning turns a second Ctrl-C into SystemExit
            raise stopped(self.folder, "stopped") from interrupt

    def _record(self) -> dict[str, Any]:
        """What the checkpoint tells of the run beside its weights."""
        from mcrgen.io.checkpoints import FORMAT
        from mcrgen.io.provenance import versions

        phases, size = self.micrographs.phases, self.micrographs.voxel_size_um
        window = self.config.data.window or self.config.network.size
        return {
            "format": FORMAT,
            "config": configuration.to_plain(self.config),
            "phases": {"values": list(phases.values), "phase": phases.phase, "names": list(self.config.data.phase_names)},
            "voxel_size_um": None if size is None else size * window / self.config.network.size,
            "exemplars": _files(self.micrographs),
            "reference": {"phase_fractions": list(self.fractions)},
            "versions": versions(),
        }

    def _write_windows(self) -> None:
        """Keep the held-out windows, for `mcrgen compare`; 2D ones."""
        from mcrgen.io.images import write_labels

        if self.windows.ndim > _STACK:
            return
        folder = self.folder / "held_out"
        folder.mkdir(exist_ok=True)
        for number, window in enumerate(self.windows):
            write_labels(folder / f"window_{number:04d}.tif", window, self.task.record["voxel_size_um"])

    def _fit(self, resume_from: Path | None) -> dict[str, Any]:
        """Train, and leave the weights of the selected step in the task; which one it was is returned."""
        from mcrgen.callbacks.loss_curves import LossCurves
        from mcrgen.callbacks.progress import TrainingProgress
        from mcrgen.callbacks.sample_grid import SampleGrid

        config, folder, phases, every = self.config, self.folder, self.micrographs.phases, self.config.trainer.preview_every
        best = best_checkpoint(config, folder)
        shown = {"train/critic_loss": "critic", "train/generator_loss": "generator"}
        with progress_bar() as progress:
            callbacks = [
                TrainingProgress(progress, "train/critic_loss", label="critic"),
                SampleGrid(folder / "previews", self.windows, phases.count, phases.phase, every=every),
                LossCurves(folder / "losses.png", shown, every=every),
                self._monitor(),
                best,
            ]
            fit(
                config, folder, self.task, self.crops, callbacks,
                resume_from=resume_from, device=self.device, precision=self.precision,
            )  # fmt: skip
        if self.task.failed:
            raise self._diverged(self.task.global_step, best)
        return select(self.task, best, config.monitor.select, config.trainer.max_steps)

    def _diverged(self, step: int, best: BestCheckpoint | None) -> InputError:
        """Make the model of the best step so far, if there is one, and tell."""
        kept = "nothing was saved before it"
        if best is not None and best.best_model_score is not None:
            self.task.record["selected"] = select(self.task, best, self.config.monitor.select, step)
            self._finish()
            kept = f"the model of the best step before it is '{self.folder / 'model.ckpt'}'"
        elif (self.folder / "last.ckpt").exists():
            kept = f"'{self.folder / 'last.ckpt'}' is of a step before it"
        return InputError(
            f"optimizer.learning_rate: training diverged to NaN after step {step} at {self.config.optimizer.learning_rate}; "
            f"{kept}; train anew with a smaller one."
        )

    def _monitor(self) -> DescriptorMonitor | None:
        """Measures samples beside held-out windows while training, unless it is turned off."""
        from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
        from mcrgen.callbacks.reference import Reference
        from mcrgen.io.phases import phase_fractions

        settings, phases = self.config.monitor, self.micrographs.phases
        if settings.every == 0:
            return None
        reference = Reference.of_windows(self._compared == phases.phase, max_lag=settings.max_lag)
        return DescriptorMonitor(
            self.folder / "monitor",
            reference,
            classifier(phases, phase_fractions(self._compared, phases.count).tolist()),
            phase=phases.phase,
            every=settings.every,
            samples=settings.samples,
            size=self.config.network.size,
        )

    def _finish(self) -> TrainResult:
        """Choose the threshold, save the model, and show it."""
        checkpoint = self.folder / "model.ckpt"
        self.task.to(self.device)
        with console.status("calibrating"):
            self.task.record["calibration"] = self._calibration()
        self.task.trainer.save_checkpoint(checkpoint, weights_only=True)
        self._preview(self.folder / "preview.png")
        console.print(f"trained: {checkpoint}")
        return TrainResult(self.folder, checkpoint, self.fractions)

    def _calibration(self) -> dict[str, Any]:
        """The bias at which samples have the phase fractions of the crops."""
        from mcrgen.generation.calibration import calibration_of

        seeds = range(-self.config.calibration.samples, 0)  # of no sample that a user can ask for
        flat = self._scores(seeds).transpose(0, 1).flatten(1).numpy()
        phase, precision = self.micrographs.phases.phase, Precision.fp32.value
        return configuration.to_plain(calibration_of(flat, self.fractions, phase=phase, precision=precision))

    def _scores(self, seeds: Sequence[int]) -> Tensor:
        """Scores of samples of the finished model, as `mcrgen generate` makes them."""
        from mcrgen.generation.latent import LatentGenerator, sample_scores

        generator = LatentGenerator(self.task.finished.eval())
        return sample_scores(generator, seeds, (self.config.network.size,) * self.micrographs.dimensions)

    def _preview(self, path: Path) -> None:
        """Held-out windows beside samples of the finished model."""
        from mcrgen.callbacks.sample_grid import flat
        from mcrgen.generation.calibration import classify
        from mcrgen.plotting.grids import plot_grids

        phases = self.micrographs.phases
        scores = self._scores(range(_SHOWN))
        bias = self.task.record["calibration"]["bias"]
        labels = classify(scores.transpose(0, 1).flatten(2)[:, None], bias, phases.phase).reshape(
            len(scores), *scores.shape[2:]
        )
        of_volumes = ", sections normal to z, y, x in turn" if labels.ndim > _STACK else ""
        grids = {"micrograph": self.windows[:_SHOWN], f"generated{of_volumes}": labels.numpy()}
        plot_grids(
            path,
            {name: flat(media) / (phases.count - 1) for name, media in grids.items()},
            title=f"{self.micrographs.name}: held-out windows and calibrated samples",
        )
