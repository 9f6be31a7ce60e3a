"""Metrics of several labels per case in tables, one label a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.report.content import Table
from medfuse.report.metric_tables import estimate_text, metric_name

_COLUMNS = ("auroc", "auprc", "precision", "recall", "f1")
_CALIBRATION = ("ece", "brier", "calibration_slope", "calibration_intercept")


def label_table(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics of each label, on the cases where it is known."""
    rows = [
        [name, f"{entry['support']} / {entry['absent']} / {entry['unknown']}"]
        + [estimate_text(entry[key]) for key in _COLUMNS]
        for name, entry in metrics["per_class"].items()
    ]
    header = ["label", "has / lacks / unknown", *map(metric_name, _COLUMNS)]
    caption = (
        "Each label on the cases where it is known. Precision, recall and F1 are at the label's "
        "threshold."
    )
    return Table(header=header, rows=rows, caption=caption)


def label_calibration_table(metrics: Mapping[str, Any]) -> Table:
    """Return the errors of each label's probability."""
    rows = [
        [name, *(estimate_text(entry[key]) for key in _CALIBRATION)]
        for name, entry in metrics["per_class"].items()
    ]
    header = ["label", *map(metric_name, _CALIBRATION)]
    return Table(header=header, rows=rows, caption="Each label on the cases where it is known.")


def threshold_table(metrics: Mapping[str, Any]) -> Table:
    """Return the threshold of each label, what it was chosen on, and the four counts at it."""
    rows = []
    for name, entry in metrics["per_class"].items():
        counts, threshold = entry["counts"], entry["threshold"]
        chosen = threshold["chosen_on"] or "not chosen: fixed"
        value = "its own" if threshold["value"] is None else f"{threshold['value']:.3f}"
        rows.append([name, value, chosen, *map(str, counts.values())])
    said = ("true positive", "false positive", "false negative", "true negative")
    return Table(
        header=["label", "threshold", "chosen on", *said],
        rows=rows,
        caption="From the threshold on, a label is said to hold. No test case decides it.",
    )
