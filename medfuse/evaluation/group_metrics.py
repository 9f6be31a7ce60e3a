"""The metrics of each site, subgroup or pattern of inputs, of classes or of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.settings import EvaluationSettings

P = TypeVar("P", Predictions, LabelPredictions)


def metrics_by_group(
    predictions: P,
    settings: EvaluationSettings,
    counts: Callable[[P], dict[str, Any]],
    overall: Callable[[P], dict[str, Any]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by column, then by group, its counts and its metrics; small groups are counted.

    Args:
        predictions: labeled cases with groups.
        settings: smallest group, and the order in which groups are shown.
        counts: what is counted of a group.
        overall: what is measured of a group that is large enough.
    """

    def of_group(part: P) -> dict[str, Any]:
        if len(part) < settings.minimum_cases:
            reason = f"{len(part)} cases, at least {settings.minimum_cases} needed"
            return {**counts(part), "overall": None, "reason": reason}
        return {**counts(part), "overall": overall(part)}

    found = {}
    for column, cells in predictions.groups.items():
        values = np.asarray([str(value) for value in cells])
        names = settings.ordered(column, np.unique(values))
        found[column] = {name: of_group(predictions.only(values == name)) for name in names}
    return found
