"""What is known of cases: their classes, or their answers to several labels, as an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfuse.data import Case, Cohort


def answers_of(cases: Sequence[Case]) -> np.ndarray:
    """Return ``(N, L)``: 1 where a label holds, 0 where it does not, -1 where that is unknown."""
    rows = [[-1 if one is None else one for one in case.findings] for case in cases]
    return np.array(rows, dtype=np.int64)


def labels_of(cohort: Cohort) -> np.ndarray:
    """Return the class of every case ``(N,)``, 0 where unknown; of several labels the answers
    ``(N, L)``, -1 where unknown.
    """
    if cohort.multilabel:
        return answers_of(cohort.cases)
    return np.array([case.label or 0 for case in cohort.cases], dtype=np.int64)
