"""What each calibration is worth on the sets of the recipes: a table of docs/results.md.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/calibration.py --out calibration.json

Each fold trains the fused model once, as `medfuse train` does, on the sources of
benchmarks/comparison.py and frozen, banked features. Every method is fitted on the very same
held-out logits and measured on the same test cases; those of several folds are pooled, each told by
the model without it. With --to-the-end it is instead one network that learns from four fifths of
the cases for all epochs, as most scripts have it; the fifth part calibrates it. Changes against no
calibration are paired: both on the same resampled patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from comparison import experiment_of
from scipy.special import softmax
from torch import nn

from medfuse.config import Experiment, TrainingConfig
from medfuse.evaluation import EvaluationSettings, Predictions
from medfuse.evaluation.metrics import resampled_scores
from medfuse.evaluation.resampling import percentile_interval
from medfuse.evaluation.scores import OVERALL
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.threads import one_thread
from medfuse.training import Run, TrainingData, build_classifier, predict_logits
from medfuse.training.calibration import HeldOutLogits, calibrate, choose_method
from medfuse.training.candidate import held_out_part
from medfuse.training.classifier import BuiltClassifier, SourceWidth
from medfuse.training.members import fit_members, most_members
from medfuse.training.quick import fit_quickly
from medfuse.training.source_heads import with_source_heads
from medfuse.workflows.answers import labels_of
from medfuse.workflows.calibrating import labeled_logits
from medfuse.workflows.extract import extract, load_networks
from medfuse.workflows.learn import LearningTask
from medfuse.workflows.measure import predictions_of, test_rows
from medfuse.workflows.prepare import prepare_cohort

METHODS = ("none", "temperature", "dirichlet", "isotonic", "auto")
SHOWN = ("accuracy", "ece", "ece_debiased", "ece_classwise", "log_loss", "calibration_slope_macro")
SETTINGS = EvaluationSettings(bootstrap=1000)

Fitted: TypeAlias = tuple[nn.Module, np.ndarray, np.ndarray]
Fit: TypeAlias = Callable[[LearningTask, TrainingData], Fitted]


@dataclass(frozen=True)
class Told:
    """What one model says, before calibration.

    Attributes:
        held_out: of the cases that a calibration is fitted on.
        tested: the test cases.
        logits: ``(N, K)`` of these.
    """

    held_out: HeldOutLogits
    tested: Predictions
    logits: np.ndarray


def main() -> None:
    """Measure each set that is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sets", nargs="*", default=["brain_mri4", "cxr_covid3", "ct_covid2", "pneumoniamnist"]
    )
    parser.add_argument("--folds", type=int, default=5, help="of the sets that have folds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to-the-end", action="store_true", help="one network, never stopped")
    parser.add_argument("--out", type=Path, default=Path("calibration.json"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for name in arguments.sets:
        experiment = experiment_of(name, [], [*arguments.set, f"seed={arguments.seed}"])
        folds = range(min(arguments.folds, experiment.cohort.split.folds or 1))
        fit = fitted_to_the_end if arguments.to_the_end else fitted
        told = [said(with_fold(experiment, fold), fit) for fold in folds]
        results[f"{name}, seed {arguments.seed}"] = measured(told)
        arguments.out.write_text(json.dumps(results, indent=2))
        print(table(name, results[f"{name}, seed {arguments.seed}"]), flush=True)


def with_fold(experiment: Experiment, fold: int) -> Experiment:
    """Return the experiment with one of its folds tested; unchanged where it has none."""
    cohort = experiment.cohort
    if not cohort.split.folds:
        return experiment
    split = cohort.split.model_copy(update={"fold": fold})
    return experiment.model_copy(update={"cohort": cohort.model_copy(update={"split": split})})


def said(experiment: Experiment, fit: Fit) -> Told:
    """Train the fused model and return what it says of held-out and test cases."""
    task = task_of(experiment)
    cohort, features = task.prepared.cohort, task.features
    data = TrainingData.of(
        list(features.values),
        labels_of(cohort),
        features.views,
        [case.patient_id for case in cohort.cases],
    )
    roles = ("train", "validation")
    learned = np.array([i for i, case in enumerate(cohort.cases) if case.role in roles])
    with one_thread():
        classifier, held, held_logits = fit(task, data.select(learned))
        rows = test_rows(cohort)
        logits = predict_logits(classifier, data.select(rows)).astype(np.float64)
    cases = [cohort.cases[row] for row in rows]
    tested = predictions_of(cases, cohort.classes, softmax(logits, axis=1))
    assert isinstance(tested, Predictions)
    held_out = labeled_logits(cohort, learned[held], held_logits)
    return Told(held_out, replace(tested, groups={}), logits)


def fitted(task: LearningTask, data: TrainingData) -> Fitted:
    """Return the members that `medfuse train` averages, by the loop that gives the same bits.

    Beside them the rows that were held out, all of them, and their logits.
    """
    training, run, built = parts_of(task)
    count = min(training.members, most_members(data))
    members = [built.fresh(run.seed + number) for number in range(count)]
    ensemble = fit_members(members, data, training, run, fit_quickly)
    return ensemble.classifier, np.arange(len(data)), ensemble.held_out_logits


def fitted_to_the_end(task: LearningTask, data: TrainingData) -> Fitted:
    """Return one network after all epochs, the rows it did not learn from, and their logits."""
    training, run, built = parts_of(task)
    held = held_out_part(data, run.seed)
    network = built.fresh(run.seed)
    fit_quickly(network, data.select(np.setdiff1d(np.arange(len(data)), held)), None, training, run)
    return network, held, predict_logits(network, data.select(held))


def parts_of(task: LearningTask) -> tuple[TrainingConfig, Run, BuiltClassifier]:
    """Return how a network learns, and what makes one."""
    experiment, sources = task.experiment, task.features.sources
    training, classes = experiment.training, task.prepared.cohort.classes
    widths = [SourceWidth(source.feature_dim, source.slices) for source in sources]
    built = build_classifier(
        experiment.fusion, experiment.head, task.registry, widths, len(classes)
    )
    if training.source_heads:
        built = with_source_heads(built, len(classes))
    run = Run(
        classes=classes,
        seed=experiment.seed,
        head_loss=built.head.loss,
        hides_inputs=built.fusion.handles_missing,
    )
    return training, run, built


def task_of(experiment: Experiment) -> LearningTask:
    """Return the cases of an experiment with their features, all of them from the bank if there."""
    registry, bank = load_registry(), FeatureBank(experiment.bank.path)
    prepared = prepare_cohort(experiment, bank, progress=False)
    read = {name: found.config for name, found in prepared.inputs.items()}
    sources = tuple(load_networks(experiment, registry, read))
    features = extract(experiment, prepared, sources, bank, progress=False)
    return LearningTask(experiment, registry, prepared, features, progress=False)


def measured(told: list[Told]) -> dict[str, Any]:
    """Return the metrics of each method, what it changed, and what ``auto`` chose by fold."""
    chosen = [choose_method(one.held_out) for one in told]
    tables = {
        method: resampled_scores(
            pooled(told, [choice[0] if method == "auto" else method for choice in chosen]), SETTINGS
        )
        for method in METHODS
    }
    plain = tables["none"]
    return {
        "cases": sum(len(one.tested) for one in told),
        "auto": [{"method": choice[0], **choice[1]} for choice in chosen],
        "methods": {
            method: {
                key: {
                    **estimate(found[key, OVERALL]),
                    "change": estimate(found[key, OVERALL] - plain[key, OVERALL]),
                }
                for key in SHOWN
            }
            for method, found in tables.items()
        },
    }


def pooled(told: list[Told], methods: list[Any]) -> Predictions:
    """Return the test cases of all folds, each calibrated by the method of its fold."""
    chances = [
        softmax(calibrate(one.held_out, method)(one.logits), axis=1)
        for one, method in zip(told, methods, strict=True)
    ]
    return Predictions(
        np.concatenate([one.tested.labels for one in told]),
        np.concatenate(chances),
        told[0].tested.classes,
        [patient for one in told for patient in one.tested.patients],
    )


def estimate(values: np.ndarray) -> dict[str, float]:
    """Return the value on the cases as they are, and its interval over resamples."""
    low, high = percentile_interval(values[1:], SETTINGS.confidence) or (np.nan, np.nan)
    return {"value": float(values[0]), "low": low, "high": high}


def table(name: str, found: dict[str, Any]) -> str:
    """Return Markdown: one row a method."""
    lines = [
        f"## {name}, {found['cases']} test cases",
        "| method | accuracy | ECE | change | ECE, debiased | log loss | change |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, row in found["methods"].items():
        cells = [row["accuracy"], row["ece"], row["ece"]["change"], row["ece_debiased"]]
        cells += [row["log_loss"], row["log_loss"]["change"]]
        changes = {2, 5}
        texts = [text(c, "+.3f" if i in changes else ".3f") for i, c in enumerate(cells)]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    chosen = ", ".join(choice["method"] for choice in found["auto"])
    return "\n".join([*lines, f"auto chose, by fold: {chosen}", ""])


def text(entry: dict[str, float], form: str) -> str:
    """Return ``0.031 (0.020 to 0.052)``."""
    value, low, high = (format(entry[key], form) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
