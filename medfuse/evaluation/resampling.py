"""Resample patients with replacement, as weights of their cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CELLS = 1_000_000


def weight_blocks(
    patient: NDArray[np.int64],
    resamples: int,
    seed: int,
    strata: NDArray[np.int64] | None = None,
) -> Iterator[Floats]:
    """Yield case weights ``(R, N)``; the very first row is all ones, the cases as they are.

    Each further row draws as many patients as there are, with replacement, and gives every
    case of a patient the number of times the patient was drawn (the cluster bootstrap; Field
    and Welsh, 2007, doi:10.1111/j.1467-9868.2007.00593.x). Blocks bound the memory.

    Args:
        patient: patient of each case as an integer from 0, ``(N,)``.
        resamples: number of rows after the first.
        seed: of the drawing; the same seed gives two models the same resamples.
        strata: ``(N,)`` integers from 0, one value per patient; each keeps its number of patients.
    """
    yield np.ones((1, len(patient)))
    rng = np.random.default_rng(seed)
    parts = _patients_by_stratum(patient, strata)
    count = int(patient.max()) + 1
    size = max(1, _CELLS // max(len(patient), count))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        times = np.zeros((rows, count))
        for members in parts:
            times[:, members] = _times_drawn(rng, rows, len(members))
        yield times[:, patient]


def _patients_by_stratum(
    patient: NDArray[np.int64], strata: NDArray[np.int64] | None
) -> list[NDArray[np.int64]]:
    count = int(patient.max()) + 1
    if strata is None:
        return [np.arange(count)]
    of_patient = np.zeros(count, dtype=np.int64)
    of_patient[patient] = strata
    return [np.flatnonzero(of_patient == stratum) for stratum in np.unique(strata)]


def _times_drawn(rng: np.random.Generator, rows: int, count: int) -> NDArray[np.int64]:
    """Return how often each of ``count`` patients is drawn, ``(rows, count)``."""
    drawn = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def percentile_interval(resampled: Floats, confidence: float) -> tuple[float, float] | None:
    """Return the percentile interval of the finite values (Efron, 1979,
    doi:10.1214/aos/1176344552), or ``None`` where fewer than half are finite.
    """
    finite = resampled[np.isfinite(resampled)]
    if len(finite) == 0 or 2 * len(finite) < len(resampled):
        return None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
