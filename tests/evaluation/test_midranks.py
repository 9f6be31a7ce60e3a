from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from medfuse.evaluation.midranks import midranks


@pytest.mark.parametrize(
    "values",
    [
        [],
        [3.0],
        [2, 1, 2, 2, 0],
        [0.5, -np.inf, 0.5, -0.0, 0.0],
        [np.inf, 2.0, np.inf],
        [1.0, np.nan, 0.0],
        np.random.default_rng(0).integers(0, 20, 200),
        np.random.default_rng(1).normal(size=200),
    ],
)
def test_midranks_are_those_of_scipy(values) -> None:
    np.testing.assert_array_equal(midranks(values), rankdata(values))
