"""Names of what is monitored in training; light, so that a configuration can be checked before anything heavy is loaded."""

from __future__ import annotations

SCALED = {"f2": "s2", "f3h": "p3h", "f3v": "p3v", "f4": "p4", "f6": "p6"}
"""Scaled autocovariance -> the n-point probability it is made of."""
CURVES = ("s2", "lineal_path", *SCALED)

PREFIX = "monitor/"
ERRORS = ("phase_fraction_error", *(f"{name}_mse" for name in CURVES))
"""Metrics that a good generator makes small; each is logged with :data:`PREFIX` before it."""
METRICS = (*ERRORS, "diversity")
