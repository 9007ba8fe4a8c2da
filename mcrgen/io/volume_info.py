"""What a volume file tells beside its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class VolumeInfo:
    """Voxel size, metadata and resolutions of a volume to write.

    Attributes:
        voxel_size_um: edge length of a voxel in micrometres, or None if unknown.
        metadata: plain data as of JSON, such as seed, checkpoint and names of the phases, for the formats with room for it
            (TIFF, Zarr). It is written as it comes: where a resumed run is to give the bytes of an uninterrupted one, neither
            times nor anything else that differs between the two may be in it.
        pyramid: write coarser resolutions beside the volume (Zarr only).
    """

    voxel_size_um: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    pyramid: bool = False
