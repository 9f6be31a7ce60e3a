"""Parts of cases with every class spread evenly and patients kept together, made once."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def stratified_parts(labels: Rows, groups: Rows, count: int, seed: int) -> list[Rows]:
    """Return ``count`` disjoint sets of rows that are all rows, as scikit-learn draws them.

    Where patients have several cases it goes from patient to patient, and takes as long as some
    dozen steps of training. A comparison asks for the same parts for every candidate, so the last
    ones are remembered.

    Args:
        labels: ``(N,)`` class of each case.
        groups: ``(N,)`` patient of each case.
        count: how many.
        seed: of the draw.
    """
    columns = (np.ascontiguousarray(x, dtype=np.int64).tobytes() for x in (labels, groups))
    return [part.copy() for part in _drawn(*columns, count, seed)]


@lru_cache(maxsize=64)
def _drawn(labels: bytes, groups: bytes, count: int, seed: int) -> tuple[Rows, ...]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    classes, patients = (np.frombuffer(x, dtype=np.int64) for x in (labels, groups))
    grouped = len(np.unique(patients)) < len(patients)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer cases than parts is fine here: some parts lack it.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = splitter.split(classes, classes, patients if grouped else None)
        return tuple(held_out for _, held_out in parts)
