"""What the page of a comparison says, and its figures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfuse import plots
from medfuse.evaluation.fold_verdict import is_certain
from medfuse.report import (
    QUESTIONS,
    Figure,
    Section,
    SectionPage,
    Table,
    candidate_table,
    fold_comparison_table,
    write_sections,
)
from medfuse.report.metric_tables import estimate_text
from medfuse.workflows.compare_target import target_section
from medfuse.workflows.compare_task import CompareTask
from medfuse.workflows.gallery import Gallery

_PACKAGES = ("medfuse", "torch", "scikit-learn", "scipy", "numpy")
_GROUPS = {
    "single": "single source",
    "fusion": "fusion",
    "pair": "pair of sources",
    "choice": "chosen inside the training cases",
    "baseline": "classic classifier",
    "scratch": "from random weights",
}


def write_comparison_page(task: CompareTask, comparison: Mapping[str, Any]) -> Path:
    """Write the plots and ``comparison.html``; return its path."""
    shutil.rmtree(task.folder / "plots", ignore_errors=True)
    gallery = Gallery(task.folder / "plots")
    figures = _figures(gallery, comparison)
    page = comparison_page(task, comparison, figures)
    return write_sections(page, task.folder / "comparison.html")


def comparison_page(
    task: CompareTask, comparison: Mapping[str, Any], figures: Mapping[str, Sequence[Figure]]
) -> SectionPage:
    """Return the content of the page."""
    return SectionPage(
        name=f"Does fusing help? {task.experiment.name}",
        verdict=comparison["verdict"],
        headline=_headline(comparison),
        warnings=list(_warnings(comparison)),
        sections=(
            Section(
                anchor="answer",
                title="What stands behind the verdict",
                points=comparison["remarks"],
                figures=figures["answer"],
            ),
            Section(
                anchor="candidates",
                title="All candidates",
                tables=[candidate_table(comparison)],
                figures=figures["candidates"],
            ),
            *_tests(comparison),
            target_section(comparison.get("target")),
            Section(anchor="curve", title="Learning curve", figures=figures["curve"]),
            Section(anchor="sources", title="Sources", tables=[_source_table(comparison)]),
            Section(anchor="cases", title="Cases", text=_cases_text(comparison)),
        ),
        versions={
            **{name: version(name) for name in _PACKAGES},
            "configuration": comparison["configuration_digest"][:16],
        },
        created=date.today().isoformat(),
    )


def _headline(comparison: Mapping[str, Any]) -> dict[str, str]:
    shown = {"fused": comparison["fused"], "best single source": comparison["best_single"]}
    found = {c["name"]: c for c in comparison["candidates"]}
    return {
        f"AUROC, {title}": estimate_text(found[name]["auroc"])
        for title, name in shown.items()
        if name is not None and found[name]["auroc"]
    }


def _warnings(comparison: Mapping[str, Any]) -> Iterator[str]:
    for label, source in comparison["sources"].items():
        if source["overlap"]:
            yield (
                f"{label} was trained on {', '.join(source['overlap'])}, the data set compared on: "
                "this was accepted, and flatters every candidate that reads it."
            )
        if source["seen"]:
            yield (
                f"{label} has seen {source['seen']} of the {comparison['cases']} cases in its own "
                "training: candidates that read it are flattered."
            )


def _tests(comparison: Mapping[str, Any]) -> Iterator[Section]:
    for question, title in QUESTIONS.items():
        if any(row["question"] == question for row in comparison["comparisons"]):
            table = fold_comparison_table(comparison, question)
            yield Section(anchor=question, title=title, tables=[table])


def _source_table(comparison: Mapping[str, Any]) -> Table:
    rows = [
        [label, s["domain"], s["license"], str(s["features"]), str(s["seen"])]
        for label, s in comparison["sources"].items()
    ]
    return Table(
        header=["source", "trained on", "license", "features", "cases seen before"], rows=rows
    )


def _cases_text(comparison: Mapping[str, Any]) -> str:
    counts = ", ".join(_count_text(comparison, name) for name in comparison["support"])
    text = (
        f"{comparison['cases']} cases of {comparison['patients']} patients ({counts}) in "
        f"{comparison['folds']} folds."
    )
    if comparison["left_aside"]:
        text += f" The {comparison['left_aside']} cases of the test part took no part."
    members = comparison["members"]
    how = "one network" if members == 1 else f"{members} networks, averaged,"
    text = f"{text} Each network candidate is {how} in each fold"
    if members > 1:
        return f"{text}, as medfuse train makes it."
    return (
        f"{text}, a fusion of decisions one for each source; a run of medfuse train averages "
        "several, which lifts all of them."
    )


def _count_text(comparison: Mapping[str, Any], name: str) -> str:
    """Return how many cases a class has, or of how many known answers a label holds in."""
    held = comparison["support"][name]
    if "absent" not in comparison:
        return f"{name} {held}"
    return f"{name} {held} of {held + comparison['absent'][name]} known"


def _figures(gallery: Gallery, comparison: Mapping[str, Any]) -> dict[str, list[Figure]]:
    """Draw everything; return the figures by section."""
    return {
        "answer": _drawn(gallery, "differences", *_differences(comparison)),
        "candidates": _drawn(gallery, "candidates", *_candidates(comparison)),
        "curve": _drawn(gallery, "learning_curve", *_curve(comparison)),
    }


def _drawn(gallery: Gallery, name: str, drawing: Any, caption: str) -> list[Figure]:
    if drawing is None:
        return []
    gallery.add(name, drawing, caption, wide=True)
    return [gallery.figures[-1]]


def _differences(comparison: Mapping[str, Any]) -> tuple[Any, str]:
    titles = {
        "fusing": "against the best single source",
        "choosing": "chosen inside the training cases",
        "baselines": f"{comparison['fused']} against",
    }
    rows = [
        plots.ForestRow(
            row["second"] if row["question"] == "baselines" else row["first"],
            row["auroc"]["difference"],
            row["auroc"].get("low"),
            row["auroc"].get("high"),
            titles[row["question"]],
            is_certain(row),
        )
        for row in comparison["comparisons"]
    ]
    caption = (
        "Differences in AUROC with their intervals, not corrected; a filled mark is certain after "
        f"Holm's correction. Right of the line: better than {comparison['best_single']}, or than "
        "the baseline named at the left."
    )
    if not rows:
        return None, caption
    return plots.forest(rows, "Gain in AUROC", "difference in AUROC", zero=0.0), caption


def _candidates(comparison: Mapping[str, Any]) -> tuple[Any, str]:
    found = [c for c in comparison["candidates"] if c["auroc"]]
    found = sorted(found, key=lambda c: -(c["auroc"]["value"] or 0))
    rows = [
        plots.ForestRow(
            c["name"],
            c["auroc"]["value"],
            c["auroc"]["low"],
            c["auroc"]["high"],
            _GROUPS[c["kind"]],
        )
        for c in found
    ]
    macro = "mean over the labels" if comparison.get("task") == "multilabel" else "macro"
    caption = f"AUROC of every candidate, {macro}, mean of the folds, with its interval."
    return plots.forest(rows, "All candidates", "AUROC"), caption


def _curve(comparison: Mapping[str, Any]) -> tuple[Any, str]:
    curve = comparison.get("curve")
    if not curve:
        return None, ""
    caption = (
        f"Mean over folds and draws of the training cases: up to 25 are drawn {curve['draws']} "
        "times, more cases fewer times. Bars reach from the lowest to the highest draw. The same "
        "draws and test folds for every candidate."
    )
    return plots.learning_curve(curve["points"], "AUROC"), caption
