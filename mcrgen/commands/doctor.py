"""``mcrgen doctor``: what a bug report needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from mcrgen.commands._console import console
from mcrgen.commands._hardware import has_bf16, resolve_device
from mcrgen.commands._train_config import LoggingConfig

_MIN_MEMORY_GIB = 4.0
_MIN_DISK_GIB = 5.0


@dataclass(kw_only=True)
class DoctorConfig:
    """Report versions, devices, memory, disk and the Weights & Biases mode, and what to do about what is missing."""


@dataclass(frozen=True)
class DoctorResult:
    """Findings.

    Attributes:
        facts: what was found, in the order printed.
        advice: what to do about what is missing; empty if nothing is.
    """

    facts: dict[str, str]
    advice: list[str] = field(default_factory=list)


def run(config: DoctorConfig) -> DoctorResult:
    """Look around and print a table."""
    from rich.table import Table

    from mcrgen.io.provenance import versions

    facts, advice = versions(), []
    for examine in (_devices, _memory, _disk, _wandb):
        found, hints = examine()
        facts |= found
        advice += hints
    advice += [f"{name} is missing: run `pip install {name}`" for name, v in facts.items() if v == "not installed"]
    table = Table("what", "found")
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)
    for line in advice:
        console.print(f"- {line}", style="yellow")
    if not advice:
        console.print("nothing is missing", style="green")
    return DoctorResult(facts, advice)


def _devices() -> tuple[dict[str, str], list[str]]:
    import torch

    cpu = torch.device("cpu")
    bf16 = has_bf16(cpu)
    facts = {
        "CPU": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        "CPU bfloat16": "in hardware" if bf16 else "no",
        "CUDA devices": "none",
    }
    hints = [] if bf16 else ["no bfloat16 on this CPU: training and generation run in fp32, several times slower"]
    if torch.cuda.is_available():
        devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        facts["CUDA devices"] = "; ".join(
            f"{torch.cuda.get_device_name(d)} ({torch.cuda.get_device_properties(d).total_memory / 2**30:.0f} GiB, "
            f"bfloat16 {'yes' if has_bf16(d) else 'no'})"
            for d in devices
        )
    elif shutil.which("nvidia-smi"):
        hints.append("an NVIDIA driver is there but torch sees no device: check that driver and torch's CUDA version agree")
    facts["device auto means"] = str(resolve_device("auto"))
    return facts, hints


def _memory() -> tuple[dict[str, str], list[str]]:
    import psutil

    memory = psutil.virtual_memory()
    available = memory.available / 2**30
    facts = {"memory": f"{available:.1f} GiB available of {memory.total / 2**30:.1f} GiB"}
    low = available < _MIN_MEMORY_GIB
    return facts, [f"less than {_MIN_MEMORY_GIB:g} GiB of memory: use a smaller --block-size"] if low else []


def _disk() -> tuple[dict[str, str], list[str]]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    hint = f"less than {_MIN_DISK_GIB:g} GiB free here: a 1024^3 volume needs 1 GiB, a run about 0.1 GiB"
    return {"disk here": f"{free:.1f} GiB free"}, [hint] if free < _MIN_DISK_GIB else []


def _wandb() -> tuple[dict[str, str], list[str]]:
    from mcrgen.commands._wandb import has_account

    mode = LoggingConfig().wandb
    account = "account found" if has_account() else "no account, none needed"
    return {"Weights & Biases": f"{mode} unless --logging.wandb says otherwise; {account}"}, []
