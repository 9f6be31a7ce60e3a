"""Ranks of numbers, as AUROCs and their errors need them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def midranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the place of each value from 1 on, ``(N,)``; equal values share the mean of theirs.

    With a NaN among them all are NaN. It is what `scipy.stats.rankdata` gives by default; the
    import of `scipy.stats` alone takes longer than all statistics of most commands.
    """
    found = np.asarray(values, dtype=np.float64)
    if np.isnan(found).any():
        return np.full(found.size, np.nan)
    _, which, counts = np.unique(found, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which.reshape(-1)]
