"""The processes of one machine: started together, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Self

from mcrgen.commands._console import console
from mcrgen.errors import InputError, StoppedError

STARTER = "MCRGEN_STARTER"
"""Environment variable with the number of the process that has started this one."""

_TOLD, _STOPPED = 2, 130  # the command line's exit codes for InputError and StoppedError
_WATCH_SECONDS = 0.2
_NOTICE_SECONDS = 2.0
_GRACE_SECONDS = 3.0


def own_rank() -> int:
    """Number of this process if another run of the program has started it; else it is the first.

    One that was started ends at Ctrl-C without a word, until it is among :class:`Siblings` and has something to keep.
    """
    rank = int(os.environ.get("LOCAL_RANK", 0)) if STARTER in os.environ else 0
    main = threading.current_thread() is threading.main_thread()
    if rank and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return rank


class Siblings:
    """Context manager around the work of processes that wait for each other.

    The first process of a machine starts the others by running the program again, unless a launcher has. When one of them
    ends before its time, all are interrupted as if by Ctrl-C, so that each keeps what it has finished, and one sentence tells.
    """

    def __init__(self, number: int, rank: int, *, starts: bool, tells: bool) -> None:
        """Nothing is started yet.

        Args:
            number: how many processes this machine has.
            rank: which of them this one is, from 0.
            starts: whether this process is to start the others.
            tells: whether it is the one to say what has happened.

        Raises:
            InputError: the program cannot be run again.
        """
        if starts and sys.argv[0] in ("", "-"):
            raise InputError("devices: expected 1 in a Python without a script, which cannot be run again; use a script.")
        self._number = number
        self._rank = rank
        self._starts = starts
        self._tells = tells
        self._starter = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._outcome: StoppedError | SystemExit | None = None
        self._noticed = threading.Event()
        self._over = threading.Event()
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        self._before = dict(os.environ)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            self._on_interrupt(signal.default_int_handler)
        if self._starts:
            self._start()
        elif os.environ.get(STARTER, "") != str(os.getpid()):
            self._starter = int(os.environ.get(STARTER, 0))
        threading.Thread(target=self._watch, daemon=True, name="siblings").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._over.set()
            return
        handler = signal.getsignal(signal.SIGINT)
        self._on_interrupt(self._notice)  # another one must not break into what follows
        try:
            if isinstance(error, RuntimeError):  # perhaps of a lost connection: who has caused it is noticed in a moment
                self._noticed.wait(_NOTICE_SECONDS)
            self._over.set()
            self._end()
        finally:
            if self._rank == 0:  # the others are on their way out, and may be interrupted once more
                self._on_interrupt(handler)
        if _is_interrupt(error) or (isinstance(error, RuntimeError) and self._noticed.is_set()):
            raise self._outcome or self._stopped() from error

    def _start(self) -> None:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), STARTER: str(os.getpid())}
        os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(self._number)}
        theirs = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # else libtorch tells on its own of connections that this process has ended
        try:
            for rank in range(1, self._number):
                command = [sys.executable, *sys.orig_argv[1:]]
                self._started.append(subprocess.Popen(command, env=theirs | os.environ | {"LOCAL_RANK": str(rank)}))
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        """Have the processes that this one has started end too, and forget them."""
        if not self._starts:
            return
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()  # wakes those that wait for this one
        for process in self._started:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._started:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.environ.clear()
        os.environ.update(self._before)

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_SECONDS):
            self._outcome = self._lost()
            if self._outcome is not None:
                self._noticed.set()
                self._interrupt(self._outcome)
                return

    def _lost(self) -> StoppedError | SystemExit | None:
        """How this process is to end because another one has; None while all live."""
        if self._starter and os.getppid() != self._starter:
            return self._ended(1, "has ended") if self._rank == 1 else SystemExit(_STOPPED)
        for rank, process in enumerate(self._started, start=1):
            code = process.poll()
            if code == _TOLD:
                return SystemExit(_TOLD)
            if code in (_STOPPED, -signal.SIGINT):
                return self._stopped()
            if code:
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with code {code}"
                return self._ended(rank + 1, how)
        return None

    def _ended(self, which: int, how: str) -> StoppedError:
        return StoppedError(f"process {which} of {self._number} {how}; what is finished is kept, the same command goes on.")

    def _stopped(self) -> StoppedError | SystemExit:
        if not self._tells:
            return SystemExit(_STOPPED)
        return StoppedError("stopped: what is finished is kept; the same command goes on.")

    def _interrupt(self, outcome: StoppedError | SystemExit) -> None:
        """Interrupt the work; end the process if that does not help, because it waits or does not listen."""
        if self._is_main:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if self._over.wait(_GRACE_SECONDS):
            return
        for process in self._started:
            process.kill()
        console.show_cursor()
        if isinstance(outcome, StoppedError):
            print(f"mcrgen: {outcome}", file=sys.stderr, flush=True)
        os._exit(_STOPPED if isinstance(outcome, StoppedError) else int(outcome.code or 0))

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self._noticed.set()

    def _on_interrupt(self, handler: signal._HANDLER) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, handler)


def _is_interrupt(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, as it is or as Lightning tells of it."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
