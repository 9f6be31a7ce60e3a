"""Section: whether a probability can be taken at its word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.report import Section, Table, label_calibration_table
from medfuse.report.metric_tables import estimate_text, metric_name
from medfuse.workflows.run_page.facts import MeasuredCases

_OF_CLASSES = "A calibrated model that is 80 % sure is right in 80 % of such cases."
_OF_LABELS = "Of the cases that a calibrated model gives a label with 80 %, 80 % have it."
_METRICS = (
    *("ece", "ece_debiased", "ece_classwise", "brier", "log_loss", "calibration_slope_macro"),
    *("ece_macro", "brier_macro"),
)
_PER_CLASS = ("ece", "calibration_slope", "calibration_intercept")


def calibration_section(measured: MeasuredCases) -> Section:
    """Return the errors of the probabilities, and how often each confidence is right."""
    title = "Calibration"
    if measured.part is None:
        return Section(anchor="calibration", title=title)
    metrics = measured.part.metrics
    overall, several = metrics["overall"], metrics.get("task") == "multilabel"
    before = metrics.get("uncalibrated")
    known = [key for key in _METRICS if key in overall and before is None]
    return Section(
        anchor="calibration",
        title=title,
        text=_OF_LABELS if several else _OF_CLASSES,
        facts={metric_name(key): estimate_text(overall[key]) for key in known},
        tables=(
            *([_before_table(before["overall"], overall)] if before else []),
            *([label_calibration_table(metrics)] if several else [_class_table(metrics)]),
            _bin_table(metrics["reliability"], several),
        ),
        figures=measured.drawn("reliability"),
    )


def _before_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    rows = [
        [metric_name(key), estimate_text(before[key]), estimate_text(after[key])]
        for key in _METRICS
        if key in before
    ]
    return Table(
        header=["measure", "before calibration", "calibrated"],
        rows=rows,
        caption="What calibration changed, on the same cases.",
    )


def _class_table(metrics: Mapping[str, Any]) -> Table:
    rows = [
        [name, *(estimate_text(entry[key]) for key in _PER_CLASS)]
        for name, entry in metrics["per_class"].items()
    ]
    return Table(
        header=["class", *map(metric_name, _PER_CLASS)],
        rows=rows,
        caption="Each class against the rest. A slope below 1: probabilities too extreme; an "
        "intercept above 0: too low on the whole.",
    )


def _bin_table(bins: Sequence[Mapping[str, Any]], several: bool) -> Table:
    """Return the bins; of several labels all known answers are in one table."""
    rows = [
        [
            f"{b['low']:.2f} to {b['high']:.2f}",
            str(b["cases"]),
            f"{b['confidence']:.3f}",
            f"{b['accuracy']:.3f}",
        ]
        for b in bins
    ]
    return Table(
        header=["probability of a label", "answers", "mean probability", "holds"]
        if several
        else ["probability of the predicted class", "cases", "mean probability", "right"],
        rows=rows,
        caption="How often a label holds that was given a probability, all labels together."
        if several
        else "How often a confidence is right. Bins without a case are left out.",
    )
