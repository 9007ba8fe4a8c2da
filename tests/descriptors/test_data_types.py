"""An indicator may be of any type that can hold 0 and 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mcrgen.descriptors.chord_length import chord_length_distribution
from mcrgen.descriptors.cluster import two_point_cluster
from mcrgen.descriptors.lineal_path import lineal_path
from mcrgen.descriptors.minkowski import minkowski_functionals
from mcrgen.descriptors.multigrid import multigrid_levels
from mcrgen.descriptors.n_point import n_point_probability
from mcrgen.descriptors.pattern_characteristic import pattern_characteristic, pattern_frequencies
from mcrgen.descriptors.pattern_distance import pattern_distance
from mcrgen.descriptors.patterns import local_patterns
from mcrgen.descriptors.phase_fraction import phase_fraction
from mcrgen.descriptors.polytopes import polytope_function
from mcrgen.descriptors.specific_surface import (
    InterfaceDensity,
    SpecificSurface,
    VoxelFaceArea,
    interface_density,
    specific_surface,
    voxel_face_area,
)
from mcrgen.descriptors.three_point import three_point_correlation
from mcrgen.descriptors.two_point import autocovariance_map, two_point_correlation
from mcrgen.descriptors.two_point_map import two_point_map
from mcrgen.descriptors.variation import normalised_variation

MEDIUM = torch.from_numpy(np.random.default_rng(0).random((2, 2, 11, 13)) < 0.5)
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "phase_fraction": phase_fraction,
    "interface_density": interface_density,
    "interface_density periodic": lambda x: interface_density(x, periodic=True),
    "variation": normalised_variation,
    "s2": lambda x: two_point_correlation(x, 5, 1),
    "s2 periodic": lambda x: two_point_correlation(x, 5, 0, periodic=True),
    "map": lambda x: two_point_map(x, 4),
    "autocovariance": lambda x: autocovariance_map(x, 3),
    "n-point periodic": lambda x: n_point_probability(x, [[(0, 0), (1, 2), (3, 1)]], periodic=True),
    "polytope": lambda x: polytope_function(x, "p6", 4),
    "lineal path": lambda x: lineal_path(x, 4, 0),
    "lineal path periodic": lambda x: lineal_path(x, 4, 1, periodic=True),
    "chords": lambda x: chord_length_distribution(x, 1),
    "cluster": lambda x: two_point_cluster(x, 3, 0),
    "s3": lambda x: three_point_correlation(x, 3),
    "s3 soft": lambda x: three_point_correlation(x, 3, soft=True, periodic=True),
    "minkowski": lambda x: minkowski_functionals(x).euler,
    "boundary": lambda x: minkowski_functionals(x).boundary,
    "multigrid": lambda x: multigrid_levels(x, 2)[-1],
    "patterns": lambda x: local_patterns(x, 3),
    "pattern characteristic": lambda x: pattern_characteristic(x, pattern_frequencies(8, 2, 3, torch.Generator())),
    "pattern distance": lambda x: pattern_distance(x[:1], x[1:], 3),
}


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_type_gives_the_same(name: str, dtype: torch.dtype) -> None:
    exact = FUNCTIONS[name](MEDIUM.double())
    torch.testing.assert_close(FUNCTIONS[name](MEDIUM.to(dtype)).double(), exact.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "function"),
    [(InterfaceDensity, interface_density), (SpecificSurface, specific_surface), (VoxelFaceArea, voxel_face_area)],
)
def test_surface_modules_equal_functions(module: type, function: Callable[..., Tensor]) -> None:
    torch.testing.assert_close(module(periodic=True)(MEDIUM), function(MEDIUM, periodic=True))
