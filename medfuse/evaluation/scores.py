"""Every built-in metric under many weightings of the cases, in one pass."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.calibration_scores import (
    debiased_calibration_error,
    label_calibration_error,
    slope_and_intercept,
)
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.ranking import (
    auroc,
    average_precision,
    rank,
    sensitivity_at,
    specificity_at,
)
from medfuse.evaluation.settings import EvaluationSettings

Floats = NDArray[np.float64]
ScoreTable: TypeAlias = dict[tuple[str, int], Floats]

OVERALL = -1
"""The class index under which metrics of all classes together are found."""


def score_table(
    predictions: Predictions, weights: Floats, settings: EvaluationSettings
) -> ScoreTable:
    """Return each metric ``(R,)`` under R case weightings ``(R, N)``; undefined is NaN.

    Keys are (metric, class index), with `OVERALL` for metrics of all classes together.
    """
    table = calibration_table(predictions, weights, settings)
    table.update(rates_of_classes(predictions, weights))
    for index in range(len(predictions.classes)):
        table.update(_from_ranking(predictions, weights, index, settings))
    for name in ("auroc", "auprc", "precision", "recall", "f1"):
        per_class = [table[name, index] for index in range(len(predictions.classes))]
        table[f"{name}_macro", OVERALL] = np.mean(per_class, axis=0)
    table["balanced_accuracy", OVERALL] = table["recall_macro", OVERALL]
    return {**table, **grade_scores(predictions, weights)} if settings.ordinal else table


def operating_point_name(what: str, fixed: str, point: float) -> str:
    """Return a metric name such as ``sensitivity_at_specificity_0.95``."""
    return f"{what}_at_{fixed}_{point:.2f}"


def confusion_counts(predictions: Predictions, weights: Floats) -> Floats:
    """Return confusion matrices ``(R, K, K)``: rows are true, columns predicted classes."""
    count = len(predictions.classes)
    cell = np.eye(count * count)[predictions.labels * count + predictions.predicted]
    return np.asarray((weights @ cell).reshape(len(weights), count, count))


def confidence_bins(predictions: Predictions, bins: int) -> NDArray[np.int64]:
    """Return the bin of each case's top probability; bin b covers (b / bins, (b + 1) / bins]."""
    top = predictions.probabilities.max(1)
    return np.asarray(np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1))


def calibration_error(predictions: Predictions, weights: Floats, bins: int) -> Floats:
    """Return the expected calibration error of the top class, ``(R,)``, in [0, 1].

    Sum over equal-width bins of (share of cases) x |accuracy - mean confidence| (Naeini et
    al., 2015, doi:10.1609/aaai.v29i1.9602; Guo et al., 2017, arXiv:1706.04599).
    """
    gap = (predictions.labels == predictions.predicted) - predictions.probabilities.max(1)
    member = np.eye(bins)[confidence_bins(predictions, bins)]
    return np.asarray(np.abs(weights @ (member * gap[:, None])).sum(1) / weights.sum(1))


def calibration_table(
    predictions: Predictions, weights: Floats, settings: EvaluationSettings
) -> ScoreTable:
    """Return how far the probabilities are off, of the top class and of each class, ``(R,)``.

    ``ece_classwise`` is the mean over classes of the error of a class's probability (Kull et al.,
    2019, arXiv:1910.12656).
    """
    bins, table = settings.bins, proper_scores(predictions, weights)
    table["ece", OVERALL] = calibration_error(predictions, weights, bins)
    table["ece_debiased", OVERALL] = debiased_calibration_error(predictions, weights, bins)
    for k, chance in enumerate(predictions.probabilities.T):
        held = predictions.labels == k
        table["ece", k] = label_calibration_error(held, chance, weights, bins)
        slope, intercept = slope_and_intercept(held, chance, weights)
        table["calibration_slope", k], table["calibration_intercept", k] = slope, intercept
    classes = range(len(predictions.classes))
    for name, key in (("ece_classwise", "ece"), ("calibration_slope_macro", "calibration_slope")):
        table[name, OVERALL] = np.mean([table[key, k] for k in classes], axis=0)
    return table


def grade_scores(predictions: Predictions, weights: Floats) -> ScoreTable:
    """Return how far the predicted grades are off, each ``(R,)``; the lowest grade comes first.

    ``mean_absolute_error`` counts grades. ``quadratic_kappa`` is Cohen's kappa with a disagreement
    of the squared number of grades (Cohen, 1968, doi:10.1037/h0026256); NaN where there is a
    single grade in truth and prediction.
    """
    matrix = confusion_counts(predictions, weights)
    grades = np.arange(len(predictions.classes))
    off = np.abs(grades[:, None] - grades).astype(np.float64)
    total = matrix.sum((1, 2))
    by_chance = np.einsum("rj,jk,rk->r", matrix.sum(2), off**2, matrix.sum(1)) / total
    return {
        ("mean_absolute_error", OVERALL): (matrix * off).sum((1, 2)) / total,
        ("quadratic_kappa", OVERALL): 1 - _ratio((matrix * off**2).sum((1, 2)), by_chance),
    }


def proper_scores(predictions: Predictions, weights: Floats) -> ScoreTable:
    """Return the Brier score and the log loss, each ``(R,)``; natural logarithm."""
    chances, rows = predictions.probabilities, np.arange(len(predictions))
    truth = np.eye(len(predictions.classes))[predictions.labels]
    squared = ((chances - truth) ** 2).sum(1) / (2 if truth.shape[1] == 2 else 1)
    surprise = -np.log(np.clip(chances[rows, predictions.labels], np.finfo(float).eps, 1))
    total = weights.sum(1)
    return {
        ("brier", OVERALL): weights @ squared / total,
        ("log_loss", OVERALL): weights @ surprise / total,
    }


def rates_of_classes(predictions: Predictions, weights: Floats) -> ScoreTable:
    """Return the accuracy, and what the confusion matrix says of each class, each ``(R,)``."""
    matrix = confusion_counts(predictions, weights)
    total, hits = matrix.sum((1, 2)), np.diagonal(matrix, axis1=1, axis2=2)
    support, flagged = matrix.sum(2), matrix.sum(1)
    table: ScoreTable = {("accuracy", OVERALL): hits.sum(1) / total}
    negatives = total[:, None] - support
    rates = {
        "precision": _ratio(hits, flagged),
        "recall": _ratio(hits, support),
        "specificity": _ratio(negatives - flagged + hits, negatives),
        "f1": np.where(support > 0, _ratio(2 * hits, support + flagged), np.nan),
    }
    for name, values in rates.items():
        table.update({(name, k): values[:, k] for k in range(values.shape[1])})
    return table


def _from_ranking(
    predictions: Predictions, weights: Floats, index: int, settings: EvaluationSettings
) -> ScoreTable:
    ranking = rank(predictions.probabilities[:, index], predictions.labels == index, weights)
    table = {("auroc", index): auroc(ranking), ("auprc", index): average_precision(ranking)}
    for point in settings.operating_points:
        sensitivity = operating_point_name("sensitivity", "specificity", point)
        specificity = operating_point_name("specificity", "sensitivity", point)
        table[sensitivity, index] = sensitivity_at(ranking, point)
        table[specificity, index] = specificity_at(ranking, point)
    return table


def _ratio(part: Floats, whole: Floats) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return quotient
