"""What the probabilities were worth before calibration, beside what they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.curves import reliability_bins
from medfuse.evaluation.estimates import estimate, undefined_reason
from medfuse.evaluation.label_metrics import evaluate_labels
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.resampling import weight_blocks
from medfuse.evaluation.scores import OVERALL, calibration_table
from medfuse.evaluation.settings import EvaluationSettings

_OF_LABELS = ("ece_macro", "brier_macro")


def uncalibrated_metrics(
    predictions: Predictions | LabelPredictions,
    probabilities: NDArray[np.float64],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Return ``overall`` and ``reliability`` as `evaluate` does, of calibration alone.

    Of several labels there are values without intervals.

    Args:
        predictions: the cases.
        probabilities: ``(N, K)`` of them, before calibration.
        settings: resamples, confidence, bins.
    """
    before = replace(predictions, probabilities=probabilities, groups={})
    if isinstance(before, LabelPredictions):
        found = evaluate_labels(before, replace(settings, bootstrap=0))
        kept = {name: found["overall"][name] for name in _OF_LABELS}
        return {"overall": kept, "reliability": found["reliability"]}
    blocks = weight_blocks(before.patient_index, settings.bootstrap, settings.seed)
    tables = [calibration_table(before, weights, settings) for weights in blocks]
    overall = {
        name: estimate(
            np.concatenate([table[name, index] for table in tables]),
            settings,
            undefined_reason(before, name, index),
        )
        for name, index in tables[0]
        if index == OVERALL
    }
    return {"overall": overall, "reliability": reliability_bins(before, settings.bins)}
