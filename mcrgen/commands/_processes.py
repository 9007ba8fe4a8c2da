"""Several processes that make one volume, through Lightning."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mcrgen.commands._console import console, quiet_libraries
from mcrgen.commands._siblings import STARTER, Siblings, own_rank
from mcrgen.errors import InputError, require_positive

if TYPE_CHECKING:
    import numpy as np
    import torch
    from lightning_fabric.plugins import ClusterEnvironment
    from numpy.typing import NDArray
    from pytorch_lightning import Trainer
    from pytorch_lightning.strategies import Strategy

    from mcrgen.generation.stream import BlockSink
    from mcrgen.generation.team import Team

T = TypeVar("T")

_PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for the others: they may have larger shares, or the volume takes long to compress in the end."""


@dataclass(frozen=True)
class Processes:
    """How many processes there are to be, and which of them this one is.

    Attributes:
        devices: processes per node, each with a device of its own.
        nodes: number of nodes.
        local_rank: number of this process on its node.
        rank: number of this process among all.
        launcher: what has started them: torchrun, srun, or None if the first one starts the others.
    """

    devices: int
    nodes: int
    local_rank: int
    rank: int
    launcher: str | None = None

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class _Launched:
    """What a launcher has started, by its environment variables."""

    launcher: str
    devices: int
    nodes: int
    local_rank: int
    rank: int


def processes(devices: int, nodes: int) -> Processes:
    """What the options and the launcher say.

    Raises:
        InputError: a number below 1, one that is not what the launcher has started, several nodes without a launcher.
    """
    require_positive("devices", devices)
    require_positive("nodes", nodes)
    found = _torchrun() or (_slurm() if devices * nodes > 1 else None)
    if found is None:
        if nodes > 1:
            raise InputError(f"nodes: {nodes} were asked for; start the command on each of them, by torchrun or srun.")
        rank = own_rank() if devices > 1 else 0
        return Processes(devices, nodes, rank, rank)
    if (found.devices, found.nodes) != (devices, nodes):
        raise InputError(
            f"devices: {found.launcher} has started {found.devices} processes on each of {found.nodes} nodes, {devices} on "
            f"each of {nodes} were asked for; give --devices {found.devices} --nodes {found.nodes}, or start others."
        )
    return Processes(devices, nodes, found.local_rank, found.rank, found.launcher)


def _torchrun() -> _Launched | None:
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    world, each, local, rank = (int(os.environ[n]) for n in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "RANK"))
    return _Launched("torchrun", each, world // each, local, rank)


def _slurm() -> _Launched | None:
    """None also in a job of one task, or an interactive one, where the first process starts the others."""
    values = os.environ
    if int(values.get("SLURM_NTASKS", 1)) == 1 or values.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    if "SLURM_NTASKS_PER_NODE" not in values:
        raise InputError("devices: expected srun --ntasks-per-node beside several tasks; start it with that.")
    each, nodes = int(values["SLURM_NTASKS_PER_NODE"]), int(values.get("SLURM_NNODES", 1))
    return _Launched("srun", each, nodes, int(values["SLURM_LOCALID"]), int(values["SLURM_PROCID"]))


def device_of(name: str, wanted: Processes) -> str:
    """The device of this process: of several GPUs, the one with its number.

    Raises:
        InputError: more GPUs than there are, or one named GPU for several processes.
    """
    import torch

    count = torch.cuda.device_count()
    if wanted.count == 1 or name == "cpu" or not count:
        return name
    if name not in ("auto", "cuda"):
        raise InputError(f"device: expected cpu or cuda for several processes, got '{name}'; each takes a GPU of its own.")
    if wanted.devices > count:
        raise InputError(f"devices: {wanted.devices} GPUs were asked for, this machine has {count}; use --devices {count}.")
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
        StoppedError: stopped by Ctrl-C, or by the end of another process.
    """
    from torch import distributed

    from mcrgen.generation.stream import written_behind
    from mcrgen.tasks.generation import GenerationTask

    with quiet_libraries():
        trainer = _trainer(wanted, device, _mortal(written_behind(sink)))
        starts = wanted.launcher is None and STARTER not in os.environ
        waiting = console.status(f"starting {wanted.count} processes")

        def prepared(strategy: Strategy) -> Any:
            waiting.stop()
            return prepare(_team(strategy))

        with Siblings(wanted.devices, wanted.local_rank, starts=starts, tells=wanted.rank == 0):
            with waiting:
                trainer.predict(GenerationTask(prepared), return_predictions=False)
            produced = finish(_team(trainer.strategy))
            distributed.destroy_process_group()  # while all are there; at exit its threads would be cut off
            return produced


def _trainer(wanted: Processes, device: torch.device, sink: AbstractContextManager[BlockSink]) -> Trainer:
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning import Trainer
    from pytorch_lightning.strategies import DDPStrategy

    from mcrgen.callbacks.block_output import BlockOutput

    try:
        return Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=wanted.devices,
            num_nodes=wanted.nodes,
            # a few numbers are exchanged, and waited for long, which would keep GPUs busy and make NCCL give up
            strategy=DDPStrategy(process_group_backend="gloo", timeout=_PATIENCE),
            plugins=[_environment(wanted.launcher)],
            use_distributed_sampler=False,
            callbacks=[BlockOutput(sink)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:  # a notebook
        raise InputError("devices: expected 1 in an interactive Python, which cannot start processes; use a script.") from error


def _environment(launcher: str | None) -> ClusterEnvironment:
    from lightning_fabric.plugins.environments import lightning, slurm, torchelastic

    if launcher == "torchrun":
        return torchelastic.TorchElasticEnvironment()
    return slurm.SLURMEnvironment(auto_requeue=False) if launcher == "srun" else lightning.LightningEnvironment()


@contextlib.contextmanager
def _mortal(sink: AbstractContextManager[BlockSink]) -> Iterator[BlockSink]:
    """A sink while which SIGTERM ends the process, which Lightning has waiting for the others, and then go on."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with sink as write:
        yield write


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
        summed = torch.from_numpy(values.copy())
        distributed.all_reduce(summed)
        found: NDArray[np.int64] = summed.numpy()
        return found

    return Team(strategy.global_rank, size, gather, total)  # type: ignore[attr-defined]
