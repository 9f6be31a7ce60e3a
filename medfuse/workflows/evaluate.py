"""Evaluate: a bundle and images -> metrics with intervals, drift, predictions and a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from medfuse.bundle.seen import read_seen
from medfuse.config import CohortConfig, EvaluationConfig, InputConfig
from medfuse.data import Case, Cohort, Event, read_cohort, tally
from medfuse.data.cohort import NONE
from medfuse.data.readers import installed_readers
from medfuse.data.unlabelled import read_unlabelled
from medfuse.errors import CohortError
from medfuse.evaluation import LabelThreshold, PredictionRow, write_predictions
from medfuse.evaluation.plugin_metrics import Metric
from medfuse.evaluation.uncalibrated import uncalibrated_metrics
from medfuse.registry import load_registry
from medfuse.report import SectionPage, write_sections
from medfuse.serving.inputs import bundle_in
from medfuse.serving.predict import Predictor, load_bundle
from medfuse.serving.prediction import Prediction
from medfuse.storage import write_json
from medfuse.workflows import measure
from medfuse.workflows.drift import Drift, drift_section, given_to, measure_drift
from medfuse.workflows.figures import TestPart, draw_test
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.output_folder import refuse_foreign_content
from medfuse.workflows.run_page import MeasuredCases
from medfuse.workflows.run_page.abstention import abstention_section
from medfuse.workflows.run_page.calibration import calibration_section
from medfuse.workflows.run_page.events import told
from medfuse.workflows.run_page.performance import headline, performance_section
from medfuse.workflows.run_page.subgroups import subgroups_section
from medfuse.workflows.seen import SeenCases, digests_of_files, find_seen
from medfuse.workflows.trust_facts import TrustedCases, acceptance_of, draw_trust, trust_facts
from medfuse.workflows.uncalibrated import raw_logits, uncalibrated_answers

_STATE = "evaluation.json"
_Answer: TypeAlias = tuple[Case, Prediction]

_log = logging.getLogger(__name__)


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
    """Measure a bundle on the labeled cases of a cohort, through the bundle's own code, and how
    the cohort differs from the cases that the bundle learned from.

    Args:
        bundle: folder of a bundle, or of the run that it lies in.
        cohort: where the cases are; a class that the bundle does not know is refused.
        out: folder for the results.
        part: ``all`` cases, or those of one role: ``test``, ``train``, ...
        settings: resamples, confidence, subgroups, and options of plugins' metrics.

    Raises:
        ConfigError: options for a metric that no plugin has, or that it refuses.
        PluginError: a plugin's metric cannot be used.
        CohortError: no labeled case in that part, or other classes than the bundle's.
        BundleError: the bundle cannot be loaded.
        OutputError: ``out`` holds something else than an evaluation.
    """
    request = _Request(_config(cohort), Path(out), part, settings or EvaluationConfig())
    return _carry_out(bundle, request)


def evaluate_drift(
    bundle: Path | str, cohort: CohortConfig | Path | str, out: Path | str, *, part: str = "all"
) -> EvaluationOutcome:
    """Measure how the images of a cohort differ from those that a bundle learned from.

    Labels are passed over, so that the cohort may have none, or classes that the bundle does not
    know. Where it is a folder, all images below it are cases.

    Raises:
        CohortError: no case in that part, or none that can be read.
        BundleError: the bundle cannot be loaded.
        OutputError: ``out`` holds something else than an evaluation.
    """
    request = _Request(_config(cohort), Path(out), part, EvaluationConfig(), labels=False)
    return _carry_out(bundle, request)


@dataclass(frozen=True)
class _Request:
    """What to measure, and where the results go."""

    cohort: CohortConfig
    folder: Path
    part: str
    settings: EvaluationConfig
    labels: bool = True


def _config(cohort: CohortConfig | Path | str) -> CohortConfig:
    return cohort if isinstance(cohort, CohortConfig) else CohortConfig(path=str(cohort))


def _carry_out(bundle: Path | str, request: _Request) -> EvaluationOutcome:
    folder, settings = request.folder, request.settings
    refuse_foreign_content(folder, _STATE, "evaluation")
    plugin_metrics = measure.load_metrics(load_registry(), settings)
    bundle = bundle_in(bundle)
    predictor = load_bundle(bundle)
    found = _read(request, predictor)
    if request.labels:
        _require_same_task(found, predictor)
    cases = (
        _labeled(found, request.part, predictor.classes)
        if request.labels
        else _all(found, request.part)
    )
    write_json(folder / _STATE, {"medfuse": {"kind": "evaluation", "version": 1}})
    with raw_logits(predictor.network) as raw:
        given = list(predictor.answers(given_to(predictor, case) for case in cases))
    answers = [answer.prediction for answer in given]
    write_predictions(
        folder / "predictions.csv", _rows(cases, answers, predictor), predictor.classes
    )
    answered = _answered(cases, answers)
    seen = _seen_by(bundle, answered)
    measured = (
        _measured(answered, predictor, seen, settings, plugin_metrics) if request.labels else None
    )
    if measured is not None:
        measured = _with_uncalibrated(measured, uncalibrated_answers(raw, answers, predictor))
    read = [(case, a) for case, a in zip(cases, given, strict=True) if a.prediction.probabilities]
    drift = measure_drift(predictor, bundle, read)
    events = tally([*found.events, *_refusals(cases, answers)])
    trusted = _trusted(answered, predictor) if measured is not None else None
    trust = trust_facts(measured.predictions, trusted) if measured and trusted else None
    _write_page(folder, _Shown(measured, seen, drift, events, trusted, trust), predictor)
    metrics = {
        "bundle": predictor.metadata["name"],
        "refused": len(cases) - len(answered),
        **(measured.metrics if measured else {"cases": len(answered), "seen": seen.summary()}),
        **({"trust": trust} if trust else {}),
        "drift": drift.facts if drift else None,
        "events": events,
    }
    write_json(folder / "metrics.json", metrics)
    return EvaluationOutcome(folder, metrics, len(cases) - len(answered))


@dataclass(frozen=True)
class _Shown:
    """What the page tells of."""

    part: TestPart | None
    seen: SeenCases
    drift: Drift | None
    events: Mapping[str, int]
    trusted: TrustedCases | None = None
    trust: Mapping[str, Any] | None = None


def _read(request: _Request, predictor: Predictor) -> Cohort:
    """Return the cohort; without labels, any folder of images is one."""
    inputs, path = _inputs_of(predictor), request.cohort.path
    if not request.labels and predictor.table is None and Path(path).is_dir():
        return read_unlabelled(path, inputs["image"], predictor.suffixes)
    return read_cohort(request.cohort, inputs, predictor.suffixes, request.settings.groups)


def _all(cohort: Cohort, part: str) -> list[Case]:
    """Return the cases of a part without their labels."""
    chosen = [case for case in cohort.cases if part in ("all", case.role)]
    if not chosen:
        raise CohortError(f"{cohort.root}: no case in part {part!r}.")
    return [replace(case, label=None, findings=()) for case in chosen]


def _inputs_of(predictor: Predictor) -> dict[str, InputConfig]:
    """Return what a case of the bundle has; cells are checked by the bundle, not on reading."""
    if predictor.table is None:
        return {"image": InputConfig(kind="volume" if predictor.volumes else "image")}
    return {
        name: InputConfig()
        if columns is None
        else InputConfig(kind="tabular", columns=dict.fromkeys(columns, "category"))
        for name, columns in predictor.table.items()
    }


def _labeled(cohort: Cohort, part: str, classes: Sequence[str]) -> list[Case]:
    """Return the labeled cases of a part, their labels counted as the bundle counts them."""
    unknown = [name for name in cohort.classes if name not in classes]
    if unknown:
        raise CohortError(
            f"{cohort.root}: has the class {unknown[0]!r}, which the bundle does not know; "
            f"expected {', '.join(classes)}. To measure drift alone, add --drift-only."
        )
    cases = [
        _counted(case, cohort.classes, classes)
        for case in cohort.cases
        if case.labeled and part in ("all", case.role)
    ]
    if not cases:
        raise CohortError(
            f"{cohort.root}: no labeled case in part {part!r}. To measure drift alone, add "
            "--drift-only."
        )
    return cases


def _require_same_task(cohort: Cohort, predictor: Predictor) -> None:
    """Refuse classes where the bundle tells labels, and the other way round."""
    if cohort.multilabel == predictor.exclusive:
        kinds = ("one class per case", "several labels per case")
        found, expected = kinds if predictor.exclusive is False else kinds[::-1]
        raise CohortError(
            f"{cohort.root}: has {found}, but the bundle predicts {expected} "
            f"({', '.join(predictor.classes)}). Give the label column"
            f"{'s' * (not predictor.exclusive)} that it knows."
        )


def _counted(case: Case, names: Sequence[str], classes: Sequence[str]) -> Case:
    """Return the case with its label as the bundle counts it; labels it does not give stay open."""
    if case.label is not None:
        return replace(case, label=classes.index(names[case.label]))
    given = dict(zip(names, case.findings, strict=True))
    return replace(case, findings=tuple(given.get(name) for name in classes))


def _rows(
    cases: Sequence[Case], answers: Sequence[Prediction], predictor: Predictor
) -> list[PredictionRow]:
    return [
        PredictionRow(
            case_id=case.case_id,
            role=case.role or "",
            label=_label(case, predictor.classes),
            findings=case.findings,
            status=answer.status,
            reason_code=answer.reason_code,
            predicted=answer.predicted,
            probabilities=[answer.probabilities[c] for c in predictor.classes]
            if answer.probabilities
            else (),
            conformal_set=answer.conformal_set,
            distances=answer.distances,
        )
        for case, answer in zip(cases, answers, strict=True)
    ]


def _label(case: Case, classes: Sequence[str]) -> str:
    if not case.labeled:
        return ""
    return ";".join(classes[index] for index in case.held) or NONE


def _refusals(cases: Sequence[Case], answers: Sequence[Prediction]) -> list[Event]:
    return [
        Event(answer.reason_code, case.case_id, "refused")
        for case, answer in zip(cases, answers, strict=True)
        if answer.status == "refused"
    ]


def _answered(cases: Sequence[Case], answers: Sequence[Prediction]) -> list[_Answer]:
    """Return the cases that have probabilities."""
    pairs = [(c, a) for c, a in zip(cases, answers, strict=True) if a.probabilities]
    if not pairs:
        raise CohortError(f"none of the {len(cases)} images can be read: {answers[0].reason}")
    return pairs


def _seen_by(bundle: Path, answered: Sequence[_Answer]) -> SeenCases:
    """Return which cases the bundle or one of its sources learned from."""
    known = read_seen(bundle)
    files = [reference for case, _ in answered for reference in case.inputs.values()]
    used = installed_readers(load_registry()).used_by(files) if known else ()
    readers = [one.reader for one in used]
    digests = [
        digests_of_files(case.inputs.values(), readers) if known else () for case, _ in answered
    ]
    seen = find_seen(digests, known)
    if seen.warning():
        _log.warning("%s", seen.warning())
    return seen


def _measured(
    answered: Sequence[_Answer],
    predictor: Predictor,
    seen: SeenCases,
    config: EvaluationConfig,
    plugin_metrics: Mapping[str, Metric],
) -> TestPart:
    classes, details = predictor.classes, predictor.metadata["medfuse"].get("details", {})
    settings = measure.settings_of(config, 0, details.get("task", "multiclass"))
    probabilities = np.array([[a.probabilities[c] for c in classes] for _, a in answered])
    cases = [case for case, _ in answered]
    thresholds = [LabelThreshold(value, "the bundle") for value in predictor.thresholds.values()]
    found = measure.predictions_of(cases, classes, probabilities, seen, config.groups)
    limited = measure.with_thresholds(found, thresholds)
    predictions = measure.with_answers(limited, [a.status for _, a in answered])
    metrics = measure.measure(predictions, settings, plugin_metrics, thresholds)
    metrics = {**metrics, "seen": seen.summary()}
    return TestPart(predictions, metrics, None, (), settings, seen)


def _with_uncalibrated(part: TestPart, before: np.ndarray | None) -> TestPart:
    """Return the part with what its probabilities were worth before calibration, where known."""
    if before is None:
        return part
    found = uncalibrated_metrics(part.predictions, before, part.settings)
    return replace(part, metrics={**part.metrics, "uncalibrated": found})


def _trusted(answered: Sequence[_Answer], predictor: Predictor) -> TrustedCases | None:
    """Return what the bundle said of its own answers; ``None`` where it judges none."""
    policy, details = predictor.policy, predictor.metadata["medfuse"].get("details", {})
    if policy is None:
        return None
    return TrustedCases(
        codes=[answer.reason_code for _, answer in answered],
        distances=[answer.distances for _, answer in answered],
        set_limits=policy.set_limits,
        score=policy.score,
        coverage=details.get("coverage"),
        held_out=details.get("calibrated_on", "held-out cases"),
        acceptance=acceptance_of(policy.distances),
    )


def _write_page(folder: Path, shown: _Shown, predictor: Predictor) -> None:
    gallery = Gallery(folder / "plots")
    if shown.part is not None:
        draw_test(gallery, shown.part)
    if shown.trust is not None and shown.trusted is not None:
        draw_trust(gallery, shown.trust, shown.trusted)
    drift = drift_section(shown.drift, gallery)
    measured = MeasuredCases(shown.part, gallery.named, shown.trust)
    page = SectionPage(
        name=f"Evaluation of {predictor.metadata['name']}",
        intended_use=predictor.metadata["intended_use"],
        headline={} if measured.part is None else headline(measured.part.metrics),
        warnings=[shown.seen.warning()] if shown.seen.warning() else (),
        sections=(
            performance_section(measured),
            drift,
            calibration_section(measured),
            abstention_section(measured),
            subgroups_section(measured),
            told(shown.events),
        ),
        versions={"bundle": predictor.metadata["version"], "medfuse": version("medfuse")},
        created=date.today().isoformat(),
    )
    write_sections(page, folder / "report.html")
