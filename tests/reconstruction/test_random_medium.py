from __future__ import annotations

import numpy as np
import pytest

from mcrgen.errors import InputError
from mcrgen.reconstruction.random_medium import random_medium


def test_exact_numbers() -> None:
    medium = random_medium((5, 7, 3), (0.5, 0.3, 0.2), 1)
    assert medium.dtype == np.uint8
    # 52.5, 31.5 and 21.0 of 105 voxels: one of the halves is rounded up.
    assert np.bincount(medium.ravel()).tolist() in ([53, 31, 21], [52, 32, 21])


def test_seed() -> None:
    a, b, c = (random_medium((9, 8), (0.4, 0.6), seed) for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_uncorrelated() -> None:
    medium = random_medium((200, 201), (0.3, 0.7), 3)
    assert (medium * np.roll(medium, 1, 0)).mean() == pytest.approx(0.49, abs=0.01)


def test_bad_arguments() -> None:
    for fractions in [(0.5, 0.4), (1.2, -0.2), ()]:
        with pytest.raises(InputError, match="fractions: expected numbers of 0 or more that sum to 1"):
            random_medium((5, 5), fractions, 0)
    with pytest.raises(InputError, match="seed: expected 0 or more"):
        random_medium((5, 5), (0.5, 0.5), -1)
