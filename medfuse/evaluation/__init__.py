"""Evaluate: labels and probabilities -> metrics with intervals, and paired comparisons.

Arrays in (`Predictions`), plain JSON data out (`evaluate`, `compare`). No torch, no model.
"""

from medfuse.evaluation.comparison import compare, verdict
from medfuse.evaluation.curves import precision_recall_curves, roc_curves
from medfuse.evaluation.label_metrics import evaluate_labels
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.metrics import built_in_metrics, evaluate
from medfuse.evaluation.paired import bootstrap_difference, delong, holm, mcnemar
from medfuse.evaluation.prediction_table import (
    PredictionRow,
    read_predictions,
    write_predictions,
)
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.settings import EvaluationSettings
from medfuse.evaluation.thresholds import LabelThreshold, choose_thresholds

__all__ = [
    "EvaluationSettings",
    "LabelPredictions",
    "LabelThreshold",
    "PredictionRow",
    "Predictions",
    "bootstrap_difference",
    "built_in_metrics",
    "choose_thresholds",
    "compare",
    "delong",
    "evaluate",
    "evaluate_labels",
    "holm",
    "mcnemar",
    "precision_recall_curves",
    "read_predictions",
    "roc_curves",
    "verdict",
    "write_predictions",
]
