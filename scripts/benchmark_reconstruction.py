"""Measure reconstruction: loss and gradient, annealing, memory; beside MCRpy, which is run from its own release with --peers.

    python scripts/benchmark_reconstruction.py
    python scripts/benchmark_reconstruction.py --peers --environment DIR
    python scripts/benchmark_reconstruction.py --parts race --peers --image slice.npy --seconds 300

Times depend on the machine and on what else runs on it: only the ratios, measured in one run, carry over. Without --peers the
figures of MCRpy 0.2.0 are those of another run (AMD EPYC with AVX-512, two cores), and so no ratio is printed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _peers
import numpy as np
import torch
import tyro
from benchmark import best_of, peak_memory, run_parts, table
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer

from mcrgen import config as configuration
from mcrgen.commands._compiling import compile_kernels
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._exemplars import read_exemplars
from mcrgen.commands._reconstruct_config import ReconstructConfig, Slices
from mcrgen.commands._reconstruction import build_task
from mcrgen.commands._reconstruction import reconstruct as optimised
from mcrgen.commands._targets import goal_of_images
from mcrgen.descriptors.three_point import three_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.errors import InputError
from mcrgen.reconstruction.annealing import Annealing
from mcrgen.reconstruction.energies import Energy, EnergyTerm
from mcrgen.reconstruction.random_medium import random_medium
from mcrgen.reconstruction.schedule import Schedule
from mcrgen.reconstruction.sections import sections

PARTS = ("evaluations", "annealing", "memory", "race")
OURS = {
    "board_s": ((64, 64), 16, ("s3",)),
    "board_sg": ((64, 64), 16, ("s3", "gram")),
    "slice_sv_8": ((64, 64, 64), 8, ("s3", "variation")),
    "slice_sv_16": ((64, 64, 64), 16, ("s3", "variation")),
    "slice_sgv_16": ((64, 64, 64), 16, ("s3", "gram", "variation")),
}
"""The cases of _peers.py with mcrgen's names: size, limit, descriptors."""
KNOWN_SECONDS = {"board_s": 0.12, "board_sg": 0.24, "slice_sv_8": 2.8, "slice_sv_16": 18.0, "slice_sgv_16": 35.0}
"""MCRpy 0.2.0, November 2026."""
SWAPS = 200_000


@dataclass
class Options:
    """What to measure."""

    parts: tuple[str, ...] = ("evaluations", "annealing", "memory")
    """Any of evaluations, annealing, memory, race."""
    cases: tuple[str, ...] = tuple(OURS)
    """Any of board_s, board_sg, slice_sv_8, slice_sv_16, slice_sgv_16."""
    peers: bool = False
    """Run MCRpy beside; its environment is built if it is not there (1.3 GB)."""
    environment: Path = _peers.Options.environment
    """Folder of MCRpy's environment."""
    image: Path | None = None
    """Square segmented image for the race; a level cut of a Gaussian field if not given."""
    seconds: float = 300.0
    """Wall time of each competitor of the race."""


def exemplar_file(case: str, image: Path | None, folder: Path) -> Path:
    """The image that the peer is given too."""
    path = folder / f"{case}.npy"
    np.save(path, _peers.image_of(_peers.CASES[case], image))
    return path


def config_of(case: str, path: Path, output: Path, *overrides: str) -> ReconstructConfig:
    size, limit, names = OURS[case]
    return configuration.load(
        ReconstructConfig,
        None,
        [f"paths=[{path},{output}]", f"size={list(size)}", f"descriptors.limit={limit}",
         f"descriptors.names={list(names)}", "logging.wandb=disabled", "optimization.levels=1", *overrides],
    )  # fmt: skip


def seconds_of(case: str, folder: Path, slices: Slices) -> float:
    """One evaluation of loss and gradient on the finest level."""
    path = exemplar_file(case, None, folder)
    config = config_of(case, path, folder / "out.tif", f"data.image={path}", f"descriptors.slices={slices.value}")
    device = torch.device("cpu")
    task = build_task(config, goal_of_images(config, read_exemplars(config.data)), 0, curves=False, device=device)
    return best_of(lambda: task.evaluate(), 3)


def measure_evaluations(options: Options) -> None:
    """Loss and gradient of one medium, the same descriptors, limit and levels for all."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in options.cases:
            each, together = (seconds_of(case, Path(folder), slices) for slices in (Slices.each, Slices.together))
            if options.peers:
                asked = _peers.Options(environment=options.environment, cases=(case,), evaluations=2)
                peer = _peers.measure_mcrpy(asked)[case]["direct_minimum"]
                beside, ratio = f"{peer:.2f} s", f"{peer / each:.1f}"
            else:
                beside, ratio = f"{KNOWN_SECONDS[case]} s (another run)", ""
            size, limit, names = OURS[case]
            what = f"{' × '.join(map(str, size))}, {' + '.join(names)}, limit {limit}"
            rows.append((what, f"{each:.3f} s", f"{together:.3f} s", beside, ratio))
            print(f"{what}: {each:.3f} s", file=sys.stderr)
    table(("loss and gradient, fp32", "every slice", "slices together", "MCRpy 0.2.0", "MCRpy / every slice"), rows)


def swaps_per_second(term: EnergyTerm, shape: tuple[int, ...]) -> float:
    """Attempted swaps per second at the published schedule."""
    medium = random_medium(shape, (0.6, 0.4), 0)
    annealing = Annealing([term], medium, replace(Schedule(), interface=0.0, tolerance=0.0), seed=0)
    return SWAPS / best_of(lambda: annealing.run(SWAPS), 3)


def measure_annealing() -> None:
    """Attempted swaps per second, one thread."""
    rows = []
    for shape, reach in (((64, 64), "1e5"), ((64, 64, 64), "2e4")):
        curves = np.tile(0.16 + 0.24 * np.exp(-np.arange(33) / 4.0), (1, len(shape), 1))
        rate = swaps_per_second(EnergyTerm(Energy.s2, curves, (1,)), shape)
        rows.append((f"{' × '.join(map(str, shape))}, S2 along the axes, lags to 32", f"{rate:.2g}", reach))
    lags = np.hypot(*np.mgrid[-15:16, -15:16])
    rate = swaps_per_second(EnergyTerm(Energy.s2_map, (0.16 + 0.24 * np.exp(-lags / 4.0))[None], (1,)), (64, 64))
    rows.append(("64 × 64, S2 over all lags below 16", f"{rate:.2g}", "1e5"))
    table(("annealing", "swaps / s", "to reach"), rows)


def measure_memory() -> None:
    """Peak memory of one step at 128^3 with correlations, Gram matrices and variation."""
    with tempfile.TemporaryDirectory() as folder:
        path = exemplar_file("slice_sgv_16", None, Path(folder))
        command = [
            str(Path(sys.executable).parent / "mcrgen"), "reconstruct", str(path), str(Path(folder, "out.tif")),
            "--config", "dmcr_sgv", "--size", "128", "128", "128", "--logging.wandb", "disabled",
            "--optimization.levels", "1", "--optimization.max-steps", "1",
        ]  # fmt: skip
        start = time.perf_counter()
        peak = peak_memory(command) / 2**20
        seconds = time.perf_counter() - start
    rows = [("`--config dmcr_sgv`, 128³, one step", f"{peak:.1f} GiB", "8 GiB", f"{seconds:.0f} s")]
    table(("reconstruction", "peak memory", "to reach", "time, with targets and errors"), rows)


def descriptor_errors(medium: NDArray[np.uint8], image: NDArray[np.uint8]) -> tuple[float, float]:
    """Relative L2 errors of S2 (lags below 16) and S3 (below 8), finite windows, the mean over all sections."""
    reference = torch.from_numpy(image == image.max())[None, None].float()
    volume = torch.from_numpy(medium == medium.max())[None].float()
    slices = torch.cat([sections(volume, normal) for normal in range(3)])
    errors = []
    measures: Sequence[Callable[[torch.Tensor], torch.Tensor]] = (
        lambda x: two_point_map(x, 15),
        lambda x: three_point_correlation(x, 8),
    )
    for measure in measures:
        wanted, found = measure(reference)[0], measure(slices).mean(dim=0)
        errors.append(float((found - wanted).norm() / wanted.norm()))
    return errors[0], errors[1]


def measure_race(options: Options) -> None:
    """64^3 from one slice with S + V, equal wall time for both; judged by mcrgen's descriptors in finite windows."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = exemplar_file("slice_sv_8", options.image, Path(folder))
        image = np.load(path)
        for name, recipe in (
            ("mcrgen, S3 + V", ()),
            ("mcrgen, dmcr_sv", ("descriptors.names=[s2,s3,variation,phase-fraction]",)),
        ):
            medium, seconds = ours_within(path, options.seconds, Path(folder), *recipe)
            rows.append(row(name, medium, image, seconds))
        if options.peers:
            beside = Path(folder, "peer")  # its medium has the name of the case, as the image has
            asked = _peers.Options(
                environment=options.environment, cases=("slice_sv_8",), image=path, seconds=options.seconds, output=beside
            )
            for multigrid in (False, True):
                found = _peers.measure_mcrpy(replace(asked, multigrid=multigrid))["slice_sv_8"]
                name = f"MCRpy 0.2.0{', multigrid' if multigrid else ''}"
                rows.append(row(name, np.load(found["medium"]), image, found["total_seconds"]))
    table(("64³ from one slice, limit 8", "wall time", "S2, rel. L2", "S3, rel. L2", "S3, squared", "phase fraction"), rows)


def row(name: str, medium: NDArray[np.uint8], image: NDArray[np.uint8], seconds: float) -> tuple[str, ...]:
    two, three = descriptor_errors(medium, image)
    fractions = f"{(medium == medium.max()).mean():.4f} of {(image == image.max()).mean():.4f}"
    return name, f"{seconds:.0f} s", f"{two:.2%}", f"{three:.2%}", f"{three**2:.3%}", fractions


class TimeLimit(Callback):
    """Ends a reconstruction on its finest level after the step in which its time is up."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock."""
        if pl_module.level == 0 and time.perf_counter() >= self._deadline:  # a coarser medium is no result
            trainer.should_stop = True


def ours_within(path: Path, seconds: float, folder: Path, *overrides: str) -> tuple[NDArray[np.uint8], float]:
    """The medium that mcrgen has after so many seconds, from the measuring of the image on; and how long it took.

    Coarser levels have up to 100 steps each, and the finest what is left of the time.
    """
    endless = ("optimization.max_steps=1000000", "optimization.tolerance=0", "optimization.patience=1000000")
    own = Path(tempfile.mkdtemp(dir=folder))
    config = config_of(
        "slice_sv_8", path, own / "ours.npy", f"data.image={path}", "optimization.levels=0", *endless, *overrides
    )
    device = torch.device("cpu")
    compile_kernels(config, device)
    begin = time.perf_counter()
    goal = goal_of_images(config, read_exemplars(config.data))
    clock = TimeLimit(begin + seconds)
    made = optimised(config, goal, config.seed, own, [clock], device, curves=False, start=None, title="mcrgen")
    return made.labels, time.perf_counter() - begin


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    measures: dict[str, Callable[[], None]] = {
        "evaluations": lambda: measure_evaluations(options),
        "annealing": measure_annealing,
        "memory": measure_memory,
        "race": lambda: measure_race(options),
    }
    try:
        run_parts(options.parts, measures)
    except InputError as error:
        print(f"benchmark_reconstruction: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    with quiet_libraries():
        sys.exit(main())
