"""Up to which lag ``mcrgen reconstruct`` looks where no limit is given."""

from __future__ import annotations

from collections.abc import Sequence

from mcrgen.commands._exemplars import Exemplars
from mcrgen.commands._reconstruct_config import USUAL_LIMIT, ReconstructConfig, descriptor_names
from mcrgen.commands._statistics import Statistics

FEWEST_LAGS = 2
"""With lag 0 alone a correlation is but the phase fraction: a limit below this is taken only where it is asked for."""


def settled_limit(config: ReconstructConfig, sources: Sequence[Exemplars | Statistics]) -> int:
    """The limit that was given, or else the usual one of the method as far as the medium and all sources have room for it.

    Args:
        config: the options.
        sources: what is matched; images have room for half their shortest edge, tables for the lags they have.
    """
    if config.descriptors.limit is not None:
        return config.descriptors.limit
    room = [min(config.size) // 2]
    for source in sources:
        if isinstance(source, Exemplars):
            room += [min(labels.shape) // 2 for labels in source.media]
        else:
            curves = [source.curves.get(name, {}) for name in descriptor_names(config)]
            room += [len(values) for curve in curves for values in curve.values()]
    return max(1, min(USUAL_LIMIT[config.method], *room))
