"""A volume in the making: what the processes agree on, the files they write, the record beside them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mcrgen.commands._achieved import KEY, achieved_paths, write_achieved
from mcrgen.commands._console import console, progress_bar
from mcrgen.commands._extent import Extent
from mcrgen.commands._generate_record import Description, scores_path
from mcrgen.commands._generators import LoadedGenerator, choose_block_size
from mcrgen.commands._medium import Medium
from mcrgen.commands._processes import Processes
from mcrgen.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcrgen.commands.generate import GenerateConfig
    from mcrgen.generation.blocks import Block
    from mcrgen.generation.labels import BlockLabels
    from mcrgen.generation.team import Team
    from mcrgen.io.volume_writer import BlockWriter

T = TypeVar("T")


@dataclass(frozen=True)
class Produced:
    """What has come out.

    Attributes:
        fractions: achieved fraction of each phase.
        target: the fractions aimed at; empty where each region has its own.
        seconds: time spent.
        bytes: size on disk.
        achieved: how far the volume is from its phase fraction field, see :func:`~mcrgen.commands._achieved.write_achieved`;
            empty without one.
    """

    fractions: tuple[float, ...]
    target: tuple[float, ...]
    seconds: float
    bytes: int
    achieved: Mapping[str, Any]


class Production:
    """One process's part in making a volume; a context manager around all of it.

    The leading process opens the output, or goes on with what an interrupted run has left, and settles the thresholds; the
    others are told and join in. In the end it takes over what they have written and finishes the volume.
    """

    def __init__(
        self,
        config: GenerateConfig,
        loaded: LoadedGenerator,
        extent: Extent,
        medium: Medium,
        inputs: Mapping[str, Path],
        processes: Processes,
    ) -> None:
        """Nothing is opened yet.

        Args:
            config: the options.
            loaded: the generator of the checkpoint.
            extent: which part of the field.
            medium: what to make.
            inputs: the files that the medium depends on, by the names of their options.
            processes: how many there are.
        """
        self._config = config
        self._loaded = loaded
        self._extent = extent
        self._medium = medium
        self._description = Description(config, loaded, extent, medium, inputs)
        self._processes = processes
        self._stack = ExitStack()
        self._writers: list[BlockWriter] = []
        self._blocks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def prepare(self, team: Team) -> tuple[Sequence[Block], BlockLabels]:
        """Open the output; returns this process's blocks and what makes their labels."""
        from mcrgen.generation.blocks import grid

        self._start = time.perf_counter()
        begun, self._scores_stored = _led(team, self._begin)
        blocks = list(grid(self._extent.shape, begun["block_size"]))
        self._blocks = len(blocks)
        if "settled" not in begun:
            begun |= {"settled": self._medium.settle(blocks, team)}
        self._settled = begun["settled"]
        _led(team, lambda: self._open(begun, team.rank))
        if not team.leads:
            self._open(begun, team.rank)
        done = team.told(set.intersection(*(writer.done for writer in self._writers)))
        missing = [block for block in blocks if (block.start, block.stop) not in done]
        mine = team.share(missing)
        self._show(blocks, missing, mine)
        store = self._store if len(self._writers) > 1 else None
        return mine, self._medium.labels(self._settled, store)

    def sink(self, block: Block, labels: NDArray[np.uint8]) -> None:
        """Write the labels of a block, unless an interrupted run has them already and lacked its scores alone."""
        volume = self._writers[0]
        if (block.start, block.stop) not in volume.done:
            volume.write(block.slices, labels)
        share = volume.counts[self._medium.source.phase] / max(1, volume.counts.sum())
        self._progress.update(self._bar, advance=1, status=f"φ {share:.4f}")

    @property
    def made(self) -> str:
        """How far it is."""
        done = len(self._writers[0].done) if self._writers else 0
        return f"{done} of {self._blocks} blocks are finished"

    def finish(self, team: Team) -> Produced:
        """Give the volume its name when all processes have made their blocks."""
        if not team.leads:
            self._stack.close()
        team.wait()
        return _led(team, self._publish)

    def _begin(self) -> tuple[dict[str, Any], bool]:
        """What settles labels and blocks, the thresholds too where a run goes on; whether that has finished the scores."""
        from mcrgen.io.volume_output import interrupted_run, run_to_go_on_with, voxels_finished

        config, settings = self._config, self._description.settings()
        before = run_to_go_on_with(config.output, settings, overwrite=config.overwrite) or {}
        wanted = before.get("block_size") or config.block_size
        size = choose_block_size(self._medium.memory, self._extent.shape, wanted, self._loaded.device, self._processes)
        scores = scores_path(config.output)
        whole = bool(before) and voxels_finished(config.output) == prod(self._extent.shape)  # else they may be of a run before
        stored = whole and scores.exists() and interrupted_run(scores) is None
        return settings | {"block_size": size} | {key: before[key] for key in ("settled",) if key in before}, stored

    def _open(self, run: dict[str, Any], rank: int) -> None:
        """Open the volume and, where they are kept, the scores: as the one who finishes them, or to join in."""
        from mcrgen.io.volumes import join_volume, open_volume

        config, record = self._config, self._loaded.record
        outputs: list[tuple[Path, dict[str, Any]]] = [(config.output, {"pyramid": config.pyramid})]
        if config.keep_scores and not self._scores_stored:
            channels = self._loaded.generator.out_channels
            outputs.append((scores_path(config.output), {"dtype": "float16", "channels": channels}))
        for path, how in outputs:
            where = (path, self._extent.shape, record["voxel_size_um"])
            writer: BlockWriter
            if rank:
                writer = join_volume(*where, run=run, rank=rank, **how)
            else:
                writer = open_volume(
                    *where, run=run, overwrite=config.overwrite, metadata=self._description.metadata(run), **how
                )
            self._writers.append(self._stack.enter_context(writer))

    def _store(self, block: Block, scores: Tensor) -> None:
        """Keep the scores of a block, unless an interrupted run has them already."""
        import torch

        if (block.start, block.stop) not in self._writers[1].done:
            self._writers[1].write(block.slices, scores.to(torch.float16).cpu().numpy())

    def _show(self, blocks: Sequence[Block], missing: Sequence[Block], mine: Sequence[Block]) -> None:
        if len(missing) < len(blocks):
            console.print(f"going on: {len(blocks) - len(missing)} of {len(blocks)} blocks are finished")
        alone = len(mine) == len(missing)
        name = "generating" if alone else f"generating (1 of {self._processes.count})"
        total = len(blocks) if alone else len(mine)
        self._progress = self._stack.enter_context(progress_bar())
        self._bar = self._progress.add_task(name, total=total, completed=total - len(mine), unit="block", status="")

    def _publish(self) -> Produced:
        from mcrgen.io.volumes import stored_bytes

        volume = self._writers[0]
        volume.complete()
        phases = max(self._medium.source.phases, 1 + (self._config.outside or 0))
        fractions = tuple((volume.counts[:phases] / volume.counts.sum()).tolist())
        achieved = self._compare_field()  # like the record before the volume has its name, never without it
        more = {KEY: achieved} if achieved else {}
        self._description.write_record(fractions, self._settled, time.perf_counter() - self._start, more)
        if self._config.overwrite:
            self._clear()
        self._stack.close()
        seconds = time.perf_counter() - self._start
        return Produced(fractions, tuple(self._settled["fractions"]), seconds, stored_bytes(self._config.output), achieved)

    def _clear(self) -> None:
        """Remove what a volume of before had beside it and this one does not: it would seem to belong to this one."""
        config = self._config
        stale = [] if config.keep_scores else [scores_path(config.output)]
        stale += achieved_paths(config.output) if self._medium.phase_fraction_field is None else []
        for path in stale:
            path.unlink(missing_ok=True)

    def _compare_field(self) -> dict[str, Any]:
        """Write what has become of the phase fraction field; empty without one."""
        requested, shape = self._medium.phase_fraction_field, self._extent.shape
        if requested is None:
            return {}
        bar = self._progress.add_task("phase fraction field", total=shape[0], unit="plane", status="")
        edge = self._loaded.record["voxel_size_um"]
        written = write_achieved(
            self._config.output, self._medium, requested, shape, edge, lambda planes: self._progress.advance(bar, planes)
        )
        self._progress.remove_task(bar)
        return written


def _led(team: Team, work: Callable[[], T]) -> T:
    """What the leading process's work gives, in every process; bad input it meets ends all of them, and it tells."""
    outcome: tuple[T | None, str | None] = (None, None)
    if team.leads:
        try:
            outcome = (work(), None)
        except InputError as error:
            outcome = (None, str(error))
    result, complaint = team.told(outcome)
    if complaint is not None:
        if team.leads:
            raise InputError(complaint)
        sys.exit()  # the leading one has the exit code too
    return result  # type: ignore[return-value]
