"""The answers of cases of several labels, as an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfuse.data import Case


def answers_of(cases: Sequence[Case]) -> np.ndarray:
    """Return ``(N, L)``: 1 where a label holds, 0 where it does not, -1 where that is unknown."""
    rows = [[-1 if one is None else one for one in case.findings] for case in cases]
    return np.array(rows, dtype=np.int64)
