"""What ``mcrgen reconstruct`` starts from and what it writes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcrgen.commands._exemplars import Exemplars, exemplar_files, read_exemplars, with_absolute_paths
from mcrgen.commands._reconstruct_checks import check_exemplars, check_output, check_table
from mcrgen.commands._reconstruct_config import ReconstructConfig
from mcrgen.commands._reconstruct_limit import settled_limit
from mcrgen.commands._statistics import SUFFIXES, Statistics, read_statistics
from mcrgen.errors import InputError, require_file, require_free

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPTIONS = "config.yaml"
"""Where the folder of a run keeps its options."""

Source = Exemplars | Statistics

_WHOLE = 2
_SUFFIX = ".tif"


def working_folder(output: Path) -> Path:
    """Where the run that makes ``output`` keeps what is its own."""
    return output.with_name(f"{output.name}.reconstruction")


def inputs_of(source: Source, start: Path | None) -> dict[str, Path]:
    """The files of a source, and the medium to start from, by the names of their options."""
    files = source.inputs if isinstance(source, Exemplars) else {"source": source.path}
    return files | ({} if start is None else {"start": start})


def require_files(config: ReconstructConfig) -> None:
    """Raise unless every file to read is there; none is opened.

    Raises:
        InputError: no such file, or paths or images that are not given as they should be.
    """
    given = _given(config)
    files = [("source" if _is_table(path) else "data.image", path) for path in given] or exemplar_files(config.data)
    for name, path in (*files, *([("start", config.start)] if config.start else [])):
        require_file(name, path)


def read_sources(config: ReconstructConfig) -> tuple[list[ReconstructConfig], list[Source]]:
    """The sources, and the options with each of them in its place and with a limit that fits all of them.

    Raises:
        InputError: too few or too many paths, or a source that is none.
    """
    given = _given(config)
    if not given:
        configs = [replace(config, data=with_absolute_paths(config.data))]
    else:
        configs = [replace(config, data=with_absolute_paths(replace(config.data, image=path))) for path in given]
    sources = [_read_one(one, given[place] if given else None) for place, one in enumerate(configs)]
    if len({_phase_count(source) for source in sources}) > 1:
        raise InputError(
            "interpolate: expected sources with equally many phases, got "
            f"{', '.join(str(_phase_count(source)) for source in sources)}."
        )
    limit = settled_limit(config, sources)
    return [replace(one, descriptors=replace(one.descriptors, limit=limit)) for one in configs], sources


def _given(config: ReconstructConfig) -> tuple[Path, ...]:
    """The sources among the paths.

    Raises:
        InputError: too few or too many paths or media between them, or an image that is given by its option too.
    """
    if config.interpolate is not None and config.interpolate < 2:
        raise InputError(f"interpolate: expected 2 or more media, those at the ends included, got {config.interpolate}.")
    given = config.paths if config.interpolate else config.paths[:-1]
    if config.interpolate:
        if len(given) < 2:
            raise InputError(f"interpolate: expected two or more images to go between, got {len(given)}.")
    elif len(config.paths) not in (1, _WHOLE):
        raise InputError(
            f"paths: expected SOURCE OUT, or OUT alone with --data.images and the like, got {len(config.paths)} paths; media "
            "between several sources are made by --interpolate."
        )
    data = config.data
    images = (data.image, data.images, data.images_z, data.images_y, data.images_x)
    if not (given or any(images)) and config.paths[0].is_file():
        raise InputError(f"paths: expected SOURCE OUT, got '{config.paths[0]}' alone; name the output after it.")
    if given and data.image is not None:
        raise InputError(f"data.image: expected without the source '{given[0]}'; give the image in one way only.")
    return given


def _read_one(config: ReconstructConfig, path: Path | None) -> Source:
    if path is not None and _is_table(path):
        if config.interpolate:
            raise InputError(f"interpolate: expected images, '{path}' is a table of descriptors; give its image.")
        if config.phase_fraction is not None and path.suffix.lower() != ".csv":
            raise InputError(f"phase_fraction: expected with a table in CSV only, '{path}' holds its own; leave it out.")
        if config.exemplar_periodic:
            raise InputError(f"exemplar_periodic: expected with images, '{path}' is measured already; leave it out.")
        table = read_statistics(path, config.phase_fraction)
        check_table(config, table)
        return table
    if config.phase_fraction is not None:
        raise InputError("phase_fraction: expected with a table in CSV only, an image has its own; leave it out.")
    exemplars = read_exemplars(config.data)
    check_exemplars(config, exemplars)
    return exemplars


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _phase_count(source: Source) -> int:
    return source.phases.count if isinstance(source, Exemplars) else 2


def read_start(config: ReconstructConfig, source: Source) -> NDArray[np.uint8] | None:
    """Labels of the medium to start from, if one is given.

    Raises:
        InputError: it has another size or another number of phases.
    """
    if config.start is None:
        return None
    from mcrgen.io.images import read_medium

    medium = read_medium(config.start, "start", phase=None, phase_name="data.phase")
    if medium.labels.shape != tuple(config.size) or medium.phases.count != _phase_count(source):
        expected, got = (" x ".join(map(str, shape)) for shape in (config.size, medium.labels.shape))
        raise InputError(
            f"start: expected {expected} voxels and {_phase_count(source)} phases, '{config.start}' has {got} voxels and "
            f"{medium.phases.count} phases."
        )
    return medium.labels


def output_files(config: ReconstructConfig) -> list[Path]:
    """The files to write.

    Raises:
        InputError: a folder is named for a single medium.
    """
    if config.interpolate is None:
        if config.output is not None:
            raise InputError("output: expected with --interpolate only; give the output as the second path.")
        return [config.paths[-1]]
    folder = config.output or Path(f"{config.paths[0].stem}_to_{config.paths[-1].stem}")
    return [folder / f"medium_{number:02d}{_SUFFIX}" for number in range(config.interpolate)]


def require_output(config: ReconstructConfig, sources: Sequence[Source], output: Path) -> None:
    """Raise unless a medium can be written there; one that is there is replaced if asked for, or by the run that made it.

    Raises:
        InputError: see :func:`check_output`; a source has that name.
    """
    folder = working_folder(output)
    replaced = config.overwrite or (config.resume and (folder / OPTIONS).exists())
    check_output(config, output, overwrite=replaced)
    require_free("output", folder, overwrite=replaced)
    if output.resolve() in (path.resolve() for source in sources for path in inputs_of(source, config.start).values()):
        raise InputError(f"output: expected another file than the source '{output}'; choose another name.")
