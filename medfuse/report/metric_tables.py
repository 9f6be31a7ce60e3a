"""Metrics and comparisons, as `evaluate` and `compare` return them, in tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.report.content import Table

_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "ece": "ECE",
    "ece_debiased": "ECE, debiased",
    "ece_classwise": "ECE, class-wise",
    "brier": "Brier score",
    "recall": "recall (sensitivity)",
    "mean_absolute_error": "mean absolute error in grades",
    "quadratic_kappa": "quadratic weighted kappa",
}
_CLASS_COLUMNS = ("auroc", "auprc", "precision", "recall", "f1")
_GROUP_CAPTIONS = {
    "inputs": "By the inputs that a case has, the others missing. Few cases, wide intervals."
}
_GROUP_COLUMNS = (
    *("accuracy", "balanced_accuracy", "exact_match", "auroc_macro", "brier", "brier_macro"),
)


def overall_table(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics of all classes together, one a row, with intervals and remarks."""
    rows = [
        [metric_name(name), estimate_text(entry), _remark(entry)]
        for name, entry in metrics["overall"].items()
    ]
    header = ["metric", _value_header(metrics), "remark"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(header=header, rows=rows, caption=_caption(metrics))


def class_table(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics of each class, one class a row."""
    caption = "Each class against the rest."
    if metrics["positive_class"] is not None:
        caption += f" The positive class is {metrics['positive_class']}."
    return _per_class(metrics, _CLASS_COLUMNS, caption)


def operating_point_table(metrics: Mapping[str, Any]) -> Table:
    """Return sensitivity at fixed specificity of each class, and the other way round."""
    points = [key for key in next(iter(metrics["per_class"].values())) if "_at_" in key]
    caption = (
        f"Specificity as predicted, then operating points of each {_kind(metrics)}. Their "
        "thresholds are chosen on these very cases, so the values are optimistic."
    )
    return _per_class(metrics, ["specificity", *points], caption)


def group_table(metrics: Mapping[str, Any], column: str) -> Table:
    """Return the metrics of each site, subgroup or pattern of inputs; small ones are counted."""
    rows = []
    columns = [key for key in _GROUP_COLUMNS if key in metrics["overall"]]
    for name, group in metrics["groups"][column].items():
        counts = [name or "(none)", str(group["cases"]), str(group["patients"])]
        if group["overall"] is None:
            rows.append([*counts, group["reason"], *[""] * (len(columns) - 1)])
        else:
            rows.append([*counts, *(estimate_text(group["overall"][k]) for k in columns)])
    header = [column, "cases", "patients", *map(metric_name, columns)]
    return Table(header=header, rows=rows, caption=_GROUP_CAPTIONS.get(column, f"By {column}."))


def difference_table(differences: Mapping[str, Any]) -> Table:
    """Return what each group has over all other cases, with corrected p-values."""
    rows = [
        [
            row["column"],
            row["group"] or "(none)",
            metric_name(row["metric"]),
            f"{_number(row['value'])} / {_number(row['rest'])}",
            gap_text(row),
            p_value_text(row["p_adjusted"]),
        ]
        for row in differences["rows"]
    ]
    return Table(
        header=["column", "group", "metric", "group / others", "difference", "p (corrected)"],
        rows=rows,
        caption=(
            f"Each group against all other cases, by {differences['test']}; p-values corrected by "
            f"{differences['correction']}'s method for {differences['tests']} tests."
        ),
    )


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """Return the fused model beside each single source, with differences and p-values.

    Where a source cannot see all cases, a column says on how many it is compared.
    """
    rows = []
    partial = any(row["cases"] < comparison["cases"] for row in comparison["sources"])
    for row in comparison["sources"]:
        area, accuracy = row["auroc"], row["accuracy"]
        rows.append([
            row["source"],
            *([f"{row['cases']} of {comparison['cases']}"] if partial else []),
            f"{_number(area['second'])} / {_number(area['first'])}",
            gap_text(area),
            p_value_text(row["p_adjusted"]),
            gap_text(accuracy),
            p_value_text(accuracy["p_value"]),
        ])  # fmt: skip
    seeing = (row["auroc"]["test"] for row in comparison["sources"] if row["cases"])
    tests = " and ".join(dict.fromkeys(seeing))
    agreement = comparison.get("agreement", "accuracy")
    return Table(
        header=[
            "single source", *(["cases it can see"] if partial else []), "AUROC single / fused",
            "AUROC gained by fusing", "p (corrected)", f"{agreement} gained by fusing", "p",
        ],
        rows=rows,
        caption=f"AUROC by {tests}, p-values corrected by {comparison['correction']}'s method; "
        f"{agreement} by bootstrap of the patients, uncorrected."
        + (" Both models on the cases that the source can see." if partial else ""),
    )  # fmt: skip


def metric_name(key: str) -> str:
    """Return a metric's key as words: ``auroc_macro`` gives ``AUROC, macro``."""
    if "_at_" in key:
        what, _, point = key.partition("_at_")
        fixed, _, value = point.rpartition("_")
        return f"{what} at {fixed} {value}"
    stem, _, mean = key.rpartition("_")
    if mean not in ("macro", "micro"):
        return _NAMES.get(key, key.replace("_", " "))
    return f"{_NAMES.get(stem, stem.replace('_', ' '))}, {mean}"


def estimate_text(entry: Mapping[str, Any]) -> str:
    """Return ``0.912 [0.880, 0.941]``, a value alone, or ``undefined``.

    The space inside the brackets does not break.
    """
    if entry["value"] is None:
        return "undefined"
    if entry["low"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} [{entry['low']:.3f},\u00a0{entry['high']:.3f}]"


def _per_class(metrics: Mapping[str, Any], columns: Sequence[str], caption: str) -> Table:
    rows = [
        [name, str(entry["support"]), *(estimate_text(entry[key]) for key in columns)]
        for name, entry in metrics["per_class"].items()
    ]
    header = [_kind(metrics).split()[0], "cases", *map(metric_name, columns)]
    return Table(header=header, rows=rows, caption=caption)


def _kind(metrics: Mapping[str, Any]) -> str:
    several = metrics.get("task") == "multilabel"
    return "label against its absence" if several else "class against the rest"


def _remark(entry: Mapping[str, Any]) -> str:
    parts = [entry.get("reason", ""), entry.get("note", "")]
    if "resamples" in entry:
        parts.append(f"{entry['resamples']} resamples usable")
    return "; ".join(part for part in parts if part)


def _value_header(metrics: Mapping[str, Any]) -> str:
    if not metrics["bootstrap"]["resamples"]:
        return "value"
    return f"value [{100 * metrics['bootstrap']['confidence']:g} % interval]"


def _caption(metrics: Mapping[str, Any]) -> str:
    facts = metrics["bootstrap"]
    text = f"{metrics['cases']} cases of {metrics['patients']} patients."
    if facts["resamples"]:
        text += f" Intervals: {facts['resamples']} resamples of the {facts['unit']}s."
    return text


def gap_text(difference: Mapping[str, Any]) -> str:
    """Return ``+0.012 [+0.002,\u00a0+0.022]``, a value alone, or ``undefined``."""
    if difference["difference"] is None:
        return "undefined"
    if difference["low"] is None:
        return f"{difference['difference']:+.3f}"
    low, high = difference["low"], difference["high"]
    return f"{difference['difference']:+.3f} [{low:+.3f},\u00a0{high:+.3f}]"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def p_value_text(value: float | None) -> str:
    """Return ``0.012``, ``<\u00a00.001`` or ``undefined``."""
    if value is None:
        return "undefined"
    return "<\u00a00.001" if value < 0.001 else f"{value:.3f}"
