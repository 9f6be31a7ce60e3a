"""A comparison on folds, as `compare_on_folds` returns it, in tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medfuse.report.content import Table
from medfuse.report.metric_tables import estimate_text, gap_text, p_value_text

QUESTIONS = {
    "fusing": "Fused candidates against the best single source",
    "choosing": "Fusion and source chosen inside the training cases",
    "baselines": "The fusion that the verdict is about, against baselines",
}
_SCORES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "brier": "Brier score",
}
_LABEL_SCORES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "log_loss": "log loss",
    "brier": "Brier score",
}
_LABELS_SAID = (
    " Accuracy (share of right answers, a label being said from a probability of 0.5 on), log loss "
    "and Brier score are means over the labels too; unknown answers are left out. Exact match: "
    "cases whose known answers are all right."
)
_KINDS = {
    "single": "single source",
    "fusion": "fusion",
    "pair": "pair",
    "choice": "chosen inside",
    "baseline": "baseline",
    "scratch": "from scratch",
}


def score_titles(comparison: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the scores of candidates by key, with their names for a reader."""
    return _LABEL_SCORES if _several(comparison) else _SCORES


def candidate_table(comparison: Mapping[str, Any]) -> Table:
    """Return every candidate with its scores, the highest AUROC of each kind first."""
    partial = any(c["cases"] < comparison["cases"] for c in comparison["candidates"])
    seen = any(comparison.get("seen", {}).values())
    rows = []
    for found in ordered_candidates(comparison["candidates"]):
        row = [found["name"], _KINDS[found["kind"]]]
        row += [str(found["cases"])] if partial else []
        row += [str(comparison["seen"][found["name"]])] if seen else []
        rows.append([*row, *_scores(found, score_titles(comparison))])
    header = ["candidate", "kind", *(["cases"] if partial else [])]
    header += ["cases seen before"] if seen else []
    header += score_titles(comparison).values()
    return Table(header=header, rows=rows, caption=_caption(comparison))


def fold_comparison_table(comparison: Mapping[str, Any], question: str) -> Table:
    """Return the tests of one question (a key of `QUESTIONS`), the largest difference first."""
    rows = [row for row in comparison["comparisons"] if row["question"] == question]
    rows = sorted(rows, key=lambda row: -(row["auroc"]["difference"] or 0))
    partial = any(row["cases"] < comparison["cases"] for row in rows)
    cells = [
        [
            row["first"], row["second"],
            *([str(row["cases"])] if partial else []),
            gap_text(row["auroc"]),
            p_value_text(row["p_value"]), p_value_text(row["p_adjusted"]),
            p_value_text(row["p_folds"]),
            gap_text(row["accuracy"]) if "accuracy" in row else "undefined",
            _accuracy_p(row),
        ]
        for row in rows
    ]  # fmt: skip
    header = [
        "candidate", "against", *(["cases"] if partial else []), "AUROC difference", "p",
        "p (Holm)", "p over folds", "accuracy difference", "p (accuracy)",
    ]  # fmt: skip
    return Table(header=header, rows=cells, caption=_test_caption(comparison, rows))


def ordered_candidates(candidates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the candidates kind by kind, within one the highest AUROC first."""
    kinds = list(_KINDS)

    def place(found: Mapping[str, Any]) -> tuple[int, float]:
        value = found["auroc"]["value"] if found["auroc"] else None
        return kinds.index(found["kind"]), -(value if value is not None else -1)

    return sorted(candidates, key=place)


def _several(comparison: Mapping[str, Any]) -> bool:
    return comparison.get("task") == "multilabel"


def _scores(found: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [estimate_text(found[name]) if found.get(name) else "undefined" for name in names]


def _caption(comparison: Mapping[str, Any]) -> str:
    several = _several(comparison)
    macro = "mean over the labels," if several else "macro,"
    return (
        f"{comparison['cases']} cases of {comparison['patients']} patients in "
        f"{comparison['folds']} folds; every case was classified by models that had not seen it or "
        f"its patient. AUROC: {macro} averaged over the folds; intervals at "
        f"{100 * comparison['confidence']:g} %, by patient."
        + (_LABELS_SAID + _left_out(comparison) if several else "")
    )


def _left_out(comparison: Mapping[str, Any]) -> str:
    names = comparison["left_out"]
    return f" Left out, with too few patients of one answer: {', '.join(names)}." if names else ""


def _test_caption(comparison: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    exact = any(_mid_p(row) is not None for row in rows)
    accuracy = "McNemar's mid-p" if exact else "bootstrap of the patients, uncorrected"
    largest = (
        " p of a gain: the largest over all single sources."
        if rows and "p_single" in rows[0]
        else ""
    )
    few = " (of 3 folds or more)" if comparison["folds"] < 3 else ""
    return (
        "AUROC by DeLong's test within folds, contributions added up by patient."
        + largest
        + " Holm: "
        f"corrected together with all {comparison['correction']['comparisons']} comparisons made. "
        "Over folds: corrected resampled t-test, which asks whether other training cases would "
        f"show it too{few}. Accuracy: {accuracy}."
    )


def _accuracy_p(row: Mapping[str, Any]) -> str:
    exact = _mid_p(row)
    if exact is not None:
        return p_value_text(exact)
    return p_value_text(row["accuracy"]["p_value"]) if "accuracy" in row else "undefined"


def _mid_p(row: Mapping[str, Any]) -> float | None:
    found = row.get("mcnemar", {}).get("p_mid")
    return None if found is None else float(found)
