"""Metrics that plugins bring, on the cases and on every resample."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.resampling import weight_blocks
from medfuse.evaluation.settings import EvaluationSettings

Metric = Callable[[NDArray[np.int64], NDArray[np.float64]], float]


def metric_values(
    metric: Metric, predictions: Predictions, settings: EvaluationSettings
) -> tuple[NDArray[np.float64], str]:
    """Return a metric on the cases and on each resample, and why it is undefined if it is.

    A metric that has no value on the cases has none on a resample either, and is not asked again.

    Args:
        metric: called with labels ``(N,)`` and probabilities ``(N, K)``. It may return NaN, or
            raise ``ValueError`` or ``ZeroDivisionError``, where it is undefined. Whatever else it
            raises is a fault of its own, which costs this one number.
        predictions: the cases.
        settings: gives the resamples.
    """
    labels, chances = predictions.labels, predictions.probabilities
    first, reason = _call(metric, labels, chances)
    values = np.full(1 + settings.bootstrap, np.nan)
    values[0] = first
    if not np.isfinite(first):
        return values, reason
    blocks = weight_blocks(predictions.patient_index, settings.bootstrap, settings.seed)
    next(blocks)
    with warnings.catch_warnings():
        # A resample may lack a class; one warning each would bury the log.
        warnings.simplefilter("ignore")
        resamples = (weights for block in blocks for weights in block.astype(np.int64))
        for number, weights in enumerate(resamples, start=1):
            rows = np.repeat(np.arange(len(weights)), weights)
            values[number] = _call(metric, labels[rows], chances[rows])[0]
    return values, reason


def _call(
    metric: Metric, labels: NDArray[np.int64], chances: NDArray[np.float64]
) -> tuple[float, str]:
    try:
        return float(metric(labels, chances)), "the metric returned no finite number"
    except (ValueError, ZeroDivisionError) as error:
        return float("nan"), f"the metric refused: {error}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return float("nan"), f"the metric failed: {type(error).__name__}: {error}"
