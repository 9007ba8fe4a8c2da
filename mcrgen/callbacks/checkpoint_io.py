"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves so that a path holds the old checkpoint or the new one whole, whatever happens in between.

    Lightning's own saving goes through the system's temporary folder, which may lie on another file system; from there a file
    is copied over the old one, and a full disk or a kill leaves neither.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write beside ``path``, then rename."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        content = io.BytesIO()  # a full disk is an OSError from a file, but a RuntimeError without its name from torch.save
        torch.save(checkpoint, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content.getbuffer())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
