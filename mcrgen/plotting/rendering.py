"""Isometric renderings of labels, made without a display."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from mcrgen.errors import InputError

if TYPE_CHECKING:
    from pyvista import Plotter, PolyData

Extent = tuple[float, float, float, float]

FRAME_COLOURS = {"z": "#0072b2", "y": "#d55e00", "x": "#009e73"}

# The camera looks along x, -y and z with z downwards: the visible faces lie as the sections do, rows down and columns right.
RIGHT = np.array([1.0, 1.0, 0.0]) / np.sqrt(2.0)
UP = np.array([1.0, -1.0, -2.0]) / np.sqrt(6.0)

_TOWARDS = np.array([-1.0, 1.0, -1.0]) / np.sqrt(3.0)
_LIGHT = (-0.45, 0.65, -0.8)
_INSIDE = 0.62
_SIGMA = 0.7


@dataclass(frozen=True)
class Scene:
    """What is rendered.

    Attributes:
        labels: ``(D, H, W)`` labels 0..n-1, perhaps of blocks of voxels.
        shape: size of the volume in voxels (D, H, W).
        values: the phases' values in the file.
        phase: label of the phase of interest.
        all_phases: show every phase, not that one alone.
        smooth: round the surfaces off; else they are faces of voxels.
    """

    labels: NDArray[np.uint8]
    shape: tuple[int, int, int]
    values: tuple[int, ...]
    phase: int
    all_phases: bool
    smooth: bool


def render(scene: Scene, places: Mapping[str, int], colours: Sequence[str], *, pixels: int) -> tuple[NDArray[np.uint8], Extent]:
    """Render surfaces in an isometric parallel projection, off screen, in a process of its own.

    Mesa's LLVM, once loaded, makes an import of torch's Triton end the process; and without OpenGL, VTK ends it as well.

    Args:
        scene: what is rendered.
        places: normal -> index of a section whose outline is drawn.
        colours: colours of the phases.
        pixels: longer edge of the picture.

    Returns:
        ``(H, W, 3)`` picture, and its left, right, bottom and top in voxels from the projected origin of the volume.

    Raises:
        InputError: there is no OpenGL, or too little memory.
    """
    command = [sys.executable, "-c", "from mcrgen.plotting.rendering import serve; serve()"]
    done = subprocess.run(
        command, input=pickle.dumps((scene, dict(places), list(colours), pixels)), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise InputError(
            f"view: the rendering failed with code {done.returncode}, for want of OpenGL or memory; install EGL or OSMesa "
            "(packages libegl1, libosmesa6), or lower --max-edge."
        )
    return np.load(io.BytesIO(done.stdout)), _extent(scene)


def serve() -> None:
    """The process of :func:`render`: arguments from stdin, picture to stdout."""
    np.save(sys.stdout.buffer, _draw(*pickle.load(sys.stdin.buffer)))


def _extent(scene: Scene) -> Extent:
    size = np.array(scene.shape[::-1], dtype=float)
    corners = size * np.array(list(np.ndindex(2, 2, 2)))
    across, upwards = corners @ RIGHT, corners @ UP
    margin = 0.06 * size.max()
    return across.min() - margin, across.max() + margin, upwards.min() - margin, upwards.max() + margin


def _draw(scene: Scene, places: Mapping[str, int], colours: Sequence[str], pixels: int) -> NDArray[np.uint8]:
    import pyvista

    left, right, bottom, top = _extent(scene)
    wide, high = right - left, top - bottom
    window = [max(1, round(pixels * edge / max(wide, high))) for edge in (wide, high)]
    size = np.array(scene.shape[::-1], dtype=float)
    plotter = pyvista.Plotter(off_screen=True, window_size=window, lighting="none")
    plotter.set_background("white")
    plotter.add_light(pyvista.Light(position=_LIGHT, light_type="scene light"))
    for label in range(len(colours)) if scene.all_phases else (scene.phase,):
        _add_phase(plotter, scene, label, colours[label])
    _add_frames(plotter, size, places)
    _set_camera(plotter, size, high / 2)
    plotter.enable_ssao(radius=0.06 * size.max(), bias=0.0005 * size.max(), kernel_size=64)
    return np.array(plotter.screenshot(return_img=True))


def _add_phase(plotter: Plotter, scene: Scene, label: int, colour: str) -> None:
    """Add the surface of a phase: light where the volume is cut, darker inside."""
    import pyvista

    size = np.array(scene.shape[::-1], dtype=float)
    inside = scene.labels == label
    surface = smooth_surface(inside, size) if scene.smooth else voxel_surface(inside, size)
    points, faces = surface.points, surface.regular_faces
    tolerance = 1e-4 * size
    cut = np.zeros(len(faces), dtype=bool)
    for axis in range(3):
        for border in (0.0, size[axis]):
            cut |= (np.abs(points[:, axis] - border) < tolerance[axis])[faces].all(axis=1)
    dark = tuple(_INSIDE * channel for channel in to_rgb(colour))
    for chosen, shade, rounded in ((cut, colour, False), (~cut, dark, scene.smooth)):
        if chosen.any():
            part = pyvista.PolyData.from_regular_faces(points, faces[chosen])
            plotter.add_mesh(part, color=shade, ambient=0.45, diffuse=0.75, specular=0.0, smooth_shading=rounded)


def voxel_surface(inside: NDArray[np.bool_], size: NDArray[np.float64]) -> PolyData:
    """The faces of voxels between a phase and the rest or the outside.

    Args:
        inside: ``(D, H, W)``, where the phase is.
        size: edge lengths of the whole along x, y and z.
    """
    import pyvista

    spacing = size / inside.shape[::-1]
    image = pyvista.ImageData(dimensions=inside.shape[::-1], spacing=spacing, origin=spacing / 2)
    image["phase"] = inside.ravel().astype(np.uint8)
    return image.contour_labels(scalars="phase", smoothing=False)


def smooth_surface(inside: NDArray[np.bool_], size: NDArray[np.float64]) -> PolyData:
    """The surface where a phase's indicator, smoothed by a Gaussian kernel of 0.7 voxels, is one half; flat at the border.

    Args:
        inside: ``(D, H, W)``, where the phase is.
        size: edge lengths of the whole along x, y and z.
    """
    import pyvista
    from scipy.ndimage import gaussian_filter

    spacing = size / inside.shape[::-1]
    field = np.pad(gaussian_filter(inside.astype(np.float32), _SIGMA, mode="nearest"), 1, mode="edge")
    for axis in range(3):
        for end in (0, -1):
            shell = np.moveaxis(field, axis, 0)[end]
            np.minimum(shell, 1 - shell, out=shell)  # one half is passed half a voxel beyond the centres: on the border
    image = pyvista.ImageData(dimensions=field.shape[::-1], spacing=spacing, origin=-spacing / 2)
    image["phase"] = field.ravel()
    return image.contour([0.5], scalars="phase", method="flying_edges", compute_normals=False)


def _add_frames(plotter: Plotter, size: NDArray[np.float64], places: Mapping[str, int]) -> None:
    """Add the outline of the volume and those of the sections, a little outside so that faces do not hide them."""
    import pyvista

    def outline(low: NDArray[Any], high: NDArray[Any], off: float, **line: Any) -> None:
        bounds = np.stack([low - off * size.max(), high + off * size.max()], axis=1)
        plotter.add_mesh(pyvista.Box(bounds.ravel()).outline(), lighting=False, render_lines_as_tubes=False, **line)

    outline(np.zeros(3), size, 0.001, color="black", line_width=3)
    for normal, place in places.items():
        axis = "xyz".index(normal)
        low, high = np.zeros(3), size.copy()
        low[axis] = high[axis] = place + 0.5
        outline(low, high, 0.003, color=FRAME_COLOURS[normal], line_width=6)


def _set_camera(plotter: Plotter, size: NDArray[np.float64], half_height: float) -> None:
    centre, far = size / 2, 2 * float(np.linalg.norm(size))
    camera = plotter.camera
    camera.position, camera.focal_point, camera.up = centre + far * _TOWARDS, centre, UP
    camera.parallel_projection = True
    camera.parallel_scale = half_height
    camera.clipping_range = (0.5 * far, 1.5 * far)
