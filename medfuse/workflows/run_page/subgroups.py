"""Section: performance of each site, subgroup and pattern of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.report import Section, difference_table, group_table
from medfuse.report.metric_tables import metric_name
from medfuse.workflows.measure import ANSWER
from medfuse.workflows.run_page.facts import MeasuredCases

LEVEL = 0.05


def subgroups_section(measured: MeasuredCases) -> Section:
    """Return the metrics of every group of the measured cases."""
    title = "Sites and subgroups"
    columns = _columns(measured)
    if measured.part is None or not columns:
        return Section(anchor="subgroups", title=title)
    metrics = measured.part.metrics
    differences = metrics["group_differences"]
    return Section(
        anchor="subgroups",
        title=title,
        text=f"Groups with few cases are counted, not measured. {_found(differences)}",
        tables=[
            *(group_table(metrics, column) for column in columns),
            *([difference_table(differences)] if differences["rows"] else []),
        ],
    )


def _columns(measured: MeasuredCases) -> list[str]:
    """Return the columns that cases are grouped by; abstention has a section of its own."""
    groups = measured.part.metrics["groups"] if measured.part else {}
    return [column for column in groups if column != ANSWER]


def _found(differences: Mapping[str, Any]) -> str:
    """Return which groups differ from the others beyond chance, in a sentence."""
    if not differences["tests"]:
        return "No group is large enough to be tested against the other cases."
    clear = [r for r in differences["rows"] if (r["p_adjusted"] or 1.0) < LEVEL]
    if not clear:
        return (
            f"No group differs from the others beyond chance (p >= {LEVEL}, corrected); with few "
            "cases that is no proof that none does."
        )
    named = "; ".join(
        f"{r['column']} {r['group']}: {metric_name(r['metric'])} {r['difference']:+.3f}"
        for r in clear
    )
    return f"Groups that differ from the others (p < {LEVEL}, corrected): {named}."
