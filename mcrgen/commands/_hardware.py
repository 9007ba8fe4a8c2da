"""Which device and arithmetic a command uses."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.errors import InputError

if TYPE_CHECKING:
    import torch


class Precision(StrEnum):
    """Arithmetic of the network; auto is bf16 where the device has it in hardware, else fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets the processor reports (Linux), empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is done in hardware: AVX-512 BF16 or AMX on a CPU, compute capability 8 or more on a GPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that is there.

    Raises:
        InputError: another name, or a CUDA device this machine lacks.
    """
    import torch

    count = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device: '{name}' was asked for, this machine has {count} CUDA devices; use --device cpu.")
    return device


def blocks_at_once(device: torch.device) -> int:
    """How many blocks keep a device busy: a GPU computes one while the others' noise is made and their labels are fetched."""
    return 3 if device.type == "cuda" else 1


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Turn ``auto`` into the fastest arithmetic of the device.

    Raises:
        InputError: fp16 on a CPU.
    """
    precision = Precision(precision)
    if precision is Precision.auto:
        return Precision.bf16 if has_bf16(device) else Precision.fp32
    if precision is Precision.fp16 and device.type == "cpu":
        raise InputError("precision: fp16 needs a CUDA device; use bf16 or fp32 on the CPU.")
    return precision


def torch_dtype(precision: Precision) -> torch.dtype:
    """Data type of a resolved precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision.value]
