"""Every metric of several labels under many weightings of the cases, unknown answers left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.calibration_scores import label_calibration_error, slope_and_intercept
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.ranking import (
    auroc,
    average_precision,
    rank,
    sensitivity_at,
    specificity_at,
)
from medfuse.evaluation.scores import (
    OVERALL,
    Floats,
    ScoreTable,
    operating_point_name,
    score_table,
)
from medfuse.evaluation.settings import EvaluationSettings

_MEANS = ("auroc", "auprc", "f1", "precision", "recall", "specificity", "brier", "ece")


def scores_of(
    predictions: Predictions | LabelPredictions, weights: Floats, settings: EvaluationSettings
) -> ScoreTable:
    """Return each metric ``(R,)`` under R case weightings ``(R, N)``, of classes or of labels."""
    if isinstance(predictions, LabelPredictions):
        return label_scores(predictions, weights, settings)
    return score_table(predictions, weights, settings)


def label_scores(
    predictions: LabelPredictions, weights: Floats, settings: EvaluationSettings
) -> ScoreTable:
    """Return each metric ``(R,)`` under R case weightings ``(R, N)``; undefined is NaN.

    Keys are (metric, label index), with `OVERALL` for metrics of all labels together. A macro
    mean is over the labels of which both answers occur among the cases.
    """
    table: ScoreTable = {}
    table["exact_match", OVERALL], table["hamming_loss", OVERALL] = _agreement(predictions, weights)
    for index in range(len(predictions.classes)):
        table.update(_of_label(predictions, weights, index, settings))
    measured = [int(index) for index in np.flatnonzero(predictions.measurable)]
    for name in _MEANS:
        per_label = [table[name, index] for index in measured]
        nothing = np.full(len(weights), np.nan)
        table[f"{name}_macro", OVERALL] = np.mean(per_label, axis=0) if per_label else nothing
    table.update(_pooled(predictions, weights))
    return table


def answer_scores(
    predictions: LabelPredictions, weights: Floats, averaged: Sequence[int]
) -> ScoreTable:
    """Return what needs no ranking, each ``(R,)`` under R case weightings ``(R, N)``.

    Accuracy, log loss and Brier score of each label on the cases where its answer is known, and
    the mean over labels; the exact match is of all known answers of a case.

    Args:
        predictions: of L labels.
        weights: of the cases.
        averaged: the labels that the means are over.
    """
    known, held = predictions.known[:, averaged], predictions.labels[:, averaged] == 1
    chance = predictions.probabilities[:, averaged]
    own = np.clip(np.where(held, chance, 1 - chance), np.finfo(float).eps, 1)
    right = (predictions.predicted == predictions.labels)[:, averaged]
    parts = {"accuracy": right, "log_loss": -np.log(own), "brier": (chance - held) ** 2}
    total = weights @ known
    table: ScoreTable = {}
    for name, part in parts.items():
        per_label = _ratio(weights @ np.where(known, part, 0.0), total)
        nothing = np.full(len(weights), np.nan)
        table[name, OVERALL] = per_label.mean(1) if len(averaged) else nothing
    table["exact_match", OVERALL] = _agreement(predictions, weights)[0]
    return table


def _agreement(predictions: LabelPredictions, weights: Floats) -> tuple[Floats, Floats]:
    """Return the share of cases whose known answers are all right, and of known answers wrong."""
    known = predictions.known
    wrong = (predictions.predicted != predictions.labels) & known
    exact = weights @ (~wrong.any(1)).astype(np.float64) / weights.sum(1)
    return exact, (weights @ wrong.sum(1)) / (weights @ known.sum(1))


def _of_label(
    predictions: LabelPredictions, weights: Floats, index: int, settings: EvaluationSettings
) -> ScoreTable:
    rows = predictions.known[:, index]
    held, chance = predictions.labels[rows, index] == 1, predictions.probabilities[rows, index]
    said, kept = predictions.predicted[rows, index] == 1, weights[:, rows]
    ranking = rank(chance, held, kept) if rows.any() else None
    total = kept.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = _rates(*_cells(kept, said, held))
        table["brier"] = kept @ ((chance - held) ** 2) / total
        table["ece"] = label_calibration_error(held, chance, kept, settings.bins)
    table["calibration_slope"], table["calibration_intercept"] = slope_and_intercept(
        held, chance, kept
    )
    nothing = np.full(len(weights), np.nan)
    table["auroc"] = nothing if ranking is None else auroc(ranking)
    table["auprc"] = nothing if ranking is None else average_precision(ranking)
    for point in settings.operating_points:
        at_specificity = operating_point_name("sensitivity", "specificity", point)
        at_sensitivity = operating_point_name("specificity", "sensitivity", point)
        table[at_specificity] = nothing if ranking is None else sensitivity_at(ranking, point)
        table[at_sensitivity] = nothing if ranking is None else specificity_at(ranking, point)
    return {(name, index): values for name, values in table.items()}


def _cells(
    weights: Floats,
    said: NDArray[np.bool_],
    held: NDArray[np.bool_],
    known: NDArray[np.bool_] | bool = True,
) -> list[Floats]:
    """Return the weighted counts ``(R,)`` of hits, false alarms, misses and rightly passed."""
    pairs = ((said & held), (said & ~held), (~said & held), (~said & ~held))
    found = [np.asarray(pair & known, dtype=np.float64) for pair in pairs]
    return [weights @ (one.sum(1) if one.ndim == 2 else one) for one in found]


def _rates(hits: Floats, alarms: Floats, misses: Floats, passes: Floats) -> dict[str, Floats]:
    """Return rates of the counts of `_cells`."""
    support = hits + misses
    f1 = _ratio(2 * hits, 2 * hits + alarms + misses)
    return {
        "precision": _ratio(hits, hits + alarms),
        "recall": _ratio(hits, support),
        "specificity": _ratio(passes, passes + alarms),
        "f1": np.where(support > 0, f1, np.nan),
    }


def _pooled(predictions: LabelPredictions, weights: Floats) -> ScoreTable:
    """Return precision, recall and F1 of all known answers together."""
    known, said = predictions.known, predictions.predicted == 1
    held = predictions.labels == 1
    rates = _rates(*_cells(weights, said, held, known))
    return {(f"{name}_micro", OVERALL): rates[name] for name in ("precision", "recall", "f1")}


def _ratio(part: Floats, whole: Floats) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return quotient
