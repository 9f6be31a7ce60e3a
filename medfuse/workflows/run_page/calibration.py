"""Section: whether a probability can be taken at its word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.report import Section, Table
from medfuse.report.metric_tables import estimate_text, metric_name
from medfuse.workflows.run_page.facts import MeasuredCases

_METRICS = ("ece", "brier", "log_loss")


def calibration_section(measured: MeasuredCases) -> Section:
    """Return the errors of the probabilities, and how often each confidence is right."""
    title = "Calibration"
    if measured.part is None:
        return Section(anchor="calibration", title=title)
    metrics = measured.part.metrics
    return Section(
        anchor="calibration",
        title=title,
        text="A calibrated model that is 80 % sure is right in 80 % of such cases.",
        facts={metric_name(key): estimate_text(metrics["overall"][key]) for key in _METRICS},
        tables=(_bin_table(metrics["reliability"]),),
        figures=measured.drawn("reliability"),
    )


def _bin_table(bins: Sequence[Mapping[str, Any]]) -> Table:
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
        header=["probability of the predicted class", "cases", "mean probability", "right"],
        rows=rows,
        caption="How often a confidence is right. Bins without a case are left out.",
    )
