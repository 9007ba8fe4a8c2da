"""The exemplar's own descriptors, measured on samples while a generator learns."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mcrgen.callbacks._images import log_image
from mcrgen.callbacks._interval import Interval
from mcrgen.callbacks.metrics import CURVES, METRICS, PREFIX
from mcrgen.callbacks.reference import Reference, pooled, probabilities, scaled
from mcrgen.descriptors.two_point import two_point_correlation
from mcrgen.plotting.monitor import Panel, plot_collapse, plot_curves

_SEED = -1  # training is seeded with 0 and more
_NORMALS = 3


class CollapseWarning(UserWarning):
    """The samples of a generator look all alike."""


class DescriptorMonitor(Callback):
    """Compares samples with a frozen reference every so many steps and at the last one.

    Logged as ``monitor/...``, on the step they were measured at and no other:

    - ``phase_fraction_error``: relative, at the task's own threshold (score 0, or the largest score);
    - ``s2_mse``, ``lineal_path_mse``: mean squared error over the lags of the two-point correlation and of the lineal path;
    - ``f2_mse``, ``f3h_mse``, ``f3v_mse``, ``f4_mse``, ``f6_mse``: of the scaled autocovariances F_n of pairs, triangles,
      squares and hexagons, each medium with its own phase fraction (Amiri et al., Sci. Rep. 13 (2023) 1732, eq. 2);
    - ``diversity``: scatter of S2 between samples over its scatter between windows of the exemplar, see :func:`diversity`. Far
      below 1 the generator has collapsed onto one sample (Amiri et al., fig. S1): a warning and a figure, once per run.

    All curves are measured after one shift of the threshold for all samples together, to the reference's phase fraction: the
    finished model is calibrated in that way, too. Curves and figure are written into a folder, and given to the loggers that
    take pictures and tables.

    Works with any module that has the hook ``sample(count, size, seed)`` of :class:`mcrgen.tasks.base.Task`, whether it makes
    slices or volumes. The seeds are fixed and training goes on as if nobody had looked. Scores that are not finite make every
    metric NaN.
    """

    def __init__(
        self,
        folder: Path,
        reference: Reference,
        classify: Callable[[Tensor], Tensor],
        *,
        phase: int,
        every: int,
        samples: int,
        size: int,
        collapse: float = 0.1,
    ) -> None:
        """Write to ``folder``.

        Args:
            folder: where curves (CSV) and figures (PNG) go.
            reference: the exemplar, measured.
            classify: scores ``(count, C, *spatial)`` -> ``(count, *spatial)`` bool on the CPU: where the phase of interest is
                when the phase fractions of all samples together are the exemplar's.
            phase: index of the phase of interest (used with C >= 3 channels).
            every: interval in steps.
            samples: number of samples, at least two.
            size: edge length of the samples in voxels, at least the reference's windows'.
            collapse: diversity below which the generator has collapsed.
        """
        self.folder = folder
        self.reference = reference
        self.classify = classify
        self.phase = phase
        self.samples = samples
        self.size = size
        self.collapse = collapse
        self._interval = Interval(every)
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._interval.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at samples when it is time."""
        if not self._interval.due(trainer):
            return
        scores: Tensor = pl_module.sample(self.samples, self.size, _SEED)  # type: ignore[operator]
        metrics = dict.fromkeys(METRICS, math.nan)
        if torch.isfinite(scores).all():
            phase = self.classify(scores)
            curves = probabilities(phase, self.reference.edge, self.reference.max_lag)
            metrics = self._errors(scores, curves) | {"diversity": diversity(phase, self.reference)}
            self._show(trainer, curves)
            if metrics["diversity"] < self.collapse:
                self._report_collapse(trainer, phase, metrics["diversity"])
        self._log(trainer, pl_module, metrics)

    def _errors(self, scores: Tensor, curves: dict[str, Tensor]) -> dict[str, float]:
        fraction = float(_unshifted(scores, self.phase).double().mean())
        together = scaled(pooled(curves))
        errors = {f"{name}_mse": float((together[name] - self.reference.curves[name]).square().mean()) for name in CURVES}
        return {"phase_fraction_error": abs(fraction / self.reference.fraction - 1.0)} | errors

    def _log(self, trainer: Trainer, pl_module: LightningModule, metrics: dict[str, float]) -> None:
        """To callbacks through the module, to loggers directly: it would repeat old values in every row until the next."""
        named = {PREFIX + name: value for name, value in metrics.items()}
        pl_module.log_dict(named, logger=False, on_step=True, on_epoch=False)
        for logger in trainer.loggers:
            logger.log_metrics(named, step=trainer.global_step)
            logger.save()

    def _show(self, trainer: Trainer, curves: dict[str, Tensor]) -> None:
        """Figure and table of all curves."""
        r, each, together = self.reference, scaled(curves), scaled(pooled(curves))
        panels = {name: Panel(*(c[name].numpy() for c in (r.curves, r.low, r.high, together, each))) for name in CURVES}
        path = self._path(trainer, "step")
        plot_curves(
            path, panels, title=f"step {trainer.global_step}: {len(each['s2'])} samples at the exemplar's phase fraction"
        )
        log_image(trainer, f"{PREFIX}curves", path)
        columns, rows = _table(panels)
        with path.with_suffix(".csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        for logger in trainer.loggers:
            if hasattr(logger, "log_table"):
                logger.log_table(f"{PREFIX}table", columns=columns, data=rows, step=trainer.global_step)

    def _report_collapse(self, trainer: Trainer, phase: Tensor, value: float) -> None:
        if self._warned:
            return
        self._warned = True
        path = self._path(trainer, "collapse_step")
        sections = _sections_s2(phase, self.reference).flatten(0, 1)
        title = f"step {trainer.global_step}: samples scatter by {value:.2g} of what the exemplar does"
        plot_collapse(path, self.reference.windows_s2.numpy(), sections.numpy(), title=title)
        log_image(trainer, f"{PREFIX}collapse", path)
        warnings.warn(
            f"the samples at step {trainer.global_step} look all alike: their two-point correlations scatter by {value:.2g} "
            f"of what windows of the exemplar do (collapse below {self.collapse:g}); see {path}.",
            CollapseWarning,
            stacklevel=2,
        )

    def _path(self, trainer: Trainer, what: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{what}_{trainer.global_step:06d}.png"


def diversity(phase: Tensor, reference: Reference) -> float:
    """How much samples differ from one another, compared with windows of the exemplar.

    The standard deviation over samples of the S2 of their central sections, as large as the reference's windows, averaged over
    lags and, for volumes, over the three section normals; divided by that over the windows.

    Args:
        phase: ``(B, *spatial)`` bool, B >= 2.
        reference: the exemplar, measured.

    Returns:
        About 1 for samples as various as the exemplar, 0 for equal ones; NaN if all windows are alike.
    """
    expected = float(reference.windows_s2.std(dim=0).mean())
    return float(_sections_s2(phase, reference).std(dim=1).mean()) / expected if expected > 0 else math.nan


def _sections_s2(phase: Tensor, reference: Reference) -> Tensor:
    """S2 ``(normals, B, lags)`` of central sections."""
    edge = reference.edge
    middle = phase.shape[-1] // 2
    sections = [phase] if phase.ndim == 3 else [phase.select(1 + normal, middle) for normal in range(_NORMALS)]
    start = (phase.shape[-1] - edge) // 2
    windows = torch.stack(sections)[..., start : start + edge, start : start + edge]
    along = [two_point_correlation(windows, reference.max_lag, axis) for axis in (0, 1)]
    return torch.stack(along).mean(dim=0)


def _unshifted(scores: Tensor, phase: int) -> Tensor:
    return scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(dim=1) == phase


def _table(panels: dict[str, Panel]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of all curves, one row per curve and lag."""
    count = len(next(iter(panels.values())).samples)
    columns = ["curve", "r", "exemplar", "exemplar_low", "exemplar_high", "samples", *(f"sample_{i}" for i in range(count))]
    rows = [
        [name, r, *(float(v) for v in values)]
        for name, p in panels.items()
        for r, values in enumerate(zip(p.reference, p.low, p.high, p.mean, *p.samples, strict=True))
    ]
    return columns, rows
