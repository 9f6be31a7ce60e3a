"""Ranking metrics of many weightings of the same cases at once.

A bootstrap resample is a vector of case weights: how often each case was drawn. The scores
are therefore sorted once, and every resample costs two cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Ranking:
    """Weights of the cases at or above each distinct score, from the highest score down.

    Attributes:
        thresholds: the G distinct scores, falling.
        true: positive weight at or above each threshold, ``(R, G)``.
        false: negative weight at or above each threshold, ``(R, G)``.
    """

    thresholds: Floats
    true: Floats
    false: Floats

    @property
    def positives(self) -> Floats:
        """Total positive weight, ``(R,)``."""
        return self.true[:, -1]

    @property
    def negatives(self) -> Floats:
        """Total negative weight, ``(R,)``."""
        return self.false[:, -1]


def rank(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Ranking:
    """Return the ranking of N ``scores`` under R weightings ``(R, N)``."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    sorted_weights = weights[:, order]
    true = np.cumsum(sorted_weights * positive[order], axis=1)[:, last_of_tie]
    false = np.cumsum(sorted_weights * ~positive[order], axis=1)[:, last_of_tie]
    return Ranking(ordered[last_of_tie], true, false)


def auroc(ranking: Ranking) -> Floats:
    """Return the area under the ROC curve, ``(R,)``; NaN without positives or negatives.

    Ties count one half (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747).
    """
    before = _shifted(ranking.true)
    steps = ranking.false - _shifted(ranking.false)
    area = (steps * (ranking.true + before)).sum(1) / 2
    return _divide(area, ranking.positives * ranking.negatives)


def average_precision(ranking: Ranking) -> Floats:
    """Return the average precision, ``(R,)``: the step-wise area under the PR curve.

    No interpolation between points, which would be optimistic (Davis and Goadrich, 2006,
    doi:10.1145/1143844.1143874). NaN without positives.
    """
    steps = ranking.true - _shifted(ranking.true)
    flagged = ranking.true + ranking.false
    precision = np.divide(ranking.true, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return _divide((steps * precision).sum(1), ranking.positives)


def sensitivity_at(ranking: Ranking, specificity: float) -> Floats:
    """Return the largest sensitivity whose specificity is at least ``specificity``, ``(R,)``.

    A case is flagged if its score reaches a threshold; the thresholds are the observed scores
    and infinity, so the value is 0 where no finite threshold is specific enough.
    """
    allowed = (1 - specificity + _SLACK) * ranking.negatives[:, None]
    count = (ranking.false <= allowed).sum(1)
    reached = np.take_along_axis(ranking.true, np.maximum(count - 1, 0)[:, None], 1)[:, 0]
    found = np.where(count > 0, reached, 0.0)
    return _divide(found, ranking.positives * (ranking.negatives > 0))


def specificity_at(ranking: Ranking, sensitivity: float) -> Floats:
    """Return the largest specificity whose sensitivity is at least ``sensitivity``, ``(R,)``."""
    needed = (sensitivity - _SLACK) * ranking.positives[:, None]
    first = np.argmax(ranking.true >= needed, axis=1)
    flagged = np.take_along_axis(ranking.false, first[:, None], 1)[:, 0]
    return _divide(ranking.negatives - flagged, ranking.negatives * (ranking.positives > 0))


def _shifted(values: Floats) -> Floats:
    return np.concatenate([np.zeros((len(values), 1)), values[:, :-1]], axis=1)


def _divide(part: Floats, whole: Floats) -> Floats:
    scale = whole.astype(np.float64)
    quotient: Floats = np.divide(part, scale, out=np.full(len(scale), np.nan), where=scale > 0)
    return quotient
