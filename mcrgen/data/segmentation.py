"""From a grey photograph to phase labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrgen.errors import InputError

MAX_OTSU_PHASES = 5
"""The search for multi-Otsu's thresholds grows a hundredfold with each phase; five take seconds."""


@dataclass(frozen=True)
class Segmentation:
    """A segmented photograph.

    Attributes:
        grey: ``(H, W)`` float32 in [0, 1], cropped and rescaled, before denoising.
        labels: ``(H, W)`` uint8, darkest phase 0 (brightest if inverted).
        thresholds: grey values in [0, 1] between the phases, ascending.
    """

    grey: NDArray[np.float32]
    labels: NDArray[np.uint8]
    thresholds: tuple[float, ...]


def to_unit_grey(image: NDArray[np.generic], name: str, *, colour: bool) -> NDArray[np.float32]:
    """Grey values in [0, 1]: luminance of a colour image; bytes by 255, anything wider by the photograph's own range.

    The range of a wider type says nothing: cameras store 12 bits in 16.

    Raises:
        InputError: not one 2D image, NaN, or a single grey value.
    """
    from skimage.color import rgb2gray

    if colour:
        image = rgb2gray(image)
    if image.ndim != 2 or image.size == 0:
        raise InputError(f"{name}: expected one 2D photograph, got an array of shape {image.shape}; save one section of it.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(f"{name}: expected grey values, found NaN or infinite ones; mask or fill them first.")
    low, high = float(image.min()), float(image.max())
    if low == high:
        raise InputError(f"{name}: expected a photograph, every pixel has the value {low:g}.")
    if colour:
        low, high = 0.0, 1.0
    elif image.dtype == np.uint8:
        low, high = 0.0, 255.0
    return ((image.astype(np.float64) - low) / (high - low)).astype(np.float32)


def segment_grey(
    grey: NDArray[np.float32],
    *,
    phases: int,
    threshold: float | None,
    denoise: bool,
    sigma_grey: float,
    sigma_space: float,
    scale: float,
    invert: bool,
) -> Segmentation:
    """Rescale, denoise by a bilateral filter and threshold.

    The bilateral filter (Tomasi and Manduchi, ICCV 1998) smooths within phases and keeps their edges; the thresholds are Otsu's
    (IEEE Trans. SMC 9, 1979) or, for more than two phases, multi-Otsu's (Liao et al., J. Inf. Sci. Eng. 17, 2001).

    Args:
        grey: ``(H, W)`` in [0, 1].
        phases: number of phases.
        threshold: grey value in [0, 1] between two phases, instead of Otsu's.
        denoise: whether to filter at all.
        sigma_grey: standard deviation of the filter in grey values.
        sigma_space: standard deviation of the filter in pixels.
        scale: factor on the edge lengths, applied first, with anti-aliasing.
        invert: number the phases from bright to dark.

    Raises:
        InputError: fewer grey levels than phases.
    """
    from skimage.filters import threshold_multiotsu, threshold_otsu
    from skimage.restoration import denoise_bilateral
    from skimage.transform import rescale

    if scale != 1.0:
        grey = rescale(grey, scale, anti_aliasing=scale < 1.0).astype(np.float32)
    smooth = denoise_bilateral(grey, sigma_color=sigma_grey, sigma_spatial=sigma_space, mode="symmetric") if denoise else grey
    if threshold is not None:
        cuts: tuple[float, ...] = (threshold,)
    else:
        try:
            found = [threshold_otsu(smooth)] if phases == 2 else threshold_multiotsu(smooth, classes=phases)
        except ValueError as error:
            raise InputError(f"phases: expected a photograph with {phases} distinct grey levels ({error}).") from error
        cuts = tuple(float(t) for t in found)
    labels = np.digitize(smooth, cuts).astype(np.uint8)
    if invert:
        labels = (len(cuts) - labels).astype(np.uint8)
    return Segmentation(grey, labels, cuts)
