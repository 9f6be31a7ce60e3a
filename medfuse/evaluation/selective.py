"""What is gained by leaving the least sure cases to somebody else: risk over coverage."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfuse.evaluation.predictions import Predictions


def risk_coverage(cases: Predictions) -> dict[str, Any]:
    """Return the error rate among the surest cases, for every share of them, as JSON data.

    ``coverage`` and ``risk`` hold one point for every confidence that occurs, the surest first;
    cases of the same confidence are accepted together. ``aurc`` is the area under the curve, the
    mean risk over all coverages, and ``excess`` how far that is above the area of a model of the
    same accuracy whose errors are its least sure cases (Geifman, Uziel and El-Yaniv, 2019,
    arXiv:1805.08206).

    Args:
        cases: labeled; the confidence is the probability of the predicted class.
    """
    confidence = cases.probabilities.max(1)
    wrong = (cases.predicted != cases.labels).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(confidence[order]) != 0, True)
    risk = (wrong[order].cumsum() / accepted)[last_of_ties]
    counts = np.diff(accepted[last_of_ties], prepend=0)
    area = float((risk * counts).sum() / len(order))
    ideal = np.sort(wrong).cumsum() / accepted
    return {
        "coverage": (accepted[last_of_ties] / len(order)).tolist(),
        "risk": risk.tolist(),
        "aurc": area,
        "excess": area - float(ideal.mean()),
    }
