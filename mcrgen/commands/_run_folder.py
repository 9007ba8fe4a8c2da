"""The folder of a training run: begun, and gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcrgen import config as configuration
from mcrgen.commands._console import console
from mcrgen.commands._gan_config import GanConfig
from mcrgen.commands._train_config import TrainConfig
from mcrgen.errors import InputError, StoppedError, require_free, require_writable

PRODUCTS = (
    "model.ckpt", "best.ckpt", "last.ckpt", "config.yaml", "provenance.json", "preview.png", "previews", "losses.png",
    "held_out", "monitor", "log", "wandb",
)  # fmt: skip

_FREE_ON_RESUME = (
    "resume", "overwrite", "output", "data.image", "data.phase_names", "logging.", "calibration.", "trainer.device",
    "trainer.checkpoint_every", "trainer.preview_every", "trainer.log_every", "monitor.every",
)  # fmt: skip

AnyTraining = TrainConfig | GanConfig


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes:
        folder: the run folder.
        checkpoint: the calibrated model, for ``mcrgen generate``.
        phase_fractions: fractions the labels were calibrated for, one per phase; of a conditional generator, its default.
    """

    folder: Path
    checkpoint: Path
    phase_fractions: tuple[float, ...]


def prepare_folder(config: AnyTraining, folder: Path, inputs: Mapping[str, Path], *, keep: bool) -> None:
    """Clear what an earlier run wrote (never another program's files), unless it is kept; write configuration and provenance.

    Raises:
        InputError: the folder cannot be written to.
    """
    from mcrgen.io.provenance import provenance, write_json

    if not keep and _is_run(folder):
        for product in (folder / name for name in PRODUCTS):
            if product.is_dir():
                shutil.rmtree(product)
            else:
                product.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        configuration.save(replace(config, overwrite=False, resume=False), folder / "config.yaml")
    except OSError as error:
        raise InputError(f"output: cannot write to '{folder}' ({error.strerror}); choose another folder.") from error
    write_json(folder / "provenance.json", provenance("train", configuration.to_plain(config), dict(inputs)))


def _is_run(folder: Path) -> bool:
    """Whether a training run has begun there."""
    try:
        record = json.loads((folder / "provenance.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("command") == "train"


def stopped(folder: Path, what: str) -> StoppedError:
    """How to go on with a run that was interrupted."""
    return StoppedError(f"{what}; go on with `mcrgen train --config {folder / 'config.yaml'} --resume`.")


def files_record(files: Sequence[tuple[str, Path]], shapes: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    """What is kept of each file: its option, path, hash and shape."""
    from mcrgen.io.provenance import sha256

    return [
        {"option": name, "path": str(path), "sha256": sha256(path), "shape": list(shape)}
        for (name, path), shape in zip(files, shapes, strict=True)
    ]


def find_resume_point(config: AnyTraining, folder: Path, files: Callable[[], Sequence[Mapping[str, Any]]]) -> Path | None:
    """The checkpoint to resume from, or None for a new run in a folder that may be written to.

    Args:
        config: the options.
        folder: the run folder.
        files: gives :func:`files_record` of the images, whose hashes are needed only to resume.

    Raises:
        InputError: the folder is taken; or the run in it had other options or another image.
    """
    require_writable("output", folder)
    last = folder / "last.ckpt"
    if not config.resume:
        require_free("output", folder, overwrite=config.overwrite)
        return None
    if not last.exists():
        require_free("output", folder / "model.ckpt" if _is_run(folder) else folder, overwrite=config.overwrite)
        console.print(f"nothing to resume in {folder}: starting anew")
        return None
    from mcrgen.io.checkpoints import read_checkpoint

    record = read_checkpoint(last, "resume")["mcrgen"]
    if "exemplars" not in record:
        raise InputError(
            f"resume: the run in '{folder}' was begun by an older version of mcrgen, whose training this one cannot go on "
            "with; train anew with --overwrite or another --output."
        )
    if record["kind"] != config.method.value:
        raise InputError(
            f"resume: method {config.method} differs from the run in '{folder}', which is of the method {record['kind']}; "
            f"give the same options (`--config {folder / 'config.yaml'}`) or another --output."
        )
    changed = [key for key in configuration.differences(config, record["config"]) if not key.startswith(_FREE_ON_RESUME)]
    if changed:
        raise InputError(
            f"resume: {', '.join(changed)} differ from the run in '{folder}'; give the same options "
            f"(`--config {folder / 'config.yaml'}`) or another --output."
        )
    _check_same_files(files(), record["exemplars"], folder)
    return last


def _check_same_files(files: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Raise unless these are the files, in the order, that a run began with: the order numbers the patterns."""
    known = [(file["option"], file["sha256"]) for file in before]
    if [(file["option"], file["sha256"]) for file in files] == known:
        return
    for file in files:
        if (file["option"], file["sha256"]) not in known:
            raise InputError(
                f"resume: '{file['path']}' is not the image that the run in '{folder}' began with; give that one "
                "or another --output."
            )
    expected, got = (", ".join(f"'{file['path']}'" for file in some) for some in (before, files))
    raise InputError(
        f"resume: expected all images that the run in '{folder}' began with in their order, {expected}, got {got}; "
        "give those or another --output."
    )
