"""The table and the page of a validation: each site by a model that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfuse.evaluation import EvaluationSettings, LabelPredictions, Predictions
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

_SHOWN = (*("auroc_macro", "accuracy", "balanced_accuracy", "exact_match", "ece", "ece_macro"),)


_POOLED = (
    "All cases together, each by the model that has not seen its site. Several models and their "
    "calibrations are mixed here: what to expect at a new site stands in the table of the sites."
)


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
    predictions: Predictions | LabelPredictions
    pooled: Mapping[str, Any]
    settings: EvaluationSettings
    facts: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]

    @property
    def shown(self) -> list[str]:
        """The metrics that tables of sites show."""
        return [name for name in _SHOWN if name in self.pooled["overall"]]

    @property
    def known(self) -> dict[str, float]:
        """AUROC of each site that has one, the lowest first."""
        found = {}
        for site in self.facts:
            overall = self.of(site)["overall"]
            value = overall["auroc_macro"]["value"] if overall else None
            if value is not None:
                found[site] = float(value)
        return dict(sorted(found.items(), key=lambda pair: pair[1]))

    def of(self, site: str) -> Mapping[str, Any]:
        """Return the counts and metrics of a site."""
        group: Mapping[str, Any] = self.pooled["groups"]["site"][site]
        return group


def site_csv(results: SiteResults) -> str:
    """Return one row for each site and one for all together: values with their intervals."""
    header = ["site", "cases", "patients", "learned_from"]
    shown = results.shown
    header += [f"{name}{end}" for name in shown for end in ("", "_low", "_high")]
    lines = [csv_line(header)]
    for site, facts in results.facts.items():
        group = results.of(site)
        front = [guarded(site), str(facts["learned_from"])]
        lines.append(_line(front, group, group["overall"], shown))
    lines.append(_line(["(all)", ""], results.pooled, results.pooled["overall"], shown))
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
        headline=_headline(results),
        warnings=_warnings(results),
        sections=(
            Section(
                anchor="sites",
                title="Each site, unseen",
                text="Each row is measured by a model that was trained without this site.",
                tables=(_site_table(results), _fusing_table(results)),
            ),
            *(_of_all(part(measured)) for part in (performance_section, calibration_section)),
            subgroups_section(measured),
        ),
        versions={"medfuse": version("medfuse")},
        created=date.today().isoformat(),
    )
    write_sections(page, folder / "report.html")


def _of_all(section: Section) -> Section:
    """Return a section of the pooled cases that says so."""
    return replace(
        section,
        title=f"{section.title}, all sites together",
        text=f"{_POOLED} {section.text}".strip(),
    )


def site_verdict(results: SiteResults) -> str:
    """Return what to expect at a site that the model has not seen: each site first, then all.

    All cases together mix models and how common the classes are, which a new site does not.
    """
    known = results.known
    together = f"all cases together {estimate_text(results.pooled['overall']['auroc_macro'])}."
    if not known:
        return f"No site has cases of every class, so none has an AUROC; {together}"
    sites = list(known.items())
    (low, worst), (high, best) = sites[0], sites[-1]
    if len(known) == 1:
        return f"At the one site that could be measured unseen ({low}): AUROC {worst:.3f}."
    mean = sum(known.values()) / len(known)
    return (
        f"At {len(known)} sites, each unseen by its model: AUROC from {worst:.3f} ({low}) to "
        f"{best:.3f} ({high}), {mean:.3f} on average; {together}"
    )


def _headline(results: SiteResults) -> dict[str, str]:
    """Return the AUROC of the worst and of the best site with their intervals."""
    sites = list(results.known)
    named = {"worst site": sites[0], "best site": sites[-1]} if len(sites) > 1 else {}
    return {
        f"AUROC, {what}: {site}": estimate_text(results.of(site)["overall"]["auroc_macro"])
        for what, site in named.items()
    }


def _warnings(results: SiteResults) -> list[str]:
    failed = [f"Site {site} could not be held out: {why}" for site, why in results.failed.items()]
    seen = [
        f"Site {site}: {facts['seen']} measured cases were learned from by a source."
        for site, facts in results.facts.items()
        if facts["seen"]
    ]
    return [*failed, *seen]


def _site_table(results: SiteResults) -> Table:
    rows, shown = [], results.shown
    for site, facts in results.facts.items():
        group = results.of(site)
        counts = [site, str(group["cases"]), str(group["patients"]), str(facts["learned_from"])]
        measured = group["overall"]
        values = (
            [estimate_text(measured[name]) for name in shown]
            if measured
            else [group["reason"], *[""] * (len(shown) - 1)]
        )
        rows.append([*counts, *values])
    pooled = results.pooled
    totals = ["(all)", str(pooled["cases"]), str(pooled["patients"]), ""]
    rows.append([*totals, *(estimate_text(pooled["overall"][name]) for name in shown)])
    return Table(
        header=["held-out site", "cases", "patients", "learned from", *map(metric_name, shown)],
        rows=rows,
        caption="The last row pools the cases of all sites, each by the model without its site.",
    )


def _fusing_table(results: SiteResults) -> Table:
    rows = [[site, facts["verdict"] or "not compared"] for site, facts in results.facts.items()]
    return Table(header=["held-out site", "does fusing help there?"], rows=rows)


def _line(
    front: Sequence[str],
    counts: Mapping[str, Any],
    overall: Mapping[str, Any] | None,
    shown: Sequence[str],
) -> str:
    site, learned = front
    cells = [site, str(counts["cases"]), str(counts["patients"]), learned]
    for name in shown:
        entry = (overall or {}).get(name) or {}
        values = (entry.get(key) for key in ("value", "low", "high"))
        cells += ["" if value is None else f"{value:.6g}" for value in values]
    return csv_line(cells)
