"""Weights & Biases: opened and closed here, known nowhere else but in the logger."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from mcrgen.commands._console import console
from mcrgen.commands._train_config import WandbMode

_HOST = "api.wandb.ai"


def has_account() -> bool:
    """Whether an API key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(_HOST) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def open_logger(mode: WandbMode, project: str, folder: Path, config: dict[str, Any]) -> WandbLogger:
    """Start a run in ``folder``; online falls back to offline, with a line saying so, where there is no account."""
    import wandb

    online = mode == WandbMode.online
    if online and not has_account():
        console.print("no Weights & Biases account found: recording offline; `wandb login`, then `wandb sync` uploads it")
        online = False
    run = wandb.init(
        name=folder.name,
        project=project,
        dir=folder,
        mode="online" if online else "offline",
        config=config,
        settings=wandb.Settings(silent=True),
    )
    return WandbLogger(experiment=run)


def close() -> None:
    """Finish the run that is open, if any."""
    import wandb

    wandb.finish()
