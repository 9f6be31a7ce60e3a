"""What the report of a run says, from what the run knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from medfuse.data import split_digest
from medfuse.report import (
    Figure,
    ReportContent,
    Table,
    WorstError,
    class_table,
    comparison_table,
    embed_image,
    group_table,
    operating_point_table,
    overall_table,
    worst_errors,
)
from medfuse.report.metric_tables import estimate_text
from medfuse.workflows.figures import TestPart, picture_of
from medfuse.workflows.learn import LearnedModel, LearningTask
from medfuse.workflows.measure import test_rows
from medfuse.workflows.prepare import PreparedCohort
from medfuse.workflows.resolved import input_facts

_HEADLINE = {"accuracy": "accuracy", "auroc_macro": "AUROC", "ece": "calibration error"}
_PACKAGES = ("medfuse", "monai", "torch", "timm", "numpy")
_WORST = 12
_JOINTS = {"size": " x ", "spacing": " x ", "percentiles": " to ", "window": " to "}


@dataclass(frozen=True)
class RunFacts:
    """Everything the page tells of.

    Attributes:
        task: configuration, cohort and sources.
        model: the trained, fused model.
        part: what the test cases show; ``None`` without labeled test cases.
        comparison: with each single source; ``None`` where there is none.
    """

    task: LearningTask
    model: LearnedModel
    part: TestPart | None
    comparison: Mapping[str, Any] | None


def run_page(facts: RunFacts, figures: Sequence[Figure], created: str) -> ReportContent:
    """Return the content of a run's report."""
    experiment, prepared = facts.task.experiment, facts.task.prepared
    metrics = facts.part.metrics if facts.part else None
    return ReportContent(
        name=experiment.name,
        verdict=facts.comparison["verdict"] if facts.comparison else "",
        headline=_headline(metrics) if metrics else {},
        warnings=_warnings(facts),
        cohort=(_split_table(facts),),
        sources=_source_table(facts),
        settings=_settings(facts),
        metrics=_metric_tables(metrics) if metrics else (),
        comparison=comparison_table(facts.comparison) if facts.comparison else None,
        figures=figures,
        worst_errors=_worst(facts) if facts.part else (),
        events=prepared.events(),
        versions={
            **{name: version(name) for name in _PACKAGES},
            "configuration": experiment.digest()[:16],
            "split": split_digest(prepared.cohort)[:16],
        },
        created=created,
    )


def _headline(metrics: Mapping[str, Any]) -> dict[str, str]:
    overall = metrics["overall"]
    return {title: estimate_text(overall[key]) for key, title in _HEADLINE.items()}


def _warnings(facts: RunFacts) -> list[str]:
    warnings = []
    if facts.part is None:
        warnings.append("There is no labeled test case: nothing was measured.")
    elif facts.part.seen.warning():
        warnings.append(facts.part.seen.warning())
    warnings.extend(
        f"The input contract of {source.label} is unknown; its architecture's was assumed."
        for source in facts.task.features.sources
        if source.card.get("contract_assumed")
    )
    dropped = facts.task.prepared.leaks.summary()["dropped"]
    if dropped:
        warnings.append(f"{dropped} training cases were dropped: they are also elsewhere.")
    return warnings


def _split_table(facts: RunFacts) -> Table:
    cohort = facts.task.prepared.cohort
    rows = [
        [role, *(str(row.get(name, 0)) for name in cohort.classes), str(sum(row.values()))]
        for role, row in cohort.counts().items()
    ]
    return Table(
        header=["part", *cohort.classes, "all"], rows=rows, caption="Cases by part and class."
    )


def _source_table(facts: RunFacts) -> Table:
    rows = [
        [s.label, s.card["domain"], s.card["license"], str(s.feature_dim)]
        for s in facts.task.features.sources
    ]
    return Table(header=["source", "trained on", "license", "features"], rows=rows)


def _settings(facts: RunFacts) -> dict[str, str]:
    model, experiment = facts.model, facts.task.experiment
    training = experiment.training
    return {
        "fusion": _component(model.classifier.fusion.name, model.classifier.fusion_options),
        "head": _component(model.classifier.head.name, model.classifier.head_options),
        "members averaged": str(model.members),
        "epochs": ", ".join(f"{r.best_epoch} of {len(r.history)}" for r in model.results),
        "optimizer": f"{training.optimizer}, learning rate {training.lr:g}, {training.schedule}",
        **_input_rows(facts.task.prepared),
        "temperature": f"{float(model.network.temperature):.3f}, from {model.calibrated_on}",
        "seed": str(experiment.seed),
    }


def _input_rows(prepared: PreparedCohort) -> dict[str, str]:
    """Return how each input is read, and what was seen of the cohort to decide that."""
    rows = {}
    for name, facts in input_facts(prepared).items():
        rows[f"input {name}"] = _listed(facts["settings"])
        rows[f"seen of {name}"] = _listed(facts["fingerprint"])
    return rows


def _listed(facts: Mapping[str, Any]) -> str:
    """Return facts in one line; extents as ``48 x 48``, bounds as ``0.5 to 99.5``."""
    return ", ".join(
        f"{key.replace('_', ' ')} {_plain(value, _JOINTS.get(key.partition('_')[0], ', '))}"
        for key, value in facts.items()
        if value not in (None, "none", [], {})
    )


def _plain(value: Any, joint: str = " to ") -> str:
    if isinstance(value, Mapping):
        shown = "; ".join(f"{key}: {_plain(item)}" for key, item in value.items())
        return f"({shown})"
    if isinstance(value, list):
        return joint.join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _component(name: str, options: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{name} ({shown})" if shown else name


def _metric_tables(metrics: Mapping[str, Any]) -> tuple[Table, ...]:
    groups = (group_table(metrics, column) for column in metrics["groups"])
    return (overall_table(metrics), class_table(metrics), operating_point_table(metrics), *groups)


def _worst(facts: RunFacts) -> list[WorstError]:
    assert facts.part is not None
    prepared, predictions = facts.task.prepared, facts.part.predictions
    cases = [prepared.cohort.cases[i] for i in test_rows(prepared.cohort)]
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.probabilities[wrong].max(1)
    shown = [cases[wrong[i]] for i in np.argsort(-confidence, kind="stable")[:_WORST]]
    thumbnails = {
        case.case_id: embed_image(picture_of(read, case))
        for read in reversed(prepared.pictures)
        for case in shown
        if read.has(case)
    }
    ids = [case.case_id for case in cases]
    return worst_errors(predictions, ids, _WORST, thumbnails)
