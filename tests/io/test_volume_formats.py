from __future__ import annotations

from pathlib import Path

import pytest

from mcrgen.errors import InputError
from mcrgen.io.volume_formats import require_addressable, require_pyramid

FLAT = (".npy", ".raw", ".zarr")
PLANE = 2**31 - 1  # a prime


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF"])
def test_a_plane_that_no_tiff_holds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    message = (
        r"size: a TIFF holds at most 2147483647 voxels in a plane, 65536 x 65536 were asked for; use \.zarr, \.npy or \.raw"
    )
    with pytest.raises(InputError, match=message):
        require_addressable(path, (1, 65536, 65536))
    with pytest.raises(InputError, match="2147483647 voxels in a plane, 32768 x 65536"):
        require_addressable(path, (7, 32768, 65536))
    require_addressable(path, (7, 1, PLANE))
    require_addressable(path, (7, 46340, 46340))


def test_more_planes_than_a_tiff_counts(tmp_path: Path) -> None:
    require_addressable(tmp_path / "v.tif", (PLANE, 1, 3))
    with pytest.raises(InputError, match="a TIFF holds at most 2147483647 planes, 2147483648 were asked for; use"):
        require_addressable(tmp_path / "v.tif", (PLANE + 1, 1, 3))


@pytest.mark.parametrize("suffix", FLAT)
def test_other_formats_hold_wide_planes(tmp_path: Path, suffix: str) -> None:
    require_addressable(tmp_path / f"v{suffix}", (1, 2**16, 2**33))


@pytest.mark.parametrize("suffix", [".tif", *FLAT])
def test_more_bytes_than_a_file_has(tmp_path: Path, suffix: str) -> None:
    message = rf"size: a file holds at most {2**63 - 1} bytes, 1 a voxel, 2097152 x 2097152 x 2097152 were asked for"
    with pytest.raises(InputError, match=message):
        require_addressable(tmp_path / f"v{suffix}", (2**21, 2**21, 2**21))


def test_the_header_counts(tmp_path: Path) -> None:
    shape = (1, 1, 2**63 - 1)
    require_addressable(tmp_path / "v.raw", shape)
    with pytest.raises(InputError, match="size: a file holds at most"):
        require_addressable(tmp_path / "v.npy", shape)


def test_only_zarr_holds_a_pyramid(tmp_path: Path) -> None:
    require_pyramid(tmp_path / "v.zarr")
    require_pyramid(tmp_path / "v.ZARR")
    for suffix in (".tif", ".npy", ".raw"):
        with pytest.raises(InputError, match=rf"pyramid: only \.zarr holds several resolutions, got '.*v{suffix}'"):
            require_pyramid(tmp_path / f"v{suffix}")
