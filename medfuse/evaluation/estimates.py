"""A value with its interval as plain JSON, or null with the reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.resampling import percentile_interval
from medfuse.evaluation.settings import EvaluationSettings

Estimate = dict[str, Any]

NO_SLOPE = "cases are told apart without an error, so that no slope is best"


def estimate(values: NDArray[np.float64], settings: EvaluationSettings, reason: str) -> Estimate:
    """Return ``{"value", "low", "high"}`` of a metric; never NaN.

    Further keys only where they say something: ``reason`` (the value or its interval is null,
    and why), ``resamples`` (fewer than asked were usable) and ``note``.

    Args:
        values: the metric on the cases as they are, then on each resample.
        settings: gives the confidence.
        reason: why the metric is undefined, used if it is.
    """
    value, resampled = float(values[0]), values[1:]
    if not math.isfinite(value):
        return {"value": None, "low": None, "high": None, "reason": reason}
    result: Estimate = {"value": value, "low": None, "high": None}
    if len(resampled) == 0:
        return result
    usable = int(np.isfinite(resampled).sum())
    interval = percentile_interval(resampled, settings.confidence)
    if usable < len(resampled):
        result["resamples"] = usable
    if interval is None:
        result["reason"] = f"undefined in {len(resampled) - usable} of {len(resampled)} resamples"
        return result
    result["low"], result["high"] = interval
    if interval[0] == interval[1]:
        result["note"] = "all resamples agree: too few cases to show the uncertainty"
    return result


def undefined_reason(predictions: Predictions, metric: str, index: int) -> str:
    """Return why a built-in metric has no value on these cases.

    Args:
        predictions: the cases.
        metric: its name in the score table.
        index: the class, or -1 for a metric of all classes.
    """
    support = np.bincount(predictions.labels, minlength=len(predictions.classes))
    if metric == "quadratic_kappa":
        return "truth and prediction are one single grade"
    flagged = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    for k in range(len(predictions.classes)) if index < 0 else [index]:
        name = predictions.classes[k]
        if metric.startswith("precision") and flagged[k] == 0:
            return f"class {name!r} is never predicted"
        if support[k] == 0 and metric != "specificity":
            return f"no case of class {name!r}"
        if support[k] == len(predictions):
            return f"every case is of class {name!r}"
    if metric.startswith("calibration"):
        return NO_SLOPE
    return "the metric returned no finite number"
