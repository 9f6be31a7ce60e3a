"""Evaluate: a bundle and labelled images -> metrics with intervals, predictions and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.config import CohortConfig, EvaluationConfig
from medfuse.data import Case, Cohort, read_cohort, tally
from medfuse.errors import CohortError
from medfuse.evaluation import PredictionRow, write_predictions
from medfuse.registry import load_registry
from medfuse.report import ReportContent, class_table, overall_table, write_report
from medfuse.serving.predict import Predictor, load_bundle
from medfuse.serving.prediction import Prediction
from medfuse.storage import write_json
from medfuse.workflows import measure
from medfuse.workflows.figures import TestPart, draw_test
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.run_folder import refuse_foreign_content

_STATE = "evaluation.json"


@dataclass(frozen=True)
class EvaluationOutcome:
    """What an evaluation found.

    Attributes:
        folder: holds ``metrics.json``, ``predictions.csv``, ``report.html`` and ``plots/``.
        metrics: the content of ``metrics.json``.
        refused: cases whose image could not be read.
    """

    folder: Path
    metrics: Mapping[str, Any]
    refused: int


def evaluate(
    bundle: Path | str,
    cohort: CohortConfig | Path | str,
    out: Path | str,
    *,
    part: str = "all",
    settings: EvaluationConfig | None = None,
) -> EvaluationOutcome:
    """Measure a bundle on the labeled cases of a cohort, through the bundle's own code.

    Args:
        bundle: folder of a bundle.
        cohort: where the cases are; a class that the bundle does not know is refused.
        out: folder for the results.
        part: ``all`` cases, or those of one role: ``test``, ``train``, ...
        settings: resamples and confidence.

    Raises:
        CohortError: no labeled case in that part, or other classes than the bundle's.
        BundleError: the bundle cannot be loaded.
        OutputError: ``out`` holds something else than an evaluation.
    """
    folder = Path(out)
    refuse_foreign_content(folder, _STATE, "evaluation")
    predictor = load_bundle(bundle)
    config = cohort if isinstance(cohort, CohortConfig) else CohortConfig(path=str(cohort))
    found = read_cohort(config)
    cases = _labeled(found, part, predictor.classes)
    write_json(folder / _STATE, {"medfuse": {"kind": "evaluation", "version": 1}})
    answers = predictor.predict([next(iter(case.inputs.values())) for case in cases])
    write_predictions(
        folder / "predictions.csv", _rows(cases, answers, predictor), predictor.classes
    )
    metrics = _measured(folder, cases, answers, predictor, settings or EvaluationConfig())
    metrics["events"] = tally(found.events)
    write_json(folder / "metrics.json", metrics)
    return EvaluationOutcome(folder, metrics, int(metrics["refused"]))


def _labeled(cohort: Cohort, part: str, classes: Sequence[str]) -> list[Case]:
    """Return the labeled cases of a part, their labels counted as the bundle counts them."""
    unknown = [name for name in cohort.classes if name not in classes]
    if unknown:
        raise CohortError(
            f"{cohort.root}: has the class {unknown[0]!r}, which the bundle does not know; "
            f"expected {', '.join(classes)}."
        )
    cases = [
        replace(case, label=classes.index(cohort.classes[case.label]))
        for case in cohort.cases
        if case.label is not None and part in ("all", case.role)
    ]
    if not cases:
        raise CohortError(f"{cohort.root}: no labeled case in part {part!r}.")
    return cases


def _rows(
    cases: Sequence[Case], answers: Sequence[Prediction], predictor: Predictor
) -> list[PredictionRow]:
    return [
        PredictionRow(
            case_id=case.case_id,
            role=case.role or "",
            label=predictor.classes[case.label or 0],
            status=answer.status,
            reason_code=answer.reason_code,
            predicted=answer.predicted,
            probabilities=[answer.probabilities[c] for c in predictor.classes]
            if answer.status == "ok"
            else (),
        )
        for case, answer in zip(cases, answers, strict=True)
    ]


def _measured(
    folder: Path,
    cases: Sequence[Case],
    answers: Sequence[Prediction],
    predictor: Predictor,
    config: EvaluationConfig,
) -> dict[str, Any]:
    answered = [i for i, answer in enumerate(answers) if answer.status == "ok"]
    if not answered:
        raise CohortError(f"none of the {len(cases)} images can be read: {answers[0].reason}")
    probabilities = np.array(
        [[answers[i].probabilities[c] for c in predictor.classes] for i in answered]
    )
    predictions = measure.predictions_of(
        [cases[i] for i in answered], predictor.classes, probabilities
    )
    settings = measure.settings_of(config, seed=0)
    metrics = measure.measure(predictions, settings, load_registry())
    gallery = Gallery(folder / "plots")
    draw_test(gallery, TestPart(predictions, metrics, None, (), settings))
    name = predictor.metadata["name"]
    page = ReportContent(
        name=f"Evaluation of {name}",
        metrics=(overall_table(metrics), class_table(metrics)),
        figures=gallery.figures,
        versions={"bundle": predictor.metadata["version"], "medfuse": version("medfuse")},
        created=date.today().isoformat(),
    )
    write_report(page, folder / "report.html")
    return {"bundle": name, "refused": len(cases) - len(answered), **metrics}
