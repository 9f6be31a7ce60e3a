"""Limits that make prediction sets hold the true class as often as was asked for, and the check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medfuse.errors import EvaluationError
from medfuse.evaluation.abstention import in_set, set_scores
from medfuse.evaluation.conformal import conformal_quantile
from medfuse.evaluation.predictions import Predictions


def fit_set_limits(
    cases: Predictions, coverage: float, score: str = "lac", per_class: bool = False
) -> np.ndarray:
    """Return the limit of each class, ``(K,)``, for `in_set`.

    Split-conformal prediction (Vovk, Gammerman and Shafer, 2005, doi:10.1007/b106715; Angelopoulos
    and Bates, 2021, doi:10.48550/arXiv.2107.07511): the set of a new case holds its true class
    with a probability of at least ``coverage``, on average over all cases, if its patient and
    those of ``cases`` are exchangeable and nothing was fitted on ``cases``.

    Args:
        cases: calibration cases; patients weigh the same, however many cases they have.
        coverage: in (0, 1), for example 0.9.
        score: ``lac`` or ``aps``.
        per_class: hold it for the cases of every class (Mondrian); a class with too few patients
            is then never ruled out.

    Raises:
        EvaluationError: the coverage is no probability.
    """
    rows = np.arange(len(cases))
    scores = set_scores(cases.probabilities, score)[rows, cases.labels]
    who = cases.patient_index
    if not per_class:
        return np.full(len(cases.classes), conformal_quantile(scores, coverage, list(who)))
    each = [cases.labels == k for k in range(len(cases.classes))]
    return np.array([conformal_quantile(scores[own], coverage, list(who[own])) for own in each])


def covered(cases: Predictions, limits: np.ndarray, score: str = "lac") -> dict[str, Any]:
    """Return how often the sets hold the true class, and how large they are.

    ``coverage`` and ``sizes`` (mean, and the share of each size from 1 on), and the same
    ``per_class``; classes without a case are ``None``.

    Raises:
        EvaluationError: another number of limits than classes.
    """
    if len(limits) != len(cases.classes):
        raise EvaluationError(f"{len(limits)} limits, expected {len(cases.classes)}: one a class.")
    inside = in_set(cases.probabilities, limits, score)
    holds = inside[np.arange(len(cases)), cases.labels]
    each = {name: cases.labels == k for k, name in enumerate(cases.classes)}
    return {
        **_row(holds, inside),
        "per_class": {
            name: _row(holds[own], inside[own]) if own.any() else None for name, own in each.items()
        },
    }


def _row(holds: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    sizes = inside.sum(1)
    shares: Sequence[float] = [float((sizes == n).mean()) for n in range(1, inside.shape[1] + 1)]
    return {
        "cases": len(holds),
        "coverage": float(holds.mean()),
        "mean_size": float(sizes.mean()),
        "sizes": list(shares),
    }
