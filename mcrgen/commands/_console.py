"""What the commands show on the terminal."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Units per second over the recent past."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {task.fields.get('unit', 'step')}/s", style="cyan")


def progress_bar(*, transient: bool = False) -> Progress:
    """A progress bar with rate (in units of field ``unit``), elapsed time, ETA and a free status text (field ``status``).

    Args:
        transient: leave nothing on the terminal when it is done.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(Column(no_wrap=True)),  # rather a shorter bar
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=console,
        transient=transient,
        disable=transient and not console.is_terminal,  # else an empty line is left in a file
        refresh_per_second=2,  # drawing takes time from a network that uses every core
    )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence what Lightning says about choices made on purpose here; other warnings are a yellow line, errors still pass."""
    import pytorch_lightning  # noqa: F401  (its import sets the levels that are changed here)

    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "wandb")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(treespec|LeafSpec|pytree).*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message="Couldn.t infer the batch indices.*")
            warnings.filterwarnings("ignore", message=".*Using ModelCheckpoint with manual optimization.*")
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
            warnings.showwarning = lambda message, *where, **options: console.print(f"warning: {message}", style="yellow")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
