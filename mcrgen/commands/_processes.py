"""Several processes that make one volume, through Lightning."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mcrgen.commands._console import quiet_libraries
from mcrgen.errors import InputError, StoppedError, require_positive

if TYPE_CHECKING:
    import subprocess

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pytorch_lightning import Trainer
    from pytorch_lightning.strategies import Strategy

    from mcrgen.generation.stream import BlockSink
    from mcrgen.generation.team import Team

T = TypeVar("T")

_DIED = 1
_WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Processes:
    """How many processes there are to be, and which of them this one is.

    Attributes:
        devices: processes per node, each with a device of its own.
        nodes: number of nodes.
        local_rank: number of this process on its node.
        rank: number of this process among all.
    """

    devices: int
    nodes: int
    local_rank: int
    rank: int

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes


def processes(devices: int, nodes: int) -> Processes:
    """What the options and the launcher (torchrun, SLURM, or Lightning itself) say.

    Raises:
        InputError: a number below 1, or one that is not what the launcher started.
    """
    require_positive("devices", devices)
    require_positive("nodes", nodes)
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else devices * nodes
    if started != devices * nodes:
        raise InputError(
            f"devices: torchrun started {started} processes, {devices} on each of {nodes} nodes were asked for; "
            "give --devices and --nodes as torchrun has them."
        )
    local = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0) if devices * nodes > 1 else 0
    node = int(os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or os.environ.get("SLURM_NODEID") or 0)
    return Processes(devices, nodes, local, node * devices + local if nodes > 1 else local)


def device_of(name: str, wanted: Processes) -> str:
    """The device of this process: of several GPUs, the one with its number.

    Raises:
        InputError: more GPUs than there are, or one named GPU for several processes.
    """
    import torch

    count = torch.cuda.device_count()
    if wanted.count == 1 or name == "cpu" or (name == "auto" and not count):
        return name
    if name not in ("auto", "cuda"):
        raise InputError(f"device: expected cpu or cuda for several processes, got '{name}'; each takes a GPU of its own.")
    if wanted.devices > count:
        raise InputError(
            f"devices: {wanted.devices} GPUs were asked for, this machine has {count}; use --devices {max(1, count)}."
        )
    return f"cuda:{wanted.local_rank}"


def predict(
    wanted: Processes, device: torch.device, prepare: Callable[[Team], Any], sink: BlockSink, finish: Callable[[Team], T]
) -> T:
    """Make a volume in several processes.

    Args:
        wanted: how many, and which this one is.
        device: of this process.
        prepare: called in every process when all are up; gives its blocks and what makes their labels.
        sink: called with the blocks of this process and their labels.
        finish: called in every process when it has made its blocks; what it returns is returned.

    Raises:
        InputError: this Python cannot start processes.
        StoppedError: stopped by Ctrl-C.
    """
    from torch import distributed

    from mcrgen.generation.stream import written_behind
    from mcrgen.tasks.generation import GenerationTask

    with quiet_libraries():
        trainer = _trainer(wanted, device, written_behind(sink))

        def prepared(strategy: Any) -> Any:
            if launched := getattr(strategy.launcher, "procs", None):
                threading.Thread(target=_watch, args=(launched,), daemon=True).start()
            return prepare(_team(strategy))

        try:
            trainer.predict(GenerationTask(prepared), return_predictions=False)
        except SystemExit as stop:
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise StoppedError("stopped: what is finished is kept; the same command goes on.") from stop
            raise
        produced = finish(_team(trainer.strategy))
        distributed.destroy_process_group()  # while all are there; at exit its threads would be cut off
        return produced


def _trainer(wanted: Processes, device: torch.device, sink: Any) -> Trainer:
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning import Trainer

    from mcrgen.callbacks.block_output import BlockOutput

    try:
        return Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=wanted.devices,
            num_nodes=wanted.nodes,
            strategy="ddp",
            use_distributed_sampler=False,
            callbacks=[BlockOutput(sink)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:  # a notebook
        raise InputError("devices: expected 1 in an interactive Python, which cannot start processes; use a script.") from error


def _team(strategy: Strategy) -> Team:
    """The processes as generation knows them, talking through torch.distributed."""
    import torch
    from torch import distributed

    from mcrgen.generation.team import Team

    size = strategy.world_size  # type: ignore[attr-defined]

    def gather(value: Any) -> list[Any]:
        values: list[Any] = [None] * size
        distributed.all_gather_object(values, value)
        return values

    def total(values: NDArray[np.int64]) -> NDArray[np.int64]:
        summed = torch.from_numpy(values).to(strategy.root_device)
        distributed.all_reduce(summed)
        found: NDArray[np.int64] = summed.cpu().numpy()
        return found

    return Team(strategy.global_rank, size, gather, total)  # type: ignore[attr-defined]


def _watch(launched: list[subprocess.Popen[bytes]]) -> None:
    """End all processes with a sentence when one of them has died; without it the others would wait for it in silence."""
    while True:
        time.sleep(_WATCH_SECONDS)
        for rank, process in enumerate(launched, start=1):
            if process.poll() not in (None, 0):
                which = f"process {rank + 1} of {len(launched) + 1} ended with code {process.returncode}"
                print(f"mcrgen: {which}; what is finished is kept, the same command goes on.", file=sys.stderr)
                for other in launched:
                    other.kill()
                os._exit(_DIED)
