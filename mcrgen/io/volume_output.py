"""What can become a volume, and what an interrupted run has left of one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mcrgen.errors import InputError, require_free, require_output_file, require_writable
from mcrgen.io.journal import Journal, plain
from mcrgen.io.staging import beside
from mcrgen.io.volume_formats import VOLUME_SUFFIXES


def require_volume_suffix(path: Path) -> None:
    """Raise unless a volume can be written under that name.

    Raises:
        InputError: the suffix is not one of ``VOLUME_SUFFIXES``.
    """
    if path.suffix.lower() not in VOLUME_SUFFIXES:
        raise InputError(f"output: expected a name ending in {', '.join(VOLUME_SUFFIXES)}, got '{path}'.")


def require_volume_output(path: Path, *, overwrite: bool) -> None:
    """Raise unless ``path`` can become a new volume.

    Raises:
        InputError: it exists and ``overwrite`` is false; a folder that is no Zarr store has its name; its folder cannot be
            written to.
    """
    require_volume_suffix(path)
    with _closed_folder_told(path):
        if path.suffix.lower() != ".zarr":
            require_output_file("output", path, overwrite=overwrite)
            return
        require_free("output", path, overwrite=overwrite)
        if path.exists() and not (path / "zarr.json").is_file():
            raise InputError(f"output: '{path}' is there and is no Zarr store, so it is not replaced; choose another name.")
        require_writable("output", path.parent)


@contextlib.contextmanager
def _closed_folder_told(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise InputError(f"output: cannot write '{path}' ({error.strerror}); choose another place.") from error


def interrupted_run(path: Path) -> dict[str, Any] | None:
    """What describes the run that was interrupted while it wrote a volume; None if there was none.

    Raises:
        InputError: its folder cannot be looked into.
    """
    with _closed_folder_told(path):
        return Journal(beside(path, "journal")).run


def voxels_finished(path: Path) -> int:
    """Voxels of a volume in the blocks that an interrupted run has finished, not counting those of its other processes."""
    return Journal(beside(path, "journal")).voxels


def run_to_go_on_with(path: Path, settings: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """The description of an interrupted run with these settings, for what it has settled besides; None if there is none.

    Raises:
        InputError: it had other settings, and ``overwrite`` is false.
    """
    run, wanted = interrupted_run(path), plain(settings)
    if run is None or all(run.get(key) == value for key, value in wanted.items()):
        return run
    if overwrite or not beside(path, "partial").exists():
        return None
    raise begun_by_another(path, {key: run.get(key, "unset") for key in wanted}, wanted)


def begun_by_another(path: Path, other: Mapping[str, Any], run: Mapping[str, Any]) -> InputError:
    """The complaint about an interrupted run that is not the one to go on with."""
    pairs = {key: (other.get(key, "unset"), run.get(key, "unset")) for key in {**other, **run}}
    differences = ", ".join(f"{key} was {was}, is {now}" for key, (was, now) in pairs.items() if was != now)
    return InputError(
        f"output: '{path}' was begun by another run ({differences}); finish it with those options, choose another "
        "name, or add --overwrite to discard it."
    )
