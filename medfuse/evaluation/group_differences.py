"""Does a model serve one group of cases worse than the others? Differences, tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.label_scores import scores_of
from medfuse.evaluation.paired import Difference, difference_of, holm
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.resampling import weight_blocks
from medfuse.evaluation.scores import OVERALL
from medfuse.evaluation.settings import EvaluationSettings

AnyPredictions: TypeAlias = Predictions | LabelPredictions
TESTED = ("auroc_macro", "accuracy")
LABELS_TESTED = ("auroc_macro", "exact_match")
Floats = NDArray[np.float64]


def group_differences(predictions: AnyPredictions, settings: EvaluationSettings) -> dict[str, Any]:
    """Return for each group of each column what it has over all other cases, as JSON data.

    Both sides have at least ``settings.minimum_cases`` cases; of two groups one is compared. All
    patients are resampled together, so that a patient with cases on both sides counts as one
    (Field and Welsh, 2007, doi:10.1111/j.1467-9868.2007.00593.x). The p-values, two-sided, are
    corrected for the number of all tests here by Holm's method (1979,
    https://www.jstor.org/stable/4615733).

    ``rows`` hold ``column``, ``group``, ``cases``, ``others``, ``metric``, ``value``, ``rest``,
    ``difference``, ``low``, ``high``, ``p_value`` and ``p_adjusted``.
    """
    rows = [
        {"column": column, "group": name, **row}
        for column in predictions.groups
        for name, chosen in _sides(predictions, column, settings).items()
        for row in _rows(predictions, chosen, settings)
    ]
    known = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(known, holm([row["p_value"] for row in known]), strict=True):
        row["p_adjusted"] = adjusted
    return {"test": "bootstrap by patient", "correction": "Holm", "tests": len(known), "rows": rows}


def _sides(
    predictions: AnyPredictions, column: str, settings: EvaluationSettings
) -> dict[str, NDArray[np.bool_]]:
    """Return the groups that can be compared with all other cases."""
    values = np.asarray([str(value) for value in predictions.groups[column]])
    names: Sequence[str] = settings.ordered(column, np.unique(values))
    names = names[:1] if len(names) == 2 else names
    least, total = settings.minimum_cases, len(predictions)
    sides = {name: values == name for name in names}
    return {n: chosen for n, chosen in sides.items() if least <= chosen.sum() <= total - least}


def _tested(predictions: AnyPredictions) -> tuple[str, ...]:
    return LABELS_TESTED if isinstance(predictions, LabelPredictions) else TESTED


def _rows(
    predictions: AnyPredictions,
    chosen: NDArray[np.bool_],
    settings: EvaluationSettings,
) -> list[dict[str, Any]]:
    if not settings.bootstrap:
        return []
    group, others = _resampled(predictions, chosen, settings)
    counts = {"cases": int(chosen.sum()), "others": int((~chosen).sum())}
    gaps = {n: difference_of(group[n], others[n], settings) for n in _tested(predictions)}
    return [{**counts, "metric": name, **_plain(gap)} for name, gap in gaps.items()]


def _resampled(
    predictions: AnyPredictions,
    chosen: NDArray[np.bool_],
    settings: EvaluationSettings,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the tested metrics ``(1 + bootstrap,)`` of the group and of the other cases."""
    sides = [(predictions.only(rows), rows) for rows in (chosen, ~chosen)]
    names = _tested(predictions)
    found: list[dict[str, list[Floats]]] = [{name: [] for name in names} for _ in sides]
    for weights in weight_blocks(predictions.patient_index, settings.bootstrap, settings.seed):
        for (part, rows), values in zip(sides, found, strict=True):
            own = weights[:, rows]
            empty = own.sum(1) == 0
            table = scores_of(part, np.where(empty[:, None], 1.0, own), settings)
            for name in names:
                values[name].append(np.where(empty, np.nan, table[name, OVERALL]))
    group, others = ({k: np.concatenate(v) for k, v in one.items()} for one in found)
    return group, others


def _plain(gap: Difference) -> dict[str, float | None]:
    fields: Mapping[str, float | None] = {
        "value": gap.first,
        "rest": gap.second,
        "difference": gap.difference,
        "low": gap.low,
        "high": gap.high,
        "p_value": gap.p_value,
    }
    return {
        "p_adjusted": None,
        **{k: None if v is None or not np.isfinite(v) else v for k, v in fields.items()},
    }
