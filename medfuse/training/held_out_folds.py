"""Folds of held-out cases, patients kept together, for what is fitted on them."""

from __future__ import annotations

import numpy as np

FOLDS = 5


def held_out_folds(groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of row numbers, the rest and the fold; none where there is one patient only.

    They are the same each time for the same patients.

    Args:
        groups: ``(N,)`` patients as numbers.
    """
    from sklearn.model_selection import GroupKFold

    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return []
    shuffled = np.random.default_rng(0).permutation(len(names))[index]
    return list(GroupKFold(min(FOLDS, len(names))).split(shuffled, groups=shuffled))
