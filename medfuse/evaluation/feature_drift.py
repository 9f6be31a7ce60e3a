"""Which source sees other images than those it was trained on: distances of a whole cohort."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfuse.evaluation.feature_distance import LEVELS, FeatureDistances


def feature_drift(known: FeatureDistances, found: np.ndarray) -> list[dict[str, Any]]:
    """Return for each source how far the cases of a cohort lie, beside held-out cases.

    Of each source: ``source``; ``cases`` that have its input; the share ``beyond`` its limit;
    ``median`` of the distances and ``expected_median`` of held-out cases; ``farther``, the
    probability that a case of the cohort lies farther than a held-out one (0.5 without drift, 1
    where all do); ``largest_gap`` between the two distribution functions (the statistic of
    Kolmogorov and Smirnov, from 0 to 1). What has no case is ``None``.

    Args:
        known: the distances of the model.
        found: ``(N, S)`` distances of the cohort's cases, as ``known`` gives them.
    """
    pairs = zip(known.sources, np.asarray(found, dtype=np.float64).T, strict=True)
    return [
        {
            "source": source.label,
            **_beside(values[~np.isnan(values)], source.quantiles, source.limit),
        }
        for source, values in pairs
    ]


def _beside(values: np.ndarray, quantiles: np.ndarray, limit: float) -> dict[str, Any]:
    names = ("beyond", "median", "expected_median", "farther", "largest_gap")
    if not len(values):
        return {"cases": 0, **dict.fromkeys(names)}
    reference = np.asarray(quantiles, dtype=np.float64)
    below = np.interp(np.sort(values), reference, LEVELS, left=0.0, right=1.0)
    after = np.arange(1, len(values) + 1) / len(values)
    gap = max(np.abs(after - below).max(), np.abs(after - 1 / len(values) - below).max())
    return {
        "cases": len(values),
        "beyond": float((values > limit).mean()),
        "median": float(np.median(values)),
        "expected_median": float(np.interp(0.5, LEVELS, reference)),
        "farther": float(below.mean()),
        "largest_gap": float(gap),
    }
