"""Section: what the model reaches on the measured cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.report import (
    Section,
    Table,
    class_table,
    label_table,
    operating_point_table,
    overall_table,
    threshold_table,
)
from medfuse.report.metric_tables import estimate_text
from medfuse.workflows.run_page.facts import MeasuredCases

_FIGURES = ("roc", "precision_recall", "confusion_matrix", "scores")  # like heights in a row


_HEADLINE = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "auroc_macro": "AUROC",
    "ece": "calibration error",
    "ece_macro": "calibration error",
}


def headline(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the few numbers to see first, with their intervals."""
    overall = metrics["overall"]
    shown = {key: title for key, title in _HEADLINE.items() if key in overall}
    return {title: estimate_text(overall[key]) for key, title in shown.items()}


def performance_section(measured: MeasuredCases) -> Section:
    """Return metrics with their intervals, of all classes and of each, and the curves."""
    tables: tuple[Table, ...] = ()
    if measured.part is not None:
        metrics = measured.part.metrics
        each = (class_table, operating_point_table, _confusion_table)
        if metrics.get("task") == "multilabel":
            each = (label_table, threshold_table, operating_point_table)
        tables = (overall_table(metrics), *(table(metrics) for table in each))
    return Section(
        anchor="metrics", title="Performance", tables=tables, figures=measured.drawn(*_FIGURES)
    )


def _confusion_table(metrics: Mapping[str, Any]) -> Table:
    names = metrics["classes"]
    rows = [
        [name, *map(str, row)] for name, row in zip(names, metrics["confusion_matrix"], strict=True)
    ]
    return Table(
        header=["true class", *(f"predicted {name}" for name in names)],
        rows=rows,
        caption="Confusion matrix: cases by true class (rows) and predicted class (columns).",
    )
