"""Points of the ROC, precision-recall and reliability curves, with bands by patient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.ranking import Ranking, rank
from medfuse.evaluation.resampling import percentile_interval, weight_blocks
from medfuse.evaluation.scores import confidence_bins
from medfuse.evaluation.settings import EvaluationSettings

Floats = NDArray[np.float64]

_GRID = np.linspace(0, 1, 101)


def roc_curves(predictions: Predictions, settings: EvaluationSettings) -> dict[str, Any]:
    """Return ``{class: {"x", "y", "grid", "low", "high"}}``: sensitivity over 1 - specificity.

    ``low`` and ``high`` are pointwise percentiles of the resampled curves at ``grid`` (vertical
    averaging; Macskassy and Provost, 2004). Classes without positives or negatives are left out.
    """
    return _curves(predictions, settings, _roc_points)


def precision_recall_curves(
    predictions: Predictions, settings: EvaluationSettings
) -> dict[str, Any]:
    """Return ``{class: {"x", "y", "grid", "low", "high", "base"}}``: precision over recall.

    ``base`` is the class's share of the cases, the precision of a random classifier.
    """
    curves = _curves(predictions, settings, _precision_recall_points)
    for index, name in enumerate(predictions.classes):
        if name in curves:
            curves[name]["base"] = float((predictions.labels == index).mean())
    return curves


def reliability_bins(predictions: Predictions, bins: int) -> list[dict[str, Any]]:
    """Return the occupied equal-width bins of the top probability, lowest first.

    Each holds ``low``, ``high``, ``cases``, ``confidence`` (mean top probability) and
    ``accuracy`` (share of cases whose top class is right).
    """
    right = predictions.labels == predictions.predicted
    top = predictions.probabilities.max(1)
    return occupied_bins(confidence_bins(predictions, bins), bins, top, right)


def occupied_bins(
    member: NDArray[np.int64], bins: int, chance: Floats, right: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return what is said of each bin of probabilities that is not empty, lowest first.

    Args:
        member: bin of each probability.
        bins: of equal width over [0, 1].
        chance: the probabilities.
        right: which of them came true.
    """
    return [
        {
            "low": int(b) / bins,
            "high": (int(b) + 1) / bins,
            "cases": int((member == b).sum()),
            "confidence": float(chance[member == b].mean()),
            "accuracy": float(right[member == b].mean()),
        }
        for b in np.unique(member)
    ]


def _curves(
    predictions: Predictions,
    settings: EvaluationSettings,
    points: Callable[[Ranking, int], tuple[Floats, Floats]],
) -> dict[str, Any]:
    curves = {}
    for index, name in enumerate(predictions.classes):
        positive = predictions.labels == index
        if positive.any() and not positive.all():
            curves[name] = _curve(predictions, settings, index, points)
    return curves


def _curve(
    predictions: Predictions,
    settings: EvaluationSettings,
    index: int,
    points: Callable[[Ranking, int], tuple[Floats, Floats]],
) -> dict[str, Any]:
    scores, positive = predictions.probabilities[:, index], predictions.labels == index
    sampled = []
    for weights in weight_blocks(predictions.patient_index, settings.bootstrap, settings.seed):
        ranking = rank(scores, positive, weights)
        usable = (ranking.positives > 0) & (ranking.negatives > 0)
        sampled += [np.interp(_GRID, *points(ranking, int(r))) for r in np.flatnonzero(usable)]
    x, y = points(rank(scores, positive, np.ones((1, len(scores)))), 0)
    curve: dict[str, Any] = {"x": x.tolist(), "y": y.tolist(), "grid": _GRID.tolist()}
    if len(sampled) > 1:
        bands = [percentile_interval(v, settings.confidence) for v in np.array(sampled[1:]).T]
        curve["low"], curve["high"] = map(list, zip(*[b for b in bands if b], strict=True))
    return curve


def _roc_points(ranking: Ranking, row: int) -> tuple[Floats, Floats]:
    x = np.append(0.0, ranking.false[row] / ranking.negatives[row])
    y = np.append(0.0, ranking.true[row] / ranking.positives[row])
    return x, y


def _precision_recall_points(ranking: Ranking, row: int) -> tuple[Floats, Floats]:
    flagged = ranking.true[row] + ranking.false[row]
    some = flagged > 0
    precision = ranking.true[row][some] / flagged[some]
    recall = ranking.true[row][some] / ranking.positives[row]
    return np.append(0.0, recall), np.append(precision[0], precision)
