"""Probabilities and labels in, every metric with its interval out, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medfuse.errors import EvaluationError
from medfuse.evaluation.curves import reliability_bins
from medfuse.evaluation.estimates import Estimate, estimate, undefined_reason
from medfuse.evaluation.group_metrics import metrics_by_group
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.label_scores import scores_of
from medfuse.evaluation.plugin_metrics import Metric, metric_values
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.ranking import rank
from medfuse.evaluation.resampling import weight_blocks
from medfuse.evaluation.scores import (
    OVERALL,
    ScoreTable,
    confusion_counts,
    operating_point_name,
    score_table,
)
from medfuse.evaluation.settings import EvaluationSettings

SCHEMA_VERSION = 1


def evaluate(
    predictions: Predictions,
    settings: EvaluationSettings | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, Any]:
    """Return all metrics of ``predictions`` as JSON data; definitions in ``docs/metrics.md``.

    ``overall`` and ``per_class`` hold ``{"value", "low", "high"}`` each: the value and its
    percentile interval over resamples of the patients. An undefined metric is null with a
    ``reason``. ``groups`` repeats ``overall`` for every site and subgroup that is large enough.

    Args:
        predictions: labeled cases.
        settings: resamples, confidence, bins, operating points, smallest group.
        metrics: further metrics of plugins, by name; they join ``overall``.

    Raises:
        EvaluationError: a plugin metric has the name of a built-in one.
    """
    settings = settings or EvaluationSettings()
    table = resampled_scores(predictions, settings)
    overall = _overall(predictions, table, settings)
    overall.update(_plugin_overall(predictions, settings, metrics or {}, overall))
    names = predictions.classes
    return {
        "schema_version": SCHEMA_VERSION,
        **_counts(predictions),
        "classes": list(names),
        "positive_class": names[-1] if len(names) == 2 else None,
        "bootstrap": bootstrap_facts(settings),
        "overall": overall,
        "per_class": {
            name: _of_class(predictions, table, k, settings) for k, name in enumerate(names)
        },
        "confusion_matrix": _confusion(predictions),
        "reliability": reliability_bins(predictions, settings.bins),
        "groups": metrics_by_group(
            predictions,
            settings,
            _counts,
            lambda part: _overall(part, resampled_scores(part, settings), settings),
        ),
    }


def built_in_metrics() -> frozenset[str]:
    """Return the names in ``overall`` that no metric of a plugin can take."""
    two_cases = Predictions(np.array([0, 1]), np.eye(2), ("no", "yes"))
    table = score_table(two_cases, np.ones((1, 2)), EvaluationSettings(ordinal=True))
    return frozenset(name for name, index in table if index == OVERALL)


def resampled_scores(
    predictions: Predictions | LabelPredictions, settings: EvaluationSettings
) -> ScoreTable:
    """Return every built-in metric ``(1 + bootstrap,)``: on the cases, then on each resample."""
    blocks = weight_blocks(predictions.patient_index, settings.bootstrap, settings.seed)
    tables = [scores_of(predictions, weights, settings) for weights in blocks]
    return {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}


def _overall(
    predictions: Predictions, table: ScoreTable, settings: EvaluationSettings
) -> dict[str, Estimate]:
    first = ["accuracy", "balanced_accuracy"]
    first += ["mean_absolute_error", "quadratic_kappa"] if settings.ordinal else []
    first += ["auroc_macro", "auprc_macro"]
    rest = [name for name, index in table if index == OVERALL and name not in first]
    return {
        name: estimate(table[name, OVERALL], settings, undefined_reason(predictions, name, OVERALL))
        for name in [*first, *rest]
    }


def _plugin_overall(
    predictions: Predictions,
    settings: EvaluationSettings,
    metrics: Mapping[str, Metric],
    taken: Mapping[str, Estimate],
) -> dict[str, Estimate]:
    result = {}
    for name, metric in metrics.items():
        if name in taken:
            raise EvaluationError(
                f"metric {name!r} of a plugin has the name of a built-in metric. Rename it."
            )
        values, reason = metric_values(metric, predictions, settings)
        result[name] = estimate(values, settings, reason)
    return result


def _of_class(
    predictions: Predictions, table: ScoreTable, index: int, settings: EvaluationSettings
) -> dict[str, Any]:
    result: dict[str, Any] = {"support": int((predictions.labels == index).sum())}
    for name in [name for name, k in table if k == index]:
        reason = undefined_reason(predictions, name, index)
        result[name] = estimate(table[name, index], settings, reason)
    for point in settings.operating_points:
        name = operating_point_name("sensitivity", "specificity", point)
        result[name]["threshold"] = _threshold(predictions, index, point)
    return result


def _threshold(predictions: Predictions, index: int, specificity: float) -> float | None:
    """Return the smallest observed probability that is still specific enough to flag at."""
    ones = np.ones((1, len(predictions)))
    ranking = rank(predictions.probabilities[:, index], predictions.labels == index, ones)
    allowed = (1 - specificity + 1e-9) * ranking.negatives[0]
    count = int((ranking.false[0] <= allowed).sum())
    return float(ranking.thresholds[count - 1]) if count else None


def _counts(predictions: Predictions) -> dict[str, Any]:
    support = np.bincount(predictions.labels, minlength=len(predictions.classes))
    return {
        "cases": len(predictions),
        "patients": int(predictions.patient_index.max()) + 1,
        "support": dict(zip(predictions.classes, map(int, support), strict=True)),
    }


def bootstrap_facts(settings: EvaluationSettings) -> dict[str, Any]:
    """Return how intervals were made."""
    return {
        "resamples": settings.bootstrap,
        "confidence": settings.confidence,
        "seed": settings.seed,
        "unit": "patient",
        "interval": "percentile",
    }


def _confusion(predictions: Predictions) -> list[list[int]]:
    matrix = confusion_counts(predictions, np.ones((1, len(predictions))))[0]
    return [[int(count) for count in row] for row in matrix]
