"""``mcrgen demo``: the whole way on a photograph of gravel."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcrgen import config as configuration
from mcrgen.commands import compare, generate, segment, train
from mcrgen.commands._console import console
from mcrgen.commands._hardware import resolve_device
from mcrgen.commands._train_config import TrainConfig
from mcrgen.errors import require_free, require_positive, require_seed, require_writable

RECIPE = "swnn_quick"
PHOTO_SCALE = 0.4
PRODUCTS = ("gravel.png", "labels.tif", "labels.tif.json", "run", "volume.tif", "volume.tif.json", "comparison")


@dataclass(kw_only=True)
class DemoConfig:
    """Segment a photograph of gravel, train on a crop of it, generate a volume and compare: minutes on two CPU cores."""

    output: Path = Path("demo")
    """Folder for everything the demo makes."""
    size: int = 128
    """Edge length of the volume, in voxels."""
    seed: int = 1
    """Seed of the volume."""
    max_steps: int | None = None
    """Training steps; those of the quick recipe if not given."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    overwrite: bool = False
    """Replace an earlier demo in the folder."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        folder: its folder.
        figure: the comparison.
        metrics: the errors, as ``mcrgen compare`` writes them.
        seconds: total time.
    """

    folder: Path
    figure: Path
    metrics: dict[str, Any]
    seconds: float


def run(config: DemoConfig) -> DemoResult:
    """Segment, train, generate, compare.

    Raises:
        InputError: bad input, before any work.
    """
    start = time.perf_counter()
    _check(config)
    photo, labels, volume = (config.output / name for name in ("gravel.png", "labels.tif", "volume.tif"))
    console.rule("1/4  segment")
    _write_photo(photo)
    segment.run(
        segment.SegmentConfig(photo=photo, output=labels, crop=(0, 0, 480, 480), scale=PHOTO_SCALE, overwrite=config.overwrite)
    )
    console.rule("2/4  train")
    trained = train.run(_training(config, labels))
    console.rule("3/4  generate")
    generate.run(
        generate.GenerateConfig(
            checkpoint=trained.checkpoint,
            output=volume,
            size=(config.size,),
            seed=config.seed,
            device=config.device,
            overwrite=config.overwrite,
        )
    )
    console.rule("4/4  compare")
    comparison = compare.run(
        compare.CompareConfig(
            reference=labels, candidates=(volume,), output=config.output / "comparison", overwrite=config.overwrite
        )
    )
    seconds = time.perf_counter() - start
    console.print(f"done in {seconds:.0f} s; look at {comparison.folder / 'comparison.png'}")
    return DemoResult(config.output, comparison.folder / "comparison.png", comparison.metrics, seconds)


def _check(config: DemoConfig) -> None:
    require_positive("size", config.size)
    require_seed(config.seed)
    if config.max_steps is not None:
        require_positive("max_steps", config.max_steps)
    resolve_device(config.device)
    require_writable("output", config.output)
    for product in PRODUCTS:
        require_free("output", config.output / product, overwrite=config.overwrite)


def _write_photo(path: Path) -> None:
    from PIL import Image

    from mcrgen.data.examples import gravel

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gravel()).save(path)


def _training(config: DemoConfig, labels: Path) -> TrainConfig:
    recipe = configuration.load(TrainConfig, configuration.recipe(RECIPE), [f"data.image={labels}"])
    steps = recipe.trainer.max_steps if config.max_steps is None else config.max_steps
    return replace(
        recipe,
        output=config.output / "run",
        overwrite=config.overwrite,
        trainer=replace(recipe.trainer, max_steps=steps, device=config.device),
    )
