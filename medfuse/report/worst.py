"""The wrong cases that the model was most sure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medfuse.evaluation import Predictions
from medfuse.report.content import WorstError


def worst_errors(
    predictions: Predictions,
    case_ids: Sequence[str],
    count: int = 12,
    thumbnails: Mapping[str, str] | None = None,
) -> list[WorstError]:
    """Return up to ``count`` wrongly classified cases, the most confident first.

    Args:
        predictions: labeled cases.
        case_ids: one per case, in the same order.
        count: the most to return.
        thumbnails: ``data:`` URI by case id (`embed_image`).
    """
    top = predictions.probabilities.max(1)
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    order = wrong[np.argsort(-top[wrong], kind="stable")][:count]
    return [
        WorstError(
            case_id=case_ids[i],
            label=predictions.classes[predictions.labels[i]],
            predicted=predictions.classes[predictions.predicted[i]],
            probability=float(top[i]),
            thumbnail=(thumbnails or {}).get(case_ids[i], ""),
        )
        for i in order
    ]
