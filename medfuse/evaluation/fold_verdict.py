"""Plain sentences about a comparison on folds: the verdict, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALPHA = 0.05

_GUARDS = (
    "The best single source was taken by its AUROC on these very cases, which favors it over what "
    "it is compared with; a gain is claimed only against every single source."
)


def fold_verdict(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``verdict``, one sentence on the fusion that was fixed, and ``remarks``.

    A gain or a loss is claimed where the corrected p-value is below 0.05.

    Args:
        comparison: as `compare_on_folds` builds it.
    """
    rows = [row for row in comparison["comparisons"] if row["question"] == "fusing"]
    own = [row for row in rows if row["first"] == comparison["fused"]]
    if not own or own[0]["p_adjusted"] is None:
        several = comparison.get("task") == "multilabel"
        few = "every label" if several else "some class"
        text = f"{comparison['fused']} cannot be compared: too few cases of {few}."
        return {"verdict": text, "helps": None, "remarks": []}
    remarks = [_others(rows, own[0]), *_choosing(comparison), _baselines(comparison)]
    remarks += [left_out_text(comparison), _GUARDS]
    return {
        "verdict": _sentence(own[0], comparison, "the best single source"),
        "helps": is_certain(own[0]) and own[0]["auroc"]["difference"] > 0,
        "remarks": [remark for remark in remarks if remark],
    }


def is_certain(row: Mapping[str, Any]) -> bool:
    """Return whether a comparison claims a gain or a loss after correction."""
    return row["p_adjusted"] is not None and row["p_adjusted"] < ALPHA


def left_out_text(comparison: Mapping[str, Any]) -> str:
    """Return which of several labels no score is a mean over; nothing where all are."""
    names = comparison.get("left_out", [])
    if not names:
        return ""
    count = len(comparison["classes"])
    verb = "has" if len(names) == 1 else "have"
    return (
        f"Scores are means over {count - len(names)} of {count} labels: {', '.join(names)} {verb} "
        "too few patients of one answer."
    )


def p_text(value: float | None) -> str:
    """Return ``p = 0.012`` or ``p < 0.001``."""
    if value is None:
        return "p undefined"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _sentence(row: Mapping[str, Any], comparison: Mapping[str, Any], against: str) -> str:
    gap, count = row["auroc"], comparison["correction"]["comparisons"]
    what = f"fusing {_sources(comparison, row['first'])} ({row['first']})"
    where = f"{against} ({row['second']})"
    if row["cases"] < comparison["cases"]:
        where += f", on the {row['cases']} of {comparison['cases']} cases that it can see"
    p_value = p_text(row["p_adjusted"]) + (f" (Holm, {count} comparisons)" if count > 1 else "")
    if gap["low"] is None:
        return f"no evidence that {what} helps: the same ranks as {where}."
    if not is_certain(row):
        return (
            f"no evidence that {what} helps: {gap['difference']:+.3f} AUROC "
            f"[{gap['low']:+.3f}, {gap['high']:+.3f}] against {where}; {p_value}."
        )
    verb = "gains" if gap["difference"] > 0 else "loses"
    low, high = sorted(abs(gap[end]) for end in ("low", "high"))
    return (
        f"{what} {verb} {abs(gap['difference']):.3f} AUROC [{low:.3f}, {high:.3f}] against "
        f"{where}; {p_value}."
    )


def _sources(comparison: Mapping[str, Any], name: str) -> str:
    found = next(c for c in comparison["candidates"] if c["name"] == name)
    return "+".join(found["sources"])


def _others(rows: list[Mapping[str, Any]], own: Mapping[str, Any]) -> str:
    others = [row for row in rows if row is not own and row["p_adjusted"] is not None]
    if not others:
        return ""
    better = [r for r in others if is_certain(r) and r["auroc"]["difference"] > 0]
    worse = [r for r in others if is_certain(r) and r["auroc"]["difference"] < 0]
    top = max(others, key=lambda row: row["auroc"]["difference"])
    noun = "fusion" if len(others) == 1 else "fusions"
    return (
        f"Of {len(others)} other {noun}, {len(better)} certainly beat every single source and "
        f"{len(worse)} certainly lose to the best one; the highest is {top['first']} "
        f"({top['auroc']['difference']:+.3f}, {p_text(top['p_adjusted'])}), which was picked on "
        "these very cases."
    )


def _choosing(comparison: Mapping[str, Any]) -> list[str]:
    rows = [row for row in comparison["comparisons"] if row["question"] == "choosing"]
    return [
        "Choosing the fusion inside the training cases of each fold, and the single source there "
        f"too, fusing changes the AUROC by {row['auroc']['difference']:+.3f} "
        f"({p_text(row['p_adjusted'])})."
        for row in rows
        if row["auroc"]["difference"] is not None
    ]


def _baselines(comparison: Mapping[str, Any]) -> str:
    rows = [row for row in comparison["comparisons"] if row["question"] == "baselines"]
    tested = [row for row in rows if row["p_adjusted"] is not None]
    if not tested:
        return ""
    near = min(tested, key=lambda row: row["auroc"]["difference"])
    gap = near["auroc"]["difference"]
    sure = "certainly " if is_certain(near) else ""
    how = "beats" if gap > 0 else "loses to"
    doubt = "" if sure else ", which may be chance"
    found = f"{near['first']} {sure}{how} it by {abs(gap):.3f} AUROC"
    p_value = p_text(near["p_adjusted"])
    return (
        f"Of {len(tested)} baselines the strongest is {near['second']}: {found} ({p_value}){doubt}."
    )
