"""What ``mcrgen train`` is made of: patterns, task, monitor and record, from the options and the exemplars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._run_folder import files_record
from mcrgen.commands._train_config import DataConfig, LossKind, TrainConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
    from mcrgen.data.control import Target
    from mcrgen.data.exemplar import Exemplar
    from mcrgen.descriptors.measure import Measurement
    from mcrgen.io.phases import Phases
    from mcrgen.losses.covariance_matching import CovarianceTargets
    from mcrgen.tasks.swnn import SWNNTask

_COVARIANCES_PER_RANGE = 9
_GRAM_WINDOWS = 16


def own_fractions(data: DataConfig) -> bool:
    """Whether the phase fractions to learn are the exemplars' own."""
    return data.phase_fraction is None and data.phase_fraction_range is None and not data.phase_fractions


def build_data(config: TrainConfig, exemplars: Exemplars) -> Exemplar:
    """Patterns of the exemplars.

    Raises:
        InputError: targets that the patterns do not reach.
    """
    from mcrgen.data.exemplar import Exemplar
    from mcrgen.data.symmetry import Symmetry

    return Exemplar(
        exemplars.sections,
        exemplars.phases,
        patch_size=config.data.patch_size,
        count=(config.trainer.slab_size - config.data.patch_size + 1) ** 2,
        symmetry=[Symmetry(symmetry.value) for symmetry in exemplars.symmetries],
        seed=config.seed,
        target=_target(config.data),
    )


def _target(data: DataConfig) -> Target:
    from mcrgen.data.control import FractionRange, PhaseFractions

    if data.phase_fractions:
        return PhaseFractions(tuple(data.phase_fractions))
    ends = data.phase_fraction_range or (data.phase_fraction, data.phase_fraction)
    return None if ends[0] is None or ends[1] is None else FractionRange(ends[0], ends[1])


def build_task(config: TrainConfig, exemplars: Exemplars, data: Exemplar) -> SWNNTask:
    """Generator and losses."""
    from mcrgen.tasks.swnn import SWNNTask

    layers = config.network.layers or _derived_layers(exemplars)
    task = SWNNTask(
        out_channels=exemplars.phases.channels,
        channels=config.network.channels,
        layers=layers,
        noise_channels=config.network.noise_channels,
        patch_size=config.data.patch_size,
        slab_size=config.trainer.slab_size,
        loss_kind=config.loss.kind.value,
        distance=config.loss.distance.value,
        projections=config.loss.projections,
        exponent=config.loss.exponent,
        covariance_weight=config.loss.covariance_weight,
        learning_rate=config.optimizer.learning_rate,
        final_learning_rate=config.optimizer.final_learning_rate,
        max_steps=config.trainer.max_steps,
        seed=config.seed,
        normals=exemplars.normals,
        phase_fraction_range=config.data.phase_fraction_range,
        covariance=_covariance(config, exemplars, data, layers),
        gram=_gram(config, exemplars, data) if config.loss.kind == LossKind.gram else (),
    )
    if config.data.phase_fraction_range is not None:
        low, high = config.data.phase_fraction_range
        task.sample_fraction = min(max(exemplars.fractions[exemplars.phases.phase], low), high)
    return task


def _covariance(config: TrainConfig, exemplars: Exemplars, data: Exemplar, layers: int) -> list[CovarianceTargets]:
    """Autocovariances to match for each normal, if any."""
    import torch

    from mcrgen.losses.covariance_matching import CovarianceTargets

    kind, ends, at = config.loss.kind, config.data.phase_fraction_range, None
    if kind == LossKind.gram or (kind == LossKind.patterns and not config.loss.covariance_weight):
        return []
    if own_fractions(config.data):
        maps = data.covariance(min(2 * layers, config.trainer.slab_size // 2))[None]
    elif ends is None:
        maps = data.pattern_covariance(None).double()
    else:
        at = torch.linspace(*ends, _COVARIANCES_PER_RANGE, dtype=torch.float64)
        maps = data.pattern_covariance(at.tolist()).double()
    means = None
    if kind == LossKind.autocorrelation:
        fractions, phases = torch.tensor(target_fractions(config.data, exemplars), dtype=torch.float64), exemplars.phases
        means = fractions[phases.phase, None] if phases.channels == 1 else fractions
    return [CovarianceTargets(of_normal, at, means) for of_normal in maps.unbind(dim=1)]


def _gram(config: TrainConfig, exemplars: Exemplars, data: Exemplar) -> list[nn.Module]:
    """A loss for each normal, of windows as large as the slices; all share one feature network.

    Raises:
        InputError: a file that holds no weights of VGG-19.
    """
    import numpy as np
    import torch

    from mcrgen.data.symmetry import ELEMENTS, turn
    from mcrgen.descriptors.windows import grid_windows
    from mcrgen.io.phases import indicators
    from mcrgen.losses.descriptor_matching import GramMatching
    from mcrgen.networks.vgg_weights import load_vgg

    network = load_vgg(config.loss.vgg_weights or "random", padding="zero", name="loss.vgg_weights")
    losses: list[nn.Module] = []
    for sections, symmetry in zip(exemplars.sections, data.symmetry, strict=True):
        windows = [section[w] for section in sections for w in grid_windows(section.shape, config.trainer.slab_size)]
        chosen = windows[:: -(-len(windows) // _GRAM_WINDOWS)]
        images = torch.from_numpy(np.moveaxis(indicators(np.stack(chosen), exemplars.phases), 0, 1).copy())
        losses.append(GramMatching(network, torch.cat([turn(images, element) for element in ELEMENTS[symmetry]])))
    return losses


def _derived_layers(exemplars: Exemplars) -> int:
    """Depth whose receptive field just covers the autocorrelation length, as the SWNN paper's eq. 12 asks.

    What counts as that length is settled here: the lag at which the scaled autocovariance has fallen to 5 %.
    """
    import torch

    from mcrgen.descriptors.correlation_length import autocorrelation_length

    measured = _measured(exemplars)
    length = max(autocorrelation_length(torch.from_numpy(m.curves["s2"].mean), m.fraction) for m in measured)
    return max(2, -(-length // 2))


def _measured(exemplars: Exemplars) -> list[Measurement]:
    """Phase fraction, surface and S2 of each file."""
    from mcrgen.descriptors.compare import common_lags
    from mcrgen.descriptors.measure import measure

    max_lag, _ = common_lags(*(labels.shape for labels in exemplars.media))
    return [measure(labels == exemplars.phases.phase, max_lag=max_lag, curves=("s2",)) for labels in exemplars.media]


def record(config: TrainConfig, exemplars: Exemplars) -> dict[str, Any]:
    """What the checkpoint tells of the run beside its weights."""
    import numpy as np

    from mcrgen.io.checkpoints import FORMAT
    from mcrgen.io.provenance import versions

    measured = _measured(exemplars)
    sizes = [labels.size for labels in exemplars.media]
    return {
        "format": FORMAT,
        "config": configuration.to_plain(config),
        "phases": {
            "values": list(exemplars.phases.values),
            "phase": exemplars.phases.phase,
            "names": list(config.data.phase_names),
        },
        "voxel_size_um": exemplars.voxel_size_um,
        "exemplars": files_record(exemplars.files, [labels.shape for labels in exemplars.media]),
        "reference": {
            "phase_fractions": exemplars.fractions.tolist(),
            "s2": np.average([m.curves["s2"].mean for m in measured], axis=0, weights=sizes).tolist(),
            "specific_surface": float(np.average([m.specific_surface for m in measured], weights=sizes)),
        },
        "versions": versions(),
    }


def example(exemplars: Exemplars) -> NDArray[np.float32]:
    """Indicator channels ``(C, H, W)`` of the middle one of the sections, to show beside what is generated."""
    from mcrgen.io.phases import indicators

    sections = exemplars.sections[0]
    return indicators(sections[len(sections) // 2], exemplars.phases)


def monitor(config: TrainConfig, folder: Path, exemplars: Exemplars) -> DescriptorMonitor | None:
    """Measures samples while training, unless it is turned off."""
    settings = config.monitor
    if settings.every == 0:
        return None
    fractions = target_fractions(config.data, exemplars)
    return make_monitor(
        exemplars, folder / "monitor", fractions, every=settings.every, samples=settings.samples, size=settings.sample_size,
        max_lag=settings.max_lag,
    )  # fmt: skip


def make_monitor(
    exemplars: Exemplars, folder: Path, fractions: Sequence[float], *, every: int, samples: int, size: int, max_lag: int
) -> DescriptorMonitor:
    """Measures samples beside the exemplar; ``fractions`` are those that the samples should have."""
    from mcrgen.callbacks.descriptor_monitor import DescriptorMonitor
    from mcrgen.callbacks.reference import Reference

    phase = exemplars.phases.phase
    reference = Reference.measure([labels == phase for labels in exemplars.media], size=size, max_lag=max_lag)
    return DescriptorMonitor(
        folder,
        replace(reference, fraction=fractions[phase]),
        classifier(exemplars.phases, exemplars.fractions.tolist()),
        phase=phase,
        every=every,
        samples=samples,
        size=size,
    )


def target_fractions(data: DataConfig, exemplars: Exemplars) -> tuple[float, ...]:
    """Phase fractions of the finished model: those asked for, or the exemplars' own; of a range, the nearest to these."""
    from mcrgen.generation.calibration import rescale_fractions

    if data.phase_fractions:
        return tuple(data.phase_fractions)
    own, phase = exemplars.fractions.tolist(), exemplars.phases.phase
    wanted = own[phase] if data.phase_fraction is None else data.phase_fraction
    if data.phase_fraction_range is not None:
        wanted = min(max(wanted, data.phase_fraction_range[0]), data.phase_fraction_range[1])
    return rescale_fractions(own, phase, wanted)


def classifier(phases: Phases, fractions: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """From scores of several samples to where the phase of interest is, all phase fractions together being these."""
    from mcrgen.generation.calibration import classify, solve_bias

    phase = phases.phase
    targets = fractions if len(fractions) > 2 else [fractions[phase]]

    def classified(scores: Tensor) -> Tensor:
        flat = scores.cpu().transpose(0, 1).flatten(1)
        labels = classify(flat[:, None, None], solve_bias(flat.numpy(), targets), phase)
        return (labels == phase).reshape(len(scores), *scores.shape[2:])

    return classified
