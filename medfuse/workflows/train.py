"""Train: a configuration -> a run folder with metrics, report and bundle."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.config import Experiment, as_experiment
from medfuse.data import split_digest
from medfuse.errors import OutputError
from medfuse.evaluation import (
    EvaluationSettings,
    LabelPredictions,
    Predictions,
    write_predictions,
)
from medfuse.evaluation.feature_distance import DISTANCES
from medfuse.evaluation.feature_statistics import write_distances
from medfuse.evaluation.plugin_metrics import Metric
from medfuse.evaluation.slice_table import write_slice_weights
from medfuse.evaluation.uncalibrated import uncalibrated_metrics
from medfuse.processes import Shard
from medfuse.registry import Registry, load_registry
from medfuse.report import write_sections
from medfuse.storage import write_json
from medfuse.workflows import measure
from medfuse.workflows.abstaining import Judged, judge
from medfuse.workflows.bundled_sources import refuse_own_bundle, with_each_network
from medfuse.workflows.calibrating import calibration_facts
from medfuse.workflows.distances import fit_distances
from medfuse.workflows.extract import ExtractedFeatures
from medfuse.workflows.figures import TestPart, draw_cohort, draw_test, draw_training
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.learn import LearnedModel, LearningTask, learn
from medfuse.workflows.licensing import check_licenses
from medfuse.workflows.package import Measured, seen_before, write_run_bundle
from medfuse.workflows.preflight import check_experiment
from medfuse.workflows.resolved import input_facts
from medfuse.workflows.run_folder import RunFolder, claim_run_folder, is_finished
from medfuse.workflows.run_page import MeasuredCases, RunFacts, run_page
from medfuse.workflows.seen import find_seen
from medfuse.workflows.train_task import (
    TaskOptions,
    any_learns,
    fusion_alone,
    part,
    sources_alone,
    training_task,
)
from medfuse.workflows.trust_facts import TrustedCases, acceptance_of, draw_trust, trust_facts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """What a run produced.

    Attributes:
        folder: the run folder.
        bundle: the MONAI bundle inside it.
        report: the HTML page inside it.
        metrics: the content of ``metrics.json``.
    """

    folder: Path
    bundle: Path
    report: Path
    metrics: Mapping[str, Any]


def train(  # noqa: PLR0913 - each can be left out
    experiment: Experiment | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    fresh: bool = False,
    download: bool = False,
    progress: bool = True,
    shard: Shard | None = None,
) -> TrainingOutcome:
    """Train a fused classifier, measure it on the test part and write its bundle.

    A run that was interrupted goes on where it was; a finished one returns at once.

    Args:
        experiment: a configuration, its plain data, or the path of its YAML file.
        out: the run folder.
        fresh: replace an earlier run in ``out``.
        download: allow weights to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        shard: the first of several processes, of which all others call `help_train`
            (`medfuse.processes.joined_shard`).

    Raises:
        MedfuseError: anything that a user can mend; the text says how.
    """
    shard = shard or Shard()
    config, registry = with_each_network(as_experiment(experiment)), load_registry()
    options = TaskOptions(download, progress, shard)
    _refuse_inside_cohort(Path(out), Path(config.cohort.path))
    refuse_own_bundle(config, Path(out))
    if fresh or not is_finished(out, config):
        check_experiment(config, registry, download=download)
        check_licenses(config, registry)
    with claim_run_folder(out, config, fresh=fresh) as folder:
        if folder.finished and _is_whole(folder):
            _log.info("%s: this run is complete; use --fresh to train again", folder.path)
            shard.told(value=False)
            return _outcome(folder)
        shard.told(value=True)
        return _run(config, folder, registry, options)


def _refuse_inside_cohort(out: Path, cohort: Path) -> None:
    if cohort.is_dir() and out.resolve().is_relative_to(cohort.resolve()):
        raise OutputError(
            f"{out}: lies inside the cohort {cohort}, whose folders are classes. "
            "Choose another --out."
        )


def _is_whole(folder: RunFolder) -> bool:
    """Tell whether a finished run still has its metrics, report and bundle."""
    try:
        outcome = _outcome(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return outcome.report.is_file() and outcome.bundle.is_dir()


def _run(
    experiment: Experiment, folder: RunFolder, registry: Registry, options: TaskOptions
) -> TrainingOutcome:
    begun = time.monotonic()
    plugin_metrics = measure.load_metrics(registry, experiment.evaluation)
    task = training_task(experiment, registry, options, folder)
    labels = [source.label for source in task.features.sources]
    if not any_learns(task, range(len(labels))):
        part(options.shard)
    _log.info("training %s together", " + ".join(labels))
    started = time.monotonic()
    fused = learn(task, task.experiment.fusion, range(len(labels)), folder.path)
    _log.info("training the fused model took %.0f s", time.monotonic() - started)
    task = _with_method(task, fused, folder)
    singles = _singles(task, folder)
    _write_results(task, fused, singles, folder, plugin_metrics)
    _log.info("the whole run took %.0f s", time.monotonic() - begun)
    return _outcome(folder)


def _with_method(task: LearningTask, fused: LearnedModel, folder: RunFolder) -> LearningTask:
    """Return the task with the calibration that was chosen, which the resolved file names too."""
    chosen = fused.calibration.method
    if task.experiment.evaluation.calibrate != "auto":
        return task
    evaluation = task.experiment.evaluation.model_copy(update={"calibrate": chosen})
    settled = task.experiment.model_copy(update={"evaluation": evaluation})
    folder.write_resolved(settled)
    return replace(task, experiment=settled)


def _singles(task: LearningTask, folder: RunFolder) -> dict[str, LearnedModel]:
    """Return a model of each source alone, with the same head and the same split.

    Those that learn come first: for the others this process needs no help.
    """
    found: dict[int, LearnedModel] = {}
    together = [i for i in sources_alone(task) if any_learns(task, [i])]
    for i in [*together, *(i for i in sources_alone(task) if i not in together)]:
        if len(found) == len(together):
            part(task.shard)
        _log.info("training %s alone, to compare", task.features.sources[i].label)
        at = folder.path / "single" / str(i)
        found[i] = learn(task, fusion_alone(task), [i], at, "single")
    part(task.shard)
    return {task.features.sources[i].label: found[i] for i in sorted(found)}


def _write_results(
    task: LearningTask,
    fused: LearnedModel,
    singles: Mapping[str, LearnedModel],
    folder: RunFolder,
    plugin_metrics: Mapping[str, Metric],
) -> None:
    _log.info("measuring what was learned")
    cohort = task.prepared.cohort
    labels = [source.label for source in task.features.sources]
    distances = fit_distances(task, fused)
    write_distances(distances, folder.path / DISTANCES, mode=0o600)
    judged = judge(task, fused, distances)
    answers = measure.prediction_rows(
        cohort, fused.probabilities, fused.shares, labels, fused.thresholds
    )
    rows = measure.with_judgements(answers, judged.judgements)
    write_predictions(folder.path / "predictions.csv", rows, cohort.classes)
    _write_slices(task, fused, folder)
    part, comparison = _test_part(task, fused, singles, judged, plugin_metrics)
    gallery = Gallery(folder.plots)
    draw_cohort(gallery, task.prepared)
    draw_training(gallery, fused.results)
    trust = None
    if part is not None:
        draw_test(gallery, part)
        trust = _trust(task, fused, part, judged, gallery)
    overall = part.metrics["overall"] if part else {}
    measured = Measured(overall, judged.policy)
    _log.info("writing the bundle, and running it to compare its probabilities")
    bundle, difference = write_run_bundle(task, fused, measured, folder.path / "bundle")
    facts = RunFacts(task, fused, MeasuredCases(part, gallery.named, trust), comparison, bundle)
    metrics = {
        "test": None if part is None else part.metrics,
        "comparison": comparison,
        "trust": trust,
        "training": _training_facts(fused),
        "inputs": input_facts(task.prepared),
        "features": _feature_facts(task.features),
        "adaptation": None if task.adaptation is None else dict(task.adaptation.facts),
        "leaks": task.prepared.leaks.summary(),
        "events": task.prepared.events(),
        "bundle": {"path": str(bundle.relative_to(folder.path)), "difference": difference},
        "configuration_digest": task.experiment.digest(),
        "split_digest": split_digest(cohort),
    }
    page = run_page(facts, created=date.today().isoformat())
    write_sections(page, folder.path / "report.html")
    write_json(folder.path / "metrics.json", metrics)
    folder.mark_finished()


def _trust(
    task: LearningTask, fused: LearnedModel, part: TestPart, judged: Judged, gallery: Gallery
) -> dict[str, Any]:
    """Return what the test cases show of abstention and sets, and draw it."""
    said = [judged.judgements[row] for row in measure.test_rows(task.prepared.cohort)]
    trusted = TrustedCases(
        codes=[one.reason_code for one in said],
        distances=[one.distances for one in said],
        set_limits=judged.policy.set_limits,
        score=judged.policy.score,
        coverage=task.experiment.evaluation.abstain.coverage,
        held_out=fused.calibrated_on,
        acceptance=acceptance_of(judged.policy.distances),
    )
    trust = trust_facts(part.predictions, trusted)
    draw_trust(gallery, trust, trusted)
    return trust


def _write_slices(task: LearningTask, fused: LearnedModel, folder: RunFolder) -> None:
    pairs = zip(task.features.sources, fused.slice_weights, strict=True)
    weights = {source.label: found for source, found in pairs if found is not None}
    if weights:
        cases = [case.case_id for case in task.prepared.cohort.cases]
        write_slice_weights(folder.path / "slice_weights.csv", cases, weights)


def _test_part(
    task: LearningTask,
    fused: LearnedModel,
    singles: Mapping[str, LearnedModel],
    judged: Judged,
    plugin_metrics: Mapping[str, Metric],
) -> tuple[TestPart | None, dict[str, Any] | None]:
    """Return what the test cases show, and the comparison with the single sources."""
    cohort = task.prepared.cohort
    rows = measure.test_rows(cohort)
    if not len(rows):
        _log.warning("no labeled test case: nothing is measured")
        return None, None
    cases = [cohort.cases[i] for i in rows]
    seen = find_seen([task.prepared.digests(case) for case in cases], seen_before(task))
    if seen.warning():
        _log.warning("%s", seen.warning())

    subgroups = task.experiment.evaluation.groups

    def predictions(model: LearnedModel) -> Predictions | LabelPredictions:
        chances = model.probabilities[rows]
        found = measure.predictions_of(cases, cohort.classes, chances, seen, subgroups)
        limited = measure.with_thresholds(found, model.thresholds)
        statuses = [judged.judgements[row].status for row in rows]
        return measure.with_answers(limited, statuses) if model is fused else limited

    kind = fused.classifier.head.task
    settings = measure.settings_of(task.experiment.evaluation, task.experiment.seed, kind)
    found = predictions(fused)
    measured = measure.measure(found, settings, plugin_metrics, fused.thresholds)
    metrics = {**measured, **_uncalibrated(fused, found, rows, settings), "seen": seen.summary()}
    alone = {name: predictions(model) for name, model in singles.items()}
    part = TestPart(
        predictions=found,
        metrics=metrics,
        shares=None if fused.shares is None else fused.shares[rows],
        sources=tuple(source.label for source in task.features.sources),
        settings=settings,
        seen=seen,
    )
    return part, measure.compare_with_singles(found, alone, settings, _visible(task, rows))


def _uncalibrated(
    model: LearnedModel,
    predictions: Predictions | LabelPredictions,
    rows: np.ndarray,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Return what the probabilities of these cases were worth before calibration."""
    if model.calibration.method == "none":
        return {}
    return {"uncalibrated": uncalibrated_metrics(predictions, model.uncalibrated[rows], settings)}


def _visible(task: LearningTask, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return which of the cases at ``rows`` each source can see."""
    known, features = task.prepared.known()[rows], task.features
    pairs = zip(features.sources, features.inputs, strict=True)
    return {source.label: known[:, position] for source, position in pairs}


def _training_facts(model: LearnedModel) -> dict[str, Any]:
    return {
        "members": model.members,
        "best_epochs": [result.best_epoch for result in model.results],
        "epochs": [len(result.history) for result in model.results],
        "temperature": float(model.network.temperature),
        "calibration": calibration_facts(model.calibration),
        "calibrated_on": model.calibrated_on,
    }


def _feature_facts(features: ExtractedFeatures) -> dict[str, Any]:
    """Return what decides the features; how many were banked differs between two runs."""
    return {
        "sources": {source.label: source.feature_dim for source in features.sources},
        "views": int(features.views.max()),
    }


def _outcome(folder: RunFolder) -> TrainingOutcome:
    file = folder.path / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    return TrainingOutcome(
        folder=folder.path,
        bundle=folder.path / metrics["bundle"]["path"],
        report=folder.path / "report.html",
        metrics=metrics,
    )
