"""Reading checkpoints as plain data."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from mcrgen.errors import InputError, require_file

FORMAT = 1


def read_checkpoint(path: Path, name: str) -> dict[str, Any]:
    """Load a checkpoint written by ``mcrgen train``, refusing to run code from it.

    Args:
        path: the ``.ckpt`` file.
        name: the argument to name in an error.

    Returns:
        The checkpoint; its own record is under the key ``mcrgen``.

    Raises:
        InputError: no such file; truncated; a pickle with more than plain data; another program's checkpoint; a newer format.
    """
    require_file(name, path)
    if not zipfile.is_zipfile(path):
        raise InputError(f"{name}: '{path}' is truncated or not a checkpoint; copy it again or train anew.")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{name}: '{path}' holds Python objects, which could run code when loaded, and is refused; "
            "use a checkpoint written by `mcrgen train`."
        ) from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{name}: '{path}' is truncated or damaged; copy it again or train anew.") from error
    record = checkpoint.get("mcrgen") if isinstance(checkpoint, dict) else None
    if not isinstance(record, dict) or "format" not in record:
        raise InputError(f"{name}: '{path}' is another program's checkpoint; use one written by `mcrgen train`.")
    if record["format"] > FORMAT:
        raise InputError(
            f"{name}: '{path}' has checkpoint format {record['format']}, this version reads up to {FORMAT}; upgrade mcrgen."
        )
    return checkpoint
