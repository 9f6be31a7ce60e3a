"""The quantile of held-out scores that a new case stays below with a stated probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medfuse.errors import EvaluationError


def patients_needed(level: float) -> int:
    """Return with how many patients `conformal_quantile` is finite; ``level`` in (0, 1)."""
    return math.ceil(round(level / (1 - level), 9))


def conformal_quantile(scores: np.ndarray, level: float, patients: Sequence[Any] = ()) -> float:
    """Return the smallest score that a new case exceeds with probability at most ``1 - level``.

    With one case per patient it is the ``ceil((n + 1) level)``-th smallest of n scores (Vovk et
    al., 2005, doi:10.1007/b106715), and infinite where n is too small for that. With several,
    every patient weighs the same and the new patient counts as one with an infinite score, so
    that it holds for a random case of a new patient (Lee, Barber and Willett, 2023,
    arXiv:2306.06342). Cases of one patient need not be independent; patients must be exchangeable.

    Args:
        scores: ``(N,)`` of cases that nothing was fitted on, the larger the stranger.
        level: in (0, 1).
        patients: one value per case; empty if every case is a patient of its own.

    Raises:
        EvaluationError: a score is NaN, or the level is not between 0 and 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not 0 < level < 1 or np.isnan(values).any():
        raise EvaluationError(
            f"found level {level} and {int(np.isnan(values).sum())} scores that are not numbers; "
            "expected a level between 0 and 1 and none."
        )
    if not len(values):
        return float("inf")
    index = _patient_index(len(values), patients)
    sizes = np.bincount(index)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(1.0 / sizes[index[order]])
    needed = level * (len(sizes) + 1)
    enough = reached >= needed - 1e-9 * (len(sizes) + 1)
    return float(values[order][int(enough.argmax())]) if enough.any() else float("inf")


def _patient_index(count: int, patients: Sequence[Any]) -> np.ndarray:
    if not len(patients):
        return np.arange(count)
    names = np.asarray([str(value) for value in patients])
    return np.asarray(np.unique(names, return_inverse=True)[1]).reshape(-1)
