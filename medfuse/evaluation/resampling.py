"""Resample patients with replacement, as weights of their cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CELLS = 1_000_000


def weight_blocks(patient: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Floats]:
    """Yield case weights ``(R, N)``; the very first row is all ones, the cases as they are.

    Each further row draws as many patients as there are, with replacement, and gives every
    case of a patient the number of times the patient was drawn (the cluster bootstrap; Field
    and Welsh, 2007, doi:10.1111/j.1467-9868.2007.00593.x). Blocks bound the memory.

    Args:
        patient: patient of each case as an integer from 0, ``(N,)``.
        resamples: number of rows after the first.
        seed: of the drawing; the same seed gives two models the same resamples.
    """
    yield np.ones((1, len(patient)))
    rng = np.random.default_rng(seed)
    count = int(patient.max()) + 1
    size = max(1, _CELLS // max(len(patient), count))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, patient].astype(np.float64)


def percentile_interval(resampled: Floats, confidence: float) -> tuple[float, float] | None:
    """Return the percentile interval of the finite values (Efron, 1979,
    doi:10.1214/aos/1176344552), or ``None`` where fewer than half are finite.
    """
    finite = resampled[np.isfinite(resampled)]
    if len(finite) == 0 or 2 * len(finite) < len(resampled):
        return None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
