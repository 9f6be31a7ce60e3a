"""Does the order of `medfuse sources rank` agree with cross-validated training? (docs/results.md)

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/ranking.py --out ranking.json

Twelve candidates are ranked on cases of the training part. Then the default head is trained on
each source alone on folds of the same cases (other folds than the ranking's, grouped as well), and
Spearman's correlation of every measure, and of the order, with the cross-validated AUROC and log
loss is printed: of all candidates, and of the pretrained ones alone, which are harder to order.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from medfuse.config import ComponentConfig, Experiment, parse_experiment
from medfuse.evaluation import EvaluationSettings, evaluate
from medfuse.evaluation.source_order import MEASURES, RankingCases, divided
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.workflows.extract import extract, load_networks
from medfuse.workflows.learn import LearningTask, learn
from medfuse.workflows.measure import predictions_of
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort
from medfuse.workflows.rank import RankingSettings, rank_sources
from medfuse.workflows.ranking_cases import ranking_part
from medfuse.workflows.source_ranking import SourceRanking

FOLDS, SEED = 3, 1000
FILES = {
    "mobilenetv2_035": "mobilenetv2_035.keras_in1k.safetensors",
    "mobilenetv1_100": "mobilenetv1_100.keras_in1k.block12.safetensors",
}
SETS: dict[str, dict[str, Any]] = {
    "brain_mri4": {"modality": "MR", "on_leak": "drop_from_training"},
    "cxr_covid3": {"modality": "XR", "on_leak": "drop_from_training"},
    "ct_covid2": {"modality": "CT", "on_leak": "drop_from_training", "group_pattern": "^([^%]+)"},
}


def main() -> None:
    """Rank and train on each set, and print how well the two agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--members", type=int, default=1, help="of each trained head")
    parser.add_argument("--out", type=Path, default=Path("ranking.json"))
    arguments = parser.parse_args()
    results = {}
    for name in arguments.sets:
        results[name] = checked(name, arguments)
        arguments.out.write_text(json.dumps(results, indent=2))


def checked(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the ranking of a set, the cross-validated results, and their agreement."""
    experiment = experiment_of(name, arguments.members)
    started = time.monotonic()
    ranking = rank_sources(experiment, settings=RankingSettings(cases=arguments.cases))
    ranked = time.monotonic()
    again = rank_sources(experiment, settings=RankingSettings(cases=arguments.cases))
    seconds = {"first": ranked - started, "banked": time.monotonic() - ranked}
    assert [row.source for row in again.sources] == [row.source for row in ranking.sources]
    trained = cross_validated(experiment, arguments.cases)
    seconds["training"] = time.monotonic() - ranked - seconds["banked"]
    agreement = {
        "all": correlations(ranking, trained, lambda _: True),
        "pretrained": correlations(ranking, trained, lambda source: ".random" not in source),
    }
    show(name, ranking, trained, agreement, seconds)
    return {
        "ranking": ranking.to_dict(),
        "trained": trained,
        "agreement": agreement,
        "seconds": seconds,
    }


def experiment_of(name: str, members: int) -> Experiment:
    """Return a set with its twelve candidates."""
    options = dict(SETS[name])
    inputs = {"image": {"modality": options.pop("modality")}}
    return parse_experiment(
        {
            "name": name,
            "cohort": {"path": f"$MEDFUSE_DATA/{name}", **options},
            "inputs": inputs,
            "sources": [
                *(genuine("mobilenetv2_035", cut) for cut in (None, "blocks.4", "blocks.2")),
                *(genuine("mobilenetv1_100", c) for c in ("blocks.4.0", "blocks.3.1", "blocks.2")),
                "mini:resnet",
                "mini:densenet",
                "timm:mobilenetv2_035.random",
                {"use": "timm:mobilenetv1_100.random", "cut": "blocks.4.0"},
                "mini:resnet.random",
                "mini:densenet.random",
            ],
            "training": {"members": members},
        }
    )


def genuine(network: str, cut: str | None) -> dict[str, Any]:
    """Return a backbone with its ImageNet weights, whole or cut."""
    return {
        "use": f"timm:{network}@$MEDFUSE_WEIGHTS/{FILES[network]}",
        "options": {"pad_type": "same", "bn_eps": 0.001},
        "normalization": {"mean": [0.5], "std": [0.5]},
        "cut": cut,
    }


@dataclass(frozen=True)
class Trained:
    """What heads are trained on: the cases that were ranked on."""

    task: LearningTask
    cases: RankingCases


def cross_validated(experiment: Experiment, most: int) -> dict[str, dict[str, float]]:
    """Return AUROC and log loss of the default head on each source alone, means of the folds."""
    registry, bank = load_registry(), FeatureBank(experiment.bank.path)
    prepared = prepare_cohort(experiment, bank, progress=False)
    part, cases = ranking_part(prepared, ["image"], most, experiment.seed)
    read = {name: found.config for name, found in part.inputs.items()}
    sources = load_networks(experiment, registry, read)
    features = extract(experiment, part, sources, bank, progress=False)
    found: dict[str, list[dict[str, float]]] = {source.label: [] for source in sources}
    for rows in divided(cases, FOLDS, SEED):
        fold = with_test(part, cases, rows)
        task = LearningTask(experiment, registry, fold, features, progress=False)
        for index, source in enumerate(sources):
            found[source.label].append(scores(task, index, rows))
    return {
        label: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        for label, rows in found.items()
    }


def with_test(part: PreparedCohort, cases: RankingCases, rows: np.ndarray) -> PreparedCohort:
    """Return the cohort with some rows to test with and a seventh of the rest to stop early by."""
    rest = np.setdiff1d(np.arange(len(cases.labels)), rows)
    stop = set(rest[divided(cases.only(rest), 7, SEED)[0]].tolist())
    test = set(rows.tolist())
    placed = [
        replace(case, role="test" if i in test else "validation" if i in stop else "train")
        for i, case in enumerate(part.cohort.cases)
    ]
    return replace(part, cohort=part.cohort.with_cases(placed))


def scores(task: LearningTask, index: int, rows: np.ndarray) -> dict[str, float]:
    """Return the results of one source alone on the test rows."""
    model = learn(task, ComponentConfig(use="concat"), [index], None, "single")
    cohort = task.prepared.cohort
    tested = [cohort.cases[i] for i in rows]
    predictions = predictions_of(tested, cohort.classes, model.probabilities[rows])
    overall = evaluate(predictions, EvaluationSettings(bootstrap=0))["overall"]
    return {key: overall[key]["value"] for key in ("accuracy", "auroc_macro", "log_loss")}


def correlations(ranking: SourceRanking, trained: dict[str, Any], wanted: Any) -> dict[str, Any]:
    """Return Spearman's correlation of each measure with the cross-validated order."""
    rows = [row for row in ranking.sources if wanted(row.source)]
    measured = {name: [row.measures[name]["value"] for row in rows] for name in MEASURES}
    measured["order"] = [-row.score for row in rows]
    truth = {
        "auroc": [trained[row.source]["auroc_macro"] for row in rows],
        "log_loss": [-trained[row.source]["log_loss"] for row in rows],
    }
    return {
        "sources": len(rows),
        **{
            name: {key: float(spearmanr(values, t).statistic) for key, t in truth.items()}
            for name, values in measured.items()
        },
    }


def show(
    name: str,
    ranking: SourceRanking,
    trained: dict[str, Any],
    agreement: dict[str, Any],
    seconds: dict[str, float],
) -> None:
    """Print the order beside what training gave."""
    print(f"\n{name}: {ranking.cases} cases, {ranking.groups} groups, {seconds}")
    for row in ranking.sources:
        measures = "  ".join(f"{row.measures[m]['value']:7.3f}" for m in MEASURES)
        got = trained[row.source]
        print(
            f"{row.place:2} {row.places}  {row.source:60}  {measures}  | "
            f"{got['accuracy']:.3f} {got['auroc_macro']:.4f} {got['log_loss']:.3f}"
        )
    for which, table in agreement.items():
        print(which, json.dumps(table))
    for step in ranking.suggested:
        print(f"  {step.source} {step.auroc:.4f} {step.gain:+.4f} {step.similarity:.2f}")


if __name__ == "__main__":
    main()
