from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mcrgen.data.sections import Windows, sections_of
from mcrgen.errors import InputError


def images() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 3, shape).astype(np.uint8) for shape in ((9, 14), (5, 5), (12, 6))]


def every_window(media: list[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    return np.stack(
        [
            image[y : y + size, x : x + size]
            for image in media
            for y in range(image.shape[0] - size + 1)
            for x in range(image.shape[1] - size + 1)
        ]
    )


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_windows_are_numbered_image_by_image_and_row_by_row(size: int) -> None:
    windows, expected = Windows(images(), size), every_window(images(), size)
    assert len(windows) == len(expected)
    np.testing.assert_array_equal(windows.gather(np.arange(len(windows))), expected)
    some = np.random.default_rng(1).integers(len(windows), size=200)
    np.testing.assert_array_equal(windows.gather(some), expected[some])


@pytest.mark.parametrize("size", [1, 4, 5])
def test_fractions_of_each_window(size: int) -> None:
    expected = every_window(images(), size)
    fractions = Windows(images(), size).fractions(3)
    assert fractions.dtype == np.float32
    for phase in range(3):
        np.testing.assert_allclose(fractions[:, phase], (expected == phase).mean(axis=(1, 2)), rtol=1e-6)


def test_sections_lie_as_the_task_turns_its_slabs() -> None:
    volume = np.random.default_rng(2).integers(0, 2, (4, 5, 6)).astype(np.uint8)
    for normal, (count, shape) in enumerate([(4, (5, 6)), (5, (4, 6)), (6, (4, 5))]):
        sections = sections_of(volume, normal)
        assert len(sections) == count
        assert all(section.shape == shape and np.shares_memory(section, volume) for section in sections)
    assert sections_of(volume, 0)[1][2, 3] == volume[1, 2, 3]
    np.testing.assert_array_equal(sections_of(volume, 1)[2], volume[:, 2, :])
    np.testing.assert_array_equal(sections_of(volume, 2)[3], volume[:, :, 3])


def test_windows_of_strided_sections() -> None:
    volume = np.random.default_rng(3).integers(0, 2, (7, 5, 6)).astype(np.uint8)
    sections = sections_of(volume, 2)
    windows = Windows(sections, 4)
    np.testing.assert_array_equal(windows.gather(np.arange(len(windows))), every_window(sections, 4))


def test_images_smaller_than_a_window() -> None:
    with pytest.raises(InputError, match=r"data\.patch_size: expected 1 to 5 pixels, .* got 6"):
        Windows(images(), 6)
