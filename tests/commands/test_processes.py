"""Several processes that make one volume: the same bytes as one, whatever stops them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import mcrgen
from mcrgen import cli
from mcrgen.commands._console import quiet_libraries
from mcrgen.commands._processes import Processes, _mortal, _trainer, device_of, processes
from mcrgen.commands._siblings import STARTER
from mcrgen.errors import InputError
from mcrgen.generation.blocks import Block
from mcrgen.tasks.generation import GenerationTask

SIZE: dict[str, Any] = {"size": (40, 36, 44), "block_size": 12, "precision": "fp32", "device": "cpu"}
GIVEN = ["--size", "40", "36", "44", "--block-size", "12", "--precision", "fp32", "--device", "cpu"]
GOES_ON = "the same command goes on."
VARIABLES = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "SLURM_NTASKS", STARTER)

DRIVER = """
import errno, os, signal, sys, time
from pathlib import Path
from mcrgen import cli
from mcrgen.io import volume_writer

volume_writer._COMMIT_SECONDS = 0.0
how, rank, after, *args = sys.argv[1:]
left = [int(after)]
write = volume_writer.BlockWriter.write

def full():
    raise OSError(errno.ENOSPC, "No space left on device")

def slow():
    left[0] = 1
    Path("slow").touch()
    time.sleep(0.15)

happens = {
    "full": full,
    "slow": slow,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

def failing(writer, *block):
    write(writer, *block)
    left[0] -= 1
    if left[0] == 0:
        happens[how]()

if os.environ.get("LOCAL_RANK", "0") == rank:
    if how == "start":
        os._exit(3)
    volume_writer.BlockWriter.write = failing

while args:
    at = args.index("then") if "then" in args else len(args)
    code = cli.main(args[:at])
    args = args[at + 1 :]
    if code:
        sys.exit(code)
"""


def started(*command: object, folder: Path) -> subprocess.Popen[str]:
    """A command with a process group of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background may ignore it
    )


def alive(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, which leaves nothing running."""
    try:
        out, err = process.communicate(timeout=60)  # the others have its pipes, so this waits for them too
        assert not alive(process.pid)
        return process.returncode, out, err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def drive(how: str, rank: int, after: int, *args: object, folder: Path) -> tuple[int, str, str]:
    return ended(started("-c", DRIVER, how, rank, after, *args, folder=folder))


def alone(checkpoint: Path, output: Path, **changes: object) -> Path:
    mcrgen.generate(mcrgen.GenerateConfig(checkpoint=checkpoint, output=output, **SIZE | changes))
    return output


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in (path, *path.rglob("*")) if file.is_file()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes that one process makes without a stop."""
    return alone(checkpoint, tmp_path_factory.mktemp("whole") / "v.npy").read_bytes()


VOLUMES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain.npy": ([], {}),
    "exact.raw": (["--exact"], {"exact": True}),
    "smooth.zarr": (["--exact", "--smoothing", "1", "--pyramid"], {"exact": True, "smoothing": 1.0, "pyramid": True}),
    "kept.tif": (["--exact", "--keep-scores"], {"exact": True, "keep_scores": True}),
    "graded.tif": (
        ["--phase-fraction-field", "0.2:0.4", "--gradient-axis", "y"],
        {"phase_fraction_field": "0.2:0.4", "gradient_axis": "y"},
    ),
    "few_blocks.npy": (["--box", "0:9,0:8,3:20"], {"size": None, "box": "0:9,0:8,3:20"}),
}


def test_three_processes_make_the_same_bytes_as_one(checkpoint: Path, tmp_path: Path) -> None:
    """Several volumes by the same processes, one after the other; the last has fewer blocks than there are processes."""
    args: list[object] = []
    for name, (options, _) in VOLUMES.items():
        given = [*GIVEN[4:], *options] if "--box" in options else [*GIVEN, *options]
        args += ["then"] * bool(args) + ["generate", checkpoint, name, *given, "--devices", 3]
    (tmp_path / "together").mkdir()
    code, out, err = drive("kill", -1, 1, *args, folder=tmp_path / "together")
    assert (code, err) == (0, "")
    (tmp_path / "alone").mkdir()
    for name, (_, changes) in VOLUMES.items():
        alone(checkpoint, tmp_path / "alone" / name, **changes)
    assert names(tmp_path / "together") == names(tmp_path / "alone")
    for name in (name for name in names(tmp_path / "alone") if not name.endswith(".json")):
        assert content(tmp_path / "together" / name) == content(tmp_path / "alone" / name), name
    lines = [
        line
        for line in out.splitlines()
        if not re.match(r"blocks of up to|generating|generated: |phase fraction field: ", line)
    ]
    assert lines == []
    assert out.count("generated: ") == len(VOLUMES)


def test_killed_processes_end_all_and_any_number_goes_on(checkpoint: Path, tmp_path: Path, whole: bytes) -> None:
    command = ("generate", checkpoint, "v.npy", *GIVEN, "--devices")
    code, _, err = drive("kill", 1, 5, *command, 2, folder=tmp_path)
    assert code == 130
    assert err == f"mcrgen: process 2 of 2 was ended by SIGKILL; what is finished is kept, {GOES_ON}\n"
    assert {"v.npy.partial", "v.npy.journal", "v.npy.journal.1"} <= names(tmp_path)
    code, out, err = drive("kill", 0, 4, *command, 3, folder=tmp_path)
    assert code == -signal.SIGKILL
    assert err == f"mcrgen: process 1 of 3 has ended; what is finished is kept, {GOES_ON}\n"
    assert (found := re.search(r"going on: (\d+) of 48 blocks", out))
    assert int(found[1]) >= 5
    alone(checkpoint, tmp_path / "v.npy")
    assert (tmp_path / "v.npy").read_bytes() == whole
    assert names(tmp_path) == {"v.npy", "v.npy.json"}


def test_ctrl_c(checkpoint: Path, tmp_path: Path, whole: bytes) -> None:
    """The leading process has made its share and waits for the other one."""
    process = started("-c", DRIVER, "slow", 1, 3, "generate", checkpoint, "v.npy", *GIVEN, "--devices", 2, folder=tmp_path)
    for _ in range(600):
        if (tmp_path / "slow").exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert (code, err) == (130, f"mcrgen: stopped: what is finished is kept; {GOES_ON}\n")
    assert time.monotonic() - start < 20
    assert names(tmp_path) == {"slow", "v.npy.partial", "v.npy.journal", "v.npy.journal.1"}
    alone(checkpoint, tmp_path / "v.npy")
    assert (tmp_path / "v.npy").read_bytes() == whole


def test_a_full_disk(checkpoint: Path, tmp_path: Path, whole: bytes) -> None:
    code, _, err = drive("full", 1, 3, "generate", checkpoint, "v.npy", *GIVEN, "--devices", 2, folder=tmp_path)
    assert code == 2
    assert re.fullmatch(r"mcrgen: output: no space left for 'v\.npy' .*; .* give the same command again, .*\.\n", err)
    assert names(tmp_path) == {"v.npy.partial", "v.npy.journal", "v.npy.journal.1"}
    alone(checkpoint, tmp_path / "v.npy")
    assert (tmp_path / "v.npy").read_bytes() == whole


def test_a_process_that_does_not_start(checkpoint: Path, tmp_path: Path) -> None:
    code, _, err = drive("start", 1, 0, "generate", checkpoint, "v.npy", *GIVEN, "--devices", 2, folder=tmp_path)
    assert code == 130
    assert err == f"mcrgen: process 2 of 2 has ended with code 3; what is finished is kept, {GOES_ON}\n"
    assert names(tmp_path) == set()


def test_sigterm_ends_a_process_that_makes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without help, Lightning waits for the other processes at SIGTERM, and then goes on."""
    found: list[object] = []
    wanted = Processes(1, 1, 0, 0)
    sink = _mortal(contextlib.nullcontext(lambda block, labels: found.append(signal.getsignal(signal.SIGTERM))))
    monkeypatch.setattr("pytorch_lightning.strategies.DDPStrategy", lambda **options: "auto")
    before = signal.getsignal(signal.SIGTERM)
    block = Block((0, 0, 0), (1, 1, 1))
    with quiet_libraries():
        trainer = _trainer(wanted, torch.device("cpu"), sink)
        trainer.predict(GenerationTask(lambda strategy: ([block], lambda block: None)), return_predictions=False)
    assert found == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGTERM) == before


def torchrun(*args: object, folder: Path) -> tuple[int, str, str]:
    return ended(started("-m", "torch.distributed.run", "--nproc-per-node", 2, "-m", "mcrgen", *args, folder=folder))


def test_started_by_torchrun(checkpoint: Path, tmp_path: Path, whole: bytes) -> None:
    code, _, err = torchrun("generate", checkpoint, "v.npy", *GIVEN, "--devices", 2, folder=tmp_path)
    assert code == 0, err
    assert (tmp_path / "v.npy").read_bytes() == whole


def test_started_by_torchrun_in_another_number(checkpoint: Path, tmp_path: Path) -> None:
    code, _, err = torchrun("generate", checkpoint, "v.npy", *GIVEN, "--devices", 3, folder=tmp_path)
    assert code != 0
    assert "mcrgen: devices: torchrun has started 2 processes on each of 1 nodes, 3 on each of 1 were asked for" in err
    assert re.search(r"exitcode +: 2\b", err)
    assert "Traceback" not in err.partition("torch/distributed/run.py")[0].partition("mcrgen: devices")[2].partition("\n")[0]
    assert names(tmp_path) == set()


@pytest.fixture
def nothing_started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def start(*args: object, **options: object) -> None:
        raise AssertionError("a process was started")

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(subprocess, "Popen", start)
    yield
    assert STARTER not in os.environ


@pytest.mark.usefixtures("nothing_started")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "there.npy"}, r"output: 'there\.npy' exists already; .*"),
        ({"checkpoint": "nowhere.ckpt"}, r"checkpoint: no such file 'nowhere\.ckpt'; check the path"),
        ({"devices": 0}, "devices: expected a number greater than 0, got 0"),
        ({"nodes": -1}, "nodes: expected a number greater than 0, got -1"),
        ({"nodes": 2}, "nodes: 2 were asked for; start the command on each of them, by torchrun or srun"),
        ({"device": "tpu"}, r"device: expected .*, got 'tpu'.*"),
    ],
)
def test_bad_input_is_told_once_before_a_process_is_started(
    checkpoint: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npy").write_text("")
    given = {"checkpoint": checkpoint, "output": "v.npy", "devices": 2, "nodes": 1, "device": "cpu"} | changes
    options = [text for name in ("devices", "nodes", "device") for text in (f"--{name}", str(given[name]))]
    code = cli.main(["generate", str(given["checkpoint"]), str(given["output"]), *GIVEN[:-2], *options])
    assert code == 2
    assert re.fullmatch(f"mcrgen: {message}\\.\n", capsys.readouterr().err)
    assert names(tmp_path) == {"there.npy"}


@pytest.mark.usefixtures("nothing_started")
def test_a_python_without_a_script_cannot_be_run_again(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    with pytest.raises(InputError, match="devices: expected 1 in a Python without a script"):
        alone(checkpoint, tmp_path / "v.npy", devices=2)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(devices: int, local_rank: int = 0) -> Processes:
        return Processes(devices, 1, local_rank, local_rank)

    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert [device_of(name, wanted(4, 3)) for name in ("auto", "cuda", "cpu")] == ["cuda:3", "cuda:3", "cpu"]
    assert [device_of(name, wanted(1)) for name in ("auto", "cuda:2", "cpu")] == ["auto", "cuda:2", "cpu"]
    with pytest.raises(InputError, match="devices: 5 GPUs were asked for, this machine has 4; use --devices 4"):
        device_of("cuda", wanted(5))
    with pytest.raises(InputError, match="devices: 5 GPUs were asked for"):
        device_of("auto", wanted(5))
    with pytest.raises(InputError, match="device: expected cpu or cuda for several processes, got 'cuda:1'; each takes a GPU"):
        device_of("cuda:1", wanted(2))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert [device_of(name, wanted(2, 1)) for name in ("auto", "cpu")] == ["auto", "cpu"]


@pytest.mark.usefixtures("nothing_started")
def test_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes(1, 1) == Processes(1, 1, 0, 0)
    assert processes(3, 1) == Processes(3, 1, 0, 0)
    monkeypatch.setenv("LOCAL_RANK", "2")  # of something else
    assert processes(3, 1) == Processes(3, 1, 0, 0)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with monkeypatch.context() as patch:
            patch.setenv(STARTER, str(os.getppid()))
            assert processes(3, 1) == Processes(3, 1, 2, 2)
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("nothing_started")
def test_which_process_a_launcher_has_made_of_this(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "LOCAL_RANK": "1", "RANK": "4"}
    with monkeypatch.context() as patch:
        for name, value in torchrun.items():
            patch.setenv(name, value)
        assert processes(3, 2) == Processes(3, 2, 1, 4, "torchrun")
        for devices, nodes in ((2, 3), (6, 1), (1, 1)):
            with pytest.raises(
                InputError, match=r"torchrun has started 3 processes on each of 2 nodes, .* --devices 3 --nodes 2"
            ):
                processes(devices, nodes)
    slurm = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_LOCALID": "1", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "rock"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert processes(1, 1) == Processes(1, 1, 0, 0)
    with pytest.raises(InputError, match="devices: expected srun --ntasks-per-node"):
        processes(2, 2)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert processes(2, 2) == Processes(2, 2, 1, 3, "srun")
    with pytest.raises(InputError, match="srun has started 2 processes on each of 2 nodes, 4 on each of 1 were asked for"):
        processes(4, 1)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert processes(4, 1) == Processes(4, 1, 0, 0)
