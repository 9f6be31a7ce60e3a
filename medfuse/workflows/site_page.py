"""The table and the page of a validation: each site by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfuse.evaluation import EvaluationSettings, Predictions
from medfuse.evaluation.prediction_table import csv_line, guarded
from medfuse.report import Section, SectionPage, Table, write_sections
from medfuse.report.metric_tables import estimate_text, metric_name
from medfuse.workflows.figures import TestPart, draw_test
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.run_page import MeasuredCases
from medfuse.workflows.run_page.calibration import calibration_section
from medfuse.workflows.run_page.performance import performance_section
from medfuse.workflows.run_page.subgroups import subgroups_section
from medfuse.workflows.seen import SeenCases

_SHOWN = ("auroc_macro", "accuracy", "balanced_accuracy", "ece")


@dataclass(frozen=True)
class SiteResults:
    """What the models without a site say of that site.

    Attributes:
        name: of the experiment.
        predictions: of all cases, each by the model that has not seen its site.
        pooled: metrics of all of them; those of each site are under ``groups``.
        settings: how they were measured.
        facts: of the run of each site, by its name.
        failed: why there is no run, by site.
    """

    name: str
    predictions: Predictions
    pooled: Mapping[str, Any]
    settings: EvaluationSettings
    facts: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]

    def of(self, site: str) -> Mapping[str, Any]:
        """Return the counts and metrics of a site."""
        group: Mapping[str, Any] = self.pooled["groups"]["site"][site]
        return group


def site_csv(results: SiteResults) -> str:
    """Return one row for each site and one for all together: values with their intervals."""
    header = ["site", "cases", "patients", "learned_from"]
    header += [f"{name}{end}" for name in _SHOWN for end in ("", "_low", "_high")]
    lines = [csv_line(header)]
    for site, facts in results.facts.items():
        group = results.of(site)
        lines.append(_line(guarded(site), group, group["overall"], str(facts["learned_from"])))
    lines.append(_line("(all)", results.pooled, results.pooled["overall"], ""))
    return "".join(lines)


def write_site_page(results: SiteResults, folder: Path) -> None:
    """Write ``report.html`` and ``plots/``."""
    nobody = SeenCases(((),) * len(results.predictions))
    part = TestPart(results.predictions, results.pooled, None, (), results.settings, nobody)
    gallery = Gallery(folder / "plots")
    draw_test(gallery, part)
    measured = MeasuredCases(part, gallery.named)
    page = SectionPage(
        name=f"Sites held out: {results.name}",
        verdict=site_verdict(results),
        warnings=_warnings(results),
        sections=(
            Section(
                anchor="sites",
                title="Each site, unseen",
                text="Each row is measured by a model that was trained without this site.",
                tables=(_site_table(results), _fusing_table(results)),
            ),
            performance_section(measured),
            calibration_section(measured),
            subgroups_section(measured),
        ),
        versions={"medfuse": version("medfuse")},
        created=date.today().isoformat(),
    )
    write_sections(page, folder / "report.html")


def site_verdict(results: SiteResults) -> str:
    """Return one sentence: what to expect at a site that the model has not seen."""
    known = {
        site: entry["value"]
        for site in results.facts
        if results.of(site)["overall"]
        and (entry := results.of(site)["overall"]["auroc_macro"])["value"] is not None
    }
    text = f"at sites that it has not seen: AUROC {_shown(results.pooled['overall'])}"
    if len(known) < 2:
        return f"{text}, all sites together."
    low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return (
        f"{text}, all sites together; from {known[low]:.3f} ({low}) to {known[high]:.3f} ({high})."
    )


def _shown(overall: Mapping[str, Any]) -> str:
    return estimate_text(overall["auroc_macro"])


def _warnings(results: SiteResults) -> list[str]:
    failed = [f"Site {site} could not be held out: {why}" for site, why in results.failed.items()]
    seen = [
        f"Site {site}: {facts['seen']} measured cases were learned from by a source."
        for site, facts in results.facts.items()
        if facts["seen"]
    ]
    return [*failed, *seen]


def _site_table(results: SiteResults) -> Table:
    rows = []
    for site, facts in results.facts.items():
        group = results.of(site)
        counts = [site, str(group["cases"]), str(group["patients"]), str(facts["learned_from"])]
        measured = group["overall"]
        values = (
            [estimate_text(measured[name]) for name in _SHOWN]
            if measured
            else [group["reason"], *[""] * (len(_SHOWN) - 1)]
        )
        rows.append([*counts, *values])
    pooled = results.pooled
    totals = ["(all)", str(pooled["cases"]), str(pooled["patients"]), ""]
    rows.append([*totals, *(estimate_text(pooled["overall"][name]) for name in _SHOWN)])
    return Table(
        header=["held-out site", "cases", "patients", "learned from", *map(metric_name, _SHOWN)],
        rows=rows,
        caption="The last row pools the cases of all sites, each by the model without its site.",
    )


def _fusing_table(results: SiteResults) -> Table:
    rows = [[site, facts["verdict"] or "not compared"] for site, facts in results.facts.items()]
    return Table(header=["held-out site", "does fusing help there?"], rows=rows)


def _line(
    site: str, counts: Mapping[str, Any], overall: Mapping[str, Any] | None, learned: str
) -> str:
    cells = [site, str(counts["cases"]), str(counts["patients"]), learned]
    for name in _SHOWN:
        entry = (overall or {}).get(name) or {}
        values = (entry.get(key) for key in ("value", "low", "high"))
        cells += ["" if value is None else f"{value:.6g}" for value in values]
    return csv_line(cells)
