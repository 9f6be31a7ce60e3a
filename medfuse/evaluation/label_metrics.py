"""Several labels per case: every metric with its interval, as plain JSON."""

from __future__ import annotations

from typing import Any

from medfuse.evaluation.calibration_scores import label_bins
from medfuse.evaluation.curves import occupied_bins
from medfuse.evaluation.estimates import NO_SLOPE, Estimate, estimate
from medfuse.evaluation.group_metrics import metrics_by_group
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.metrics import SCHEMA_VERSION, bootstrap_facts, resampled_scores
from medfuse.evaluation.scores import OVERALL, ScoreTable
from medfuse.evaluation.settings import EvaluationSettings


def evaluate_labels(
    predictions: LabelPredictions,
    settings: EvaluationSettings | None = None,
    chosen_on: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return all metrics of several labels per case; definitions in ``docs/metrics.md``.

    The keys are those of `medfuse.evaluation.evaluate` but ``confusion_matrix``; each label has
    the counts of its own. ``task`` is ``multilabel``. Of ``reliability``, ``accuracy`` is how
    often a label holds that was given such a probability, over all known answers.

    Args:
        predictions: labeled cases.
        settings: resamples, confidence, bins, operating points, smallest group.
        chosen_on: per label, what its threshold was chosen on, in words; empty for the default.
    """
    settings = settings or EvaluationSettings()
    table = resampled_scores(predictions, settings)
    said = chosen_on or ("",) * len(predictions.classes)
    return {
        "schema_version": SCHEMA_VERSION,
        "task": "multilabel",
        **_counts(predictions),
        "classes": list(predictions.classes),
        "positive_class": None,
        "bootstrap": bootstrap_facts(settings),
        "overall": _overall(predictions, table, settings),
        "per_class": {
            name: {
                **_of_label(predictions, table, index, settings),
                "threshold": {"value": _threshold(predictions, index), "chosen_on": said[index]},
            }
            for index, name in enumerate(predictions.classes)
        },
        "reliability": _reliability(predictions, settings.bins),
        "groups": metrics_by_group(
            predictions,
            settings,
            _counts,
            lambda part: _overall(part, resampled_scores(part, settings), settings),
        ),
    }


def _overall(
    predictions: LabelPredictions, table: ScoreTable, settings: EvaluationSettings
) -> dict[str, Estimate]:
    reason = _macro_reason(predictions)
    first = ["auroc_macro", "auprc_macro", "exact_match", "hamming_loss", "f1_macro", "f1_micro"]
    rest = [name for name, index in table if index == OVERALL and name not in first]
    found = {name: estimate(table[name, OVERALL], settings, reason) for name in [*first, *rest]}
    left_out = int((~predictions.measurable).sum())
    note = f"without {left_out} label{'s'[: left_out > 1]} lacking one of the two answers"
    if left_out:
        for name, entry in found.items():
            if name.endswith("_macro") and entry["value"] is not None:
                entry["note"] = note
    return found


def _threshold(predictions: LabelPredictions, index: int) -> float | None:
    """Return the threshold of a label; ``None`` where cases have thresholds of their own."""
    return None if predictions.thresholds_differ else float(predictions.thresholds[index])


def _macro_reason(predictions: LabelPredictions) -> str:
    if not predictions.measurable.any():
        return "no label has cases of both answers"
    return "of some label that is measured nothing is predicted"


def _of_label(
    predictions: LabelPredictions, table: ScoreTable, index: int, settings: EvaluationSettings
) -> dict[str, Any]:
    labels, said = predictions.labels[:, index], predictions.predicted[:, index]
    held, absent = int((labels == 1).sum()), int((labels == 0).sum())
    result: dict[str, Any] = {
        "support": held,
        "absent": absent,
        "unknown": len(labels) - held - absent,
        "counts": {
            "true_positive": int(((labels == 1) & (said == 1)).sum()),
            "false_positive": int(((labels == 0) & (said == 1)).sum()),
            "false_negative": int(((labels == 1) & (said == 0)).sum()),
            "true_negative": int(((labels == 0) & (said == 0)).sum()),
        },
    }
    reason = "the label is never predicted"
    if not held or not absent:
        reason = f"no case {'has' if not held else 'is known to lack'} the label"
    for name in [name for name, k in table if k == index]:
        known = reason if not name.startswith("calibration") or not (held and absent) else NO_SLOPE
        result[name] = estimate(table[name, index], settings, known)
    return result


def _counts(predictions: LabelPredictions) -> dict[str, Any]:
    held = (predictions.labels == 1).sum(0)
    return {
        "cases": len(predictions),
        "patients": int(predictions.patient_index.max()) + 1,
        "support": dict(zip(predictions.classes, map(int, held), strict=True)),
    }


def _reliability(predictions: LabelPredictions, bins: int) -> list[dict[str, Any]]:
    known = predictions.known
    chance, held = predictions.probabilities[known], predictions.labels[known] == 1
    return occupied_bins(label_bins(chance, bins), bins, chance, held)
