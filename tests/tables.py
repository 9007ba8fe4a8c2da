"""Tables that scripts write."""

from __future__ import annotations

import csv
from pathlib import Path


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
