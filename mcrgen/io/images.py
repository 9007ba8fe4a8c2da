"""Reading images and volumes, their voxel size with them, and writing label images."""

from __future__ import annotations

import json
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mcrgen.errors import InputError, require_file
from mcrgen.io.phases import Phases, find_phase, to_labels
from mcrgen.io.provenance import sidecar

TIFF_SUFFIXES = (".tif", ".tiff")
PHOTO_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg")
NUMPY_SUFFIXES = (".npy", ".npz")
SUFFIXES = TIFF_SUFFIXES + PHOTO_SUFFIXES + NUMPY_SUFFIXES

_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError, SyntaxError,
    struct.error, zlib.error, zipfile.BadZipFile, tifffile.TiffFileError, UnidentifiedImageError,
)  # fmt: skip
_MICROMETRES = {
    "nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "\\u00B5m": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip


@dataclass(frozen=True)
class Raster:
    """What a file holds: an array and, where its metadata tells, the edge length of a voxel.

    Attributes:
        array: ``(H, W)`` or ``(D, H, W)``; colour images keep a last axis of 3.
        voxel_size_um: edge length of a (cubic) voxel in micrometres, or None.
        colour: whether the last axis is red, green, blue.
    """

    array: NDArray[Any]
    voxel_size_um: float | None
    colour: bool = False


@dataclass(frozen=True)
class Medium:
    """A segmented image or volume.

    Attributes:
        labels: ``(H, W)`` or ``(D, H, W)`` uint8, phases 0..n-1.
        phases: their values in the file and the phase of interest.
        voxel_size_um: edge length of a voxel in micrometres, or None.
    """

    labels: NDArray[np.uint8]
    phases: Phases
    voxel_size_um: float | None


def read_raster(path: Path, name: str, *, photograph: bool = False) -> Raster:
    """Read a TIFF (2D or stack), PNG, BMP, JPEG, NPY or NPZ file.

    Args:
        path: the file.
        name: the argument to name in an error.
        photograph: values are brightnesses: decode palettes and negatives, which labels must keep as they are.

    Raises:
        InputError: no such file, an unknown format, or one that cannot be read to its end.
    """
    require_file(name, path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: expected a file of type {', '.join(SUFFIXES)}, got '{path}'.")
    with damage_told(path, name):
        if suffix in TIFF_SUFFIXES:
            return _read_tiff(path, name, photograph=photograph)
        return _read_numpy(path, name) if suffix in NUMPY_SUFFIXES else _read_photo(path, photograph=photograph)


@contextmanager
def damage_told(path: Path, name: str) -> Iterator[None]:
    """Turn whatever the libraries raise at a damaged file into one sentence.

    Raises:
        InputError: the file could not be read.
    """
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name}: '{path}' is damaged or not what its name says ({reason}); export it again.") from error


def read_medium(path: Path, name: str, *, phase: int | None, phase_name: str) -> Medium:
    """Read a segmented image or volume.

    Args:
        path: the file.
        name: the argument that named it.
        phase: value of the phase of interest in the file; the highest value if None.
        phase_name: the argument that named the phase.

    Raises:
        InputError: as :func:`read_raster`; colour or grey values instead of labels, a single phase, NaN, no such phase.
    """
    raster = read_raster(path, name)
    if raster.colour:
        raise InputError(f"{name}: expected labels, '{path}' is a colour image; run `mcrgen segment` on it first.")
    if raster.array.ndim not in (2, 3):
        raise InputError(f"{name}: expected a 2D image or a 3D volume, '{path}' has the shape {raster.array.shape}.")
    labels, values = to_labels(raster.array, f"{name} '{path}'")
    return Medium(labels, Phases(values, find_phase(values, phase, phase_name)), raster.voxel_size_um)


def write_labels(path: Path, labels: NDArray[np.uint8], voxel_size_um: float | None) -> None:
    """Write a label image, complete or not at all.

    Labels are spread over 0..255 in PNG and BMP so that they can be seen, and written as they are in TIFF and NPY.
    """
    suffix, partial = path.suffix.lower(), path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        if suffix == ".npy":
            np.save(partial, labels)
        elif suffix in TIFF_SUFFIXES:
            tifffile.imwrite(partial, labels, compression="zlib", metadata=None, **imagej_tags(labels.shape, voxel_size_um))
        else:
            Image.fromarray(labels * np.uint8(255 // max(1, int(labels.max())))).save(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def imagej_tags(shape: tuple[int, ...], voxel_size_um: float | None) -> dict[str, Any]:
    """TIFF tags by which Fiji and ParaView know a stack and its voxel size.

    ParaView reads resolution tags in centimetres only (and shows millimetres), Fiji the unit of the ImageJ description; so
    both say centimetres.
    """
    lines = ["ImageJ=1.54f", f"images={shape[0] if len(shape) == 3 else 1}"]
    if len(shape) == 3:
        lines.append(f"slices={shape[0]}")
    tags: dict[str, Any] = {}
    if voxel_size_um is not None:
        lines += ["unit=cm", f"spacing={1e-4 * voxel_size_um:.9g}"]
        tags = {"resolution": (1e4 / voxel_size_um, 1e4 / voxel_size_um), "resolutionunit": "CENTIMETER"}
    return {"description": "\n".join([*lines, "loop=false", ""]), **tags}


def _read_photo(path: Path, *, photograph: bool) -> Raster:
    plain = ("1", "L", "I", "F") if photograph else ("1", "P", "L", "I", "F")
    with _mosaics_allowed(), Image.open(path) as image:
        voxel_size_um = sidecar_voxel_size(path)
        if image.mode in plain or image.mode.startswith("I;"):
            array = np.asarray(image)
            return Raster(array != 0 if array.dtype == np.bool_ else array, voxel_size_um)  # Pillow's True is a byte of 255
        array = np.asarray(image.convert("RGB"))
    return _collapse_grey(array, voxel_size_um)


@contextmanager
def _mosaics_allowed() -> Iterator[None]:
    """Lift Pillow's guard against images of 180 megapixels and more, which stitched micrographs are."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _collapse_grey(array: NDArray[Any], voxel_size_um: float | None) -> Raster:
    """Drop the colour axis (and an alpha channel) of an image that is grey in truth."""
    rgb = array[..., :3]
    if (rgb == rgb[..., :1]).all():
        return Raster(rgb[..., 0], voxel_size_um)
    return Raster(rgb, voxel_size_um, colour=True)


def _read_numpy(path: Path, name: str) -> Raster:
    voxel_size_um = sidecar_voxel_size(path)
    if path.suffix.lower() == ".npy":
        return Raster(np.load(path, allow_pickle=False, mmap_mode="r").squeeze(), voxel_size_um)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if len(arrays.files) != 1:
            raise InputError(f"{name}: expected one array in '{path}', found {', '.join(arrays.files) or 'none'}.")
        return Raster(arrays[arrays.files[0]].squeeze(), voxel_size_um)


def sidecar_voxel_size(path: Path) -> float | None:
    """Voxel size from the provenance file that stands beside everything written here; None from any other file."""
    try:
        record = json.loads(sidecar(path).read_text())
    except (OSError, ValueError):
        return None
    value = record.get("voxel_size_um") if isinstance(record, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _read_tiff(path: Path, name: str, *, photograph: bool) -> Raster:
    with strict_tifffile(), tifffile.TiffFile(path) as tif:
        series = list(tif.series)
        if len({(s.shape, s.dtype) for s in series}) > 1:
            shapes = ", ".join(str(s.shape) for s in series)
            raise InputError(f"{name}: expected one image or stack in '{path}', found images of {shapes}; save one of them.")
        array = series[0].asarray() if len(series) == 1 else np.stack([s.asarray() for s in series])
        voxel_size_um = tiff_voxel_size(tif)
        negative = photograph and tif.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        axes = series[0].axes
        channels = ome_channels(tif)
    if channels > 1 and not photograph:
        raise InputError(f"{name}: expected one channel of labels, '{path}' has {channels}; save one of them.")
    if "S" in axes and len(series) == 1:
        return _collapse_grey(np.moveaxis(array, axes.index("S"), -1).squeeze(), voxel_size_um)
    if negative:
        array = array.max() - array if array.dtype != bool else ~array
    return Raster(array.squeeze(), voxel_size_um)


@contextmanager
def strict_tifffile() -> Iterator[None]:
    """Raise what tifffile only logs: a damaged stack must not pass as a smaller one."""
    complaints: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    logger, handler = logging.getLogger("tifffile"), Collect(logging.ERROR)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
    if complaints:
        raise ValueError(complaints[0])


def ome_channels(tif: tifffile.TiffFile) -> int:
    """Channels of an OME-TIFF; 1 for other files (in ImageJ's, slices often go by the name of channels)."""
    series = tif.series[0]
    return int(series.shape[series.axes.index("C")]) if tif.is_ome and "C" in series.axes else 1


def tiff_voxel_size(tif: tifffile.TiffFile) -> float | None:
    """Voxel size from ImageJ, OME or centimetre resolution tags.

    Inches are the resolution of a print or a screen and are not read as a voxel size.
    """
    if tif.is_ome and tif.ome_metadata:
        return _ome_voxel_size(tif.ome_metadata)
    page = tif.pages.first
    tag = page.tags.get("XResolution")
    if tag is None or tag.value[0] == 0:
        return None
    edge = tag.value[1] / tag.value[0]
    metadata = tif.imagej_metadata if tif.is_imagej else None
    if metadata and metadata.get("unit"):
        factor = _MICROMETRES.get(str(metadata["unit"]))
        return None if factor is None else edge * factor
    unit = page.tags.get("ResolutionUnit")
    return edge * 1e4 if unit is not None and int(unit.value) == int(tifffile.RESUNIT.CENTIMETER) else None


def _ome_voxel_size(xml: str) -> float | None:
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            factor = _MICROMETRES.get(element.attrib.get("PhysicalSizeXUnit", "µm"))
            return None if factor is None else float(element.attrib["PhysicalSizeX"]) * factor
    return None
