"""Kernels that are compiled when they are first used, and what the terminal shows meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mcrgen.commands._console import console
from mcrgen.commands._reconstruct_config import Method, ReconstructConfig
from mcrgen.commands._targets import chosen_names

if TYPE_CHECKING:
    import torch


def compile_kernels(config: ReconstructConfig, device: torch.device) -> None:
    """Compile what a reconstruction will call, or load it from the cache of an earlier run, before a bar counts its time."""
    if config.method == Method.annealing:
        with told_compilation():
            _anneal_a_little()
    elif device.type == "cpu" and "s3" in chosen_names(config) and _wraps_by_spectra(config):
        with told_compilation():
            _correlate_a_little(config.descriptors.lags)


@contextlib.contextmanager
def told_compilation() -> Iterator[None]:
    """Show a spinner from when something begins to be compiled; none where all of it comes from the cache."""
    from numba.core import event

    status = console.status("compiling for this processor, once")

    class Spinner(event.Listener):
        """Starts the spinner; kernels that are compiled for one another come as events inside each other."""

        def on_start(self, event: Any) -> None:
            status.start()

        def on_end(self, event: Any) -> None:
            """More may follow."""

    with event.install_listener("numba:compile", Spinner()):
        try:
            yield
        finally:
            status.stop()


def _wraps_by_spectra(config: ReconstructConfig) -> bool:
    """Whether S3 of the medium, or of one of its coarser levels, is computed by the compiled kernels."""
    import torch

    from mcrgen.descriptors.multigrid import multigrid_levels
    from mcrgen.descriptors.three_point import spectral_is_cheaper

    if not (config.periodic or config.exemplar_periodic):
        return False
    limit = config.descriptors.lags
    levels = multigrid_levels(torch.empty(1, 1, *sorted(config.size)[:2]), limit)
    return any(spectral_is_cheaper(level, limit) for level in levels)


def _anneal_a_little() -> None:
    import numpy as np

    from mcrgen.reconstruction.annealing import Annealing
    from mcrgen.reconstruction.energies import Energy, EnergyTerm
    from mcrgen.reconstruction.schedule import Schedule

    medium = (np.indices((4, 4)).sum(axis=0) % 2).astype(np.uint8)
    Annealing([EnergyTerm(Energy.s2, np.full((1, 2, 2), 0.3), (1,))], medium, Schedule(), seed=0).run(1)


def _correlate_a_little(limit: int) -> None:
    import torch

    from mcrgen.descriptors._three_point_spectral import SpectralThreePoint

    slices = torch.zeros(1, 2 * limit, 2 * limit, requires_grad=True)
    s3: torch.Tensor = SpectralThreePoint.apply(slices, limit)
    s3.sum().backward()  # type: ignore[no-untyped-call]
