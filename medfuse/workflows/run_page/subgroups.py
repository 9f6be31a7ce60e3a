"""Section: performance of each site, subgroup and pattern of inputs."""

from __future__ import annotations

from medfuse.report import Section, group_table
from medfuse.workflows.run_page.facts import MeasuredCases


def subgroups_section(measured: MeasuredCases) -> Section:
    """Return the metrics of every group of the measured cases."""
    title = "Sites and subgroups"
    if measured.part is None or not measured.part.metrics["groups"]:
        return Section(anchor="subgroups", title=title)
    metrics = measured.part.metrics
    return Section(
        anchor="subgroups",
        title=title,
        text="Groups with few cases are counted, not measured.",
        tables=[group_table(metrics, column) for column in metrics["groups"]],
    )
