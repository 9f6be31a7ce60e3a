"""Does fusing help? The fused model beside each single source, tested and said in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.metrics import resampled_scores
from medfuse.evaluation.paired import (
    Difference,
    check_same_cases,
    delong,
    difference_of,
    holm,
    mcnemar,
)
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.scores import OVERALL, ScoreTable
from medfuse.evaluation.settings import EvaluationSettings

AnyPredictions: TypeAlias = Predictions | LabelPredictions

_ALPHA = 0.05
_FEW = 20
_NUMBERS = ("first", "second", "difference", "low", "high")


def compare(
    fused: AnyPredictions,
    singles: Mapping[str, AnyPredictions],
    settings: EvaluationSettings | None = None,
    visible: Mapping[str, NDArray[np.bool_]] | None = None,
) -> dict[str, Any]:
    """Return the fused model's gain over each single source as JSON data, with a verdict.

    A source is compared on the cases that it can see, the fused model on the very same ones; each
    row says how many of all cases they are.

    AUROC is compared by DeLong's test for two classes, and by a bootstrap of the patients of
    the macro AUROC for more, and for several labels per case; accuracy (of several labels the
    exact match, under the same key) by the bootstrap, and by McNemar's test where every patient
    has one case. The AUROC's p-values are corrected by Holm's method. The best source
    is the one with the highest AUROC on these very cases, which favors it over the fused model;
    one that sees fewer than 20 cases is not taken for the best beside others that see more.

    Args:
        fused: predictions of the fused model.
        singles: predictions of a model of one source each, on the same cases, by source name.
        settings: resamples, seed and confidence.
        visible: by source name, which cases ``(N,)`` have the input that the source reads; all
            of them for a name that is absent.

    Raises:
        EvaluationError: no single source, or other cases than those of ``fused``.
    """
    settings = settings or EvaluationSettings()
    if not singles:
        raise EvaluationError("there is no single source to compare the fused model with.")
    for single in singles.values():
        check_same_cases(fused, single)
    whole = resampled_scores(fused, settings)
    rows = []
    for name, single in singles.items():
        seen = (visible or {}).get(name, np.ones(len(fused), dtype=bool))
        if seen.all():
            rows.append(_row(name, fused, single, whole, settings))
        elif seen.any():
            part = fused.only(seen)
            table = resampled_scores(part, settings)
            rows.append(_row(name, part, single.only(seen), table, settings))
        else:
            rows.append(_blind_row(name))
    _adjust(rows)
    comparison = {
        "fused": "+".join(singles),
        "cases": len(fused),
        "best_source": _best(rows),
        "correction": "Holm",
        "confidence": settings.confidence,
        **({"agreement": "exact match"} if isinstance(fused, LabelPredictions) else {}),
        "sources": [_without_nan(row) for row in rows],
    }
    return {**comparison, "verdict": verdict(comparison)}


def verdict(comparison: Mapping[str, Any]) -> str:
    """Return one plain sentence: whether fusing beats the best single source, and by how much.

    A gain (or loss) is claimed only where the corrected p-value is below 0.05 and the interval
    leaves out zero.
    """
    name = comparison["fused"]
    best = [row for row in comparison["sources"] if row["source"] == comparison["best_source"]]
    if not best or best[0]["p_adjusted"] is None or best[0]["auroc"]["low"] is None:
        return f"fusing {name} cannot be compared: too few cases of some class."
    gap, against = best[0]["auroc"], f"the best single source ({best[0]['source']})"
    numbers = f"[{_signed(gap['low'])}, {_signed(gap['high'])}]"
    if best[0]["cases"] < comparison["cases"]:
        seen = f"{best[0]['cases']} of {comparison['cases']} cases"
        against += f", on the {seen} that it can see"
    p_value = _p_text(best[0]["p_adjusted"], len(comparison["sources"]))
    certain = best[0]["p_adjusted"] < _ALPHA and gap["low"] * gap["high"] > 0
    if not certain:
        return (
            f"no evidence that fusing {name} helps: {_signed(gap['difference'])} AUROC {numbers} "
            f"against {against}; {p_value}."
        )
    verb = "gains" if gap["difference"] > 0 else "loses"
    interval = sorted([abs(gap["low"]), abs(gap["high"])])
    return (
        f"fusing {name} {verb} {abs(gap['difference']):.3f} AUROC "
        f"[{interval[0]:.3f}, {interval[1]:.3f}] against {against}; {p_value}."
    )


def _row(
    name: str,
    fused: AnyPredictions,
    single: AnyPredictions,
    fused_table: ScoreTable,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    table = resampled_scores(single, settings)
    agreement = "exact_match" if isinstance(fused, LabelPredictions) else "accuracy"
    gaps = {
        metric: difference_of(fused_table[metric, OVERALL], table[metric, OVERALL], settings)
        for metric in ("auroc_macro", agreement)
    }
    area = _two_class(fused, single, settings) or gaps["auroc_macro"]
    return {
        "source": name,
        "cases": len(single),
        "auroc": asdict(area),
        "accuracy": asdict(gaps[agreement]),
        "mcnemar": _mcnemar(fused, single),
        "p_value": area.p_value,
    }


def _blind_row(name: str) -> dict[str, Any]:
    """Return the row of a source that sees none of the cases."""
    nothing = {"test": "none", **dict.fromkeys(_NUMBERS, float("nan")), "p_value": None}
    reason = {"p_mid": None, "reason": "the source sees none of these cases"}
    gaps = {"auroc": nothing, "accuracy": nothing, "mcnemar": reason}
    return {"source": name, "cases": 0, **gaps, "p_value": None}


def _best(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the source of the highest AUROC, where possible of those that see enough cases."""
    defined = [row for row in rows if np.isfinite(row["auroc"]["second"])]
    enough = [row for row in defined if row["cases"] >= _FEW] or defined
    if not enough:
        return None
    return str(max(enough, key=lambda row: row["auroc"]["second"])["source"])


def _two_class(
    fused: AnyPredictions, single: AnyPredictions, settings: EvaluationSettings
) -> Difference | None:
    if isinstance(fused, LabelPredictions) or isinstance(single, LabelPredictions):
        return None
    positive = fused.labels == 1
    if len(fused.classes) != 2 or min(positive.sum(), (~positive).sum()) < 2:
        return None
    repeated = len(np.unique(fused.patient_index)) < len(fused)
    return delong(
        positive,
        fused.probabilities[:, 1],
        single.probabilities[:, 1],
        fused.patient_index if repeated else (),
        settings.confidence,
    )


def _mcnemar(fused: AnyPredictions, single: AnyPredictions) -> dict[str, Any]:
    if isinstance(fused, LabelPredictions):
        return {"p_mid": None, "reason": "cases have several labels"}
    if len(np.unique(fused.patient_index)) < len(fused):
        return {"p_mid": None, "reason": "some patients have several cases"}
    right = [p.predicted == p.labels for p in (fused, single)]
    return asdict(mcnemar(*right))


def _adjust(rows: list[dict[str, Any]]) -> None:
    tested = [row for row in rows if row["p_value"] is not None]
    adjusted = holm([row["p_value"] for row in tested])
    for row in rows:
        row["p_adjusted"] = None
    for row, value in zip(tested, adjusted, strict=True):
        row["p_adjusted"] = value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _p_text(p_value: float, comparisons: int) -> str:
    text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    return text if comparisons == 1 else f"{text} (Holm, {comparisons} comparisons)"
