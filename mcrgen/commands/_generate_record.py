"""What describes a volume: the run that makes it, what it tells of itself, the record beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcrgen import config as configuration
from mcrgen.commands._extent import Extent
from mcrgen.commands._generators import LoadedGenerator
from mcrgen.commands._medium import Medium, phase_fraction_text
from mcrgen.commands._regions import parse_regions

if TYPE_CHECKING:
    from mcrgen.commands.generate import GenerateConfig

_UNLABELLED = (  # options that leave the labels as they are, or are part of another one
    "output", "block_size", "device", "devices", "nodes", "overwrite", "gradient_axis", "resample_field",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """A volume to make.

    Attributes:
        config: the options.
        loaded: the generator of the checkpoint.
        extent: which part of the field.
        medium: what to make.
        inputs: the files that the medium depends on, by the names of their options.
    """

    config: GenerateConfig
    loaded: LoadedGenerator
    extent: Extent
    medium: Medium
    inputs: Mapping[str, Path]

    def settings(self) -> dict[str, Any]:
        """What the user has chosen that settles the labels; block size and thresholds follow, an interrupted run's are kept."""
        from mcrgen.io.provenance import sha256

        chosen = {key: value for key, value in configuration.to_plain(self.config).items() if key not in _UNLABELLED}
        chosen |= {"phase_fraction_field": phase_fraction_text(self.config)}
        chosen |= {"shape": list(self.extent.shape), "precision": self.loaded.precision.value}
        hashes = {name: f"sha256:{sha256(path)}" for name, path in self.inputs.items()}  # wherever the files are
        chosen |= {name: digest for name, digest in hashes.items() if name in chosen}
        filled = parse_regions(self.config.region)
        chosen["region"] = [[spec.value, hashes.get(f"region {spec.value}"), spec.labels] for spec in filled]
        return chosen | ({} if self.config.block_size is None else {"block_size": self.config.block_size})

    def metadata(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What the volume tells of itself: the same however it was made, so no times and no processes."""
        from mcrgen import __version__

        return {
            "software": f"mcrgen {__version__}",
            "phases": self.loaded.record["phases"],
            "voxel_size_um": self.loaded.record["voxel_size_um"],
            **{key: value for key, value in run.items() if key != "block_size"},
            "training": self.loaded.record["config"],
            **self._regions(),
        }

    def write_record(
        self, fractions: Sequence[float], settled: Mapping[str, Any], seconds: float, more: Mapping[str, Any]
    ) -> None:
        """Write the provenance beside the volume.

        Args:
            fractions: achieved fraction of each phase.
            settled: the thresholds, and the fractions aimed at.
            seconds: time spent.
            more: plain data to add.
        """
        from mcrgen.io.provenance import provenance, sidecar, write_json

        aimed = settled["fractions"]
        residual = {"residual": max(abs(a - b) for a, b in zip(fractions, aimed, strict=False))} if aimed else {}
        write_json(
            sidecar(self.config.output),
            provenance("generate", configuration.to_plain(self.config), dict(self.inputs))
            | {
                "shape": list(self.extent.shape),
                "dtype": "uint8",
                "origin": list(self.extent.origin),
                "period": list(self.extent.period),
                "voxel_size_um": self.loaded.record["voxel_size_um"],
                "phases": self.loaded.record["phases"],
                **self._regions(),
                "phase_fractions": list(fractions),
                **residual,
                **more,
                "precision": self.loaded.precision.value,
                "calibration": dict(settled),
                "seconds": round(seconds, 3),
            },
        )

    def _regions(self) -> dict[str, Any]:
        """What fills the regions, where there are some."""
        contents = self.medium.source.contents
        return {"contents": contents} if contents else {}


def scores_path(output: Path) -> Path:
    """The file beside a volume that its scores are kept in."""
    return output.with_name(f"{output.name}.scores.npy")
