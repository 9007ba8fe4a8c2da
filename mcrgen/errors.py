"""Exceptions for what a user can put right, and the checks that raise them."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """Bad input, told in one sentence: which argument, what was expected, what came, what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """


class StoppedError(RuntimeError):
    """Work that was interrupted and can be taken up again; the message says how.

    The command line prints the message and exits with code 130, as a shell does after Ctrl-C.
    """


def near_name(name: str, known: Iterable[str]) -> str:
    """Return ``"; perhaps 'x' is meant"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; perhaps '{close[0]}' is meant" if close else ""


def require_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is finite and greater than zero.

    Raises:
        InputError: ``value`` is zero, negative, infinite or NaN.
    """
    if not 0 < value < math.inf:
        raise InputError(f"{name}: expected a number greater than 0, got {value}.")


def require_fraction(name: str, value: float) -> None:
    """Raise unless ``value`` lies strictly between 0 and 1.

    Raises:
        InputError: ``value`` is outside (0, 1).
    """
    if not 0.0 < value < 1.0:
        raise InputError(f"{name}: expected a phase fraction between 0 and 1 (exclusive), got {value}.")


def require_seed(value: int) -> None:
    """Raise unless ``value`` may seed a run: negative seeds are kept for calibration.

    Raises:
        InputError: ``value`` is negative.
    """
    if value < 0:
        raise InputError(f"seed: expected 0 or more, got {value}.")


def require_file(name: str, path: Path) -> None:
    """Raise unless ``path`` is an existing file.

    Raises:
        InputError: nothing is there, or it is a folder.
    """
    if path.is_dir():
        raise InputError(f"{name}: expected a file, got the folder '{path}'; name the file in it.")
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise InputError(f"{name}: no such file '{path}'{near_name(path.name, siblings) or '; check the path'}.")


def require_writable(name: str, folder: Path) -> None:
    """Raise unless files can be made in ``folder``, which is created if need be.

    Raises:
        InputError: a file is in the way, or the place is not writable.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise InputError(f"{name}: expected a folder, '{existing}' is a file; choose another place.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{name}: cannot write in '{existing}'; choose another place.")


def require_free(name: str, path: Path, *, overwrite: bool) -> None:
    """Raise if writing to ``path`` would replace something unasked.

    Args:
        name: the argument to name in the error.
        path: a file, or a folder of outputs.
        overwrite: whether the user asked for it.

    Raises:
        InputError: ``path`` exists (a folder: is not empty) and ``overwrite`` is false.
    """
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not overwrite:
        raise InputError(f"{name}: '{path}' exists already; choose another name or add --overwrite.")


def require_output_file(name: str, path: Path, *, overwrite: bool) -> None:
    """Raise unless ``path`` can become a new file.

    Raises:
        InputError: a folder has that name; it exists and ``overwrite`` is false; or its folder cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"{name}: expected a file name, '{path}' is a folder; name a file in it.")
    require_free(name, path, overwrite=overwrite)
    require_writable(name, path.parent)
