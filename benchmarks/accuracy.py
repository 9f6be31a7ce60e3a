"""Accuracy of the recipes over several seeds (and folds): the table of docs/results.md.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/accuracy.py --out accuracy.json

Each run trains as `medfuse train RECIPE --set seed=S` does, on the same bank, without writing a
bundle. Nothing is chosen here: every seed and every fold is reported.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from medfuse.config import ComponentConfig, Experiment, load_experiment
from medfuse.evaluation import EvaluationSettings, Predictions, compare, evaluate
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.workflows.extract import extract, load_networks, with_tables
from medfuse.workflows.learn import LearningTask, learn
from medfuse.workflows.measure import predictions_of, test_rows
from medfuse.workflows.prepare import prepare_cohort

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SETTINGS = EvaluationSettings(bootstrap=1000)


def main() -> None:
    """Run what is asked for and print one line a run and a summary a recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipes", nargs="*", default=["brain_mri4", "pneumoniamnist", "cxr_covid3"]
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="of those to run")
    parser.add_argument("--singles", type=int, default=5, help="seeds with single sources too")
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.recipes:
        runs = [
            row
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
            for row in runs_of(
                name,
                [
                    *arguments.set,
                    f"seed={seed}",
                    f"evaluation.baselines={str(seed < arguments.singles).lower()}",
                ],
            )
        ]
        results[name] = {"runs": runs, "summary": summary(runs)}
        print(name, json.dumps(results[name]["summary"], indent=2), flush=True)
        arguments.out.write_text(json.dumps(results, indent=2))


def runs_of(name: str, overrides: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the result of one seed: of every fold, where the recipe has folds."""
    experiment = load_experiment(RECIPES / f"{name}.yaml", overrides)
    folds = range(experiment.cohort.split.folds or 1)
    for fold in folds:
        changes = overrides if len(folds) == 1 else [*overrides, f"cohort.split.fold={fold}"]
        row = run(load_experiment(RECIPES / f"{name}.yaml", changes))
        row.update(seed=experiment.seed, fold=fold)
        print(name, json.dumps(row), flush=True)
        yield row


def run(experiment: Experiment) -> dict[str, Any]:
    """Return accuracy and AUROC of the fused model and of each source, and the paired test."""
    registry, bank = load_registry(), FeatureBank(experiment.bank.path)
    prepared = prepare_cohort(experiment, bank, progress=False)
    read = {name: found.config for name, found in prepared.inputs.items()}
    sources = with_tables(experiment, load_networks(experiment, registry, read), prepared)
    task = LearningTask(
        experiment, registry, prepared, extract(experiment, prepared, sources, bank, progress=False)
    )
    fused = predicted(task, experiment.fusion, range(len(sources)))
    result = {"dropped": prepared.leaks.summary()["dropped"], "fused": scores(fused)}
    if not experiment.evaluation.baselines:
        return result
    alone = ComponentConfig(use="concat")
    singles = {f"source {i}": predicted(task, alone, [i]) for i in range(len(sources))}
    verdict = compare(fused, singles, SETTINGS)
    return {
        **result,
        **{name: scores(found) for name, found in singles.items()},
        "p": {row["source"]: row["p_adjusted"] for row in verdict["sources"]},
        "gain": {row["source"]: row["auroc"]["difference"] for row in verdict["sources"]},
    }


def predicted(task: LearningTask, fusion: ComponentConfig, chosen: Any) -> Predictions:
    """Return the test predictions of a model of the chosen sources."""
    model = learn(task, fusion, list(chosen), None)
    cohort = task.prepared.cohort
    rows = test_rows(cohort)
    return predictions_of(
        [cohort.cases[i] for i in rows], cohort.classes, model.probabilities[rows]
    )


def scores(predictions: Predictions) -> dict[str, float]:
    """Return accuracy, macro AUROC and calibration error."""
    overall = evaluate(predictions, EvaluationSettings(bootstrap=0))["overall"]
    return {key: overall[key]["value"] for key in ("accuracy", "auroc_macro", "ece")}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means and standard deviations over seeds; folds of a seed are averaged first.

    ``t`` is the paired t-test over seeds and folds of fused against single accuracy.
    """
    names = [name for name in runs[0] if isinstance(runs[0][name], dict) and "ece" in runs[0][name]]
    seeds = sorted({row["seed"] for row in runs})
    table: dict[str, Any] = {"seeds": len(seeds), "runs": len(runs)}
    for name in names:
        having = [s for s in seeds if any(name in r for r in runs if r["seed"] == s)]
        table[name] = {
            key: spread([np.mean([r[name][key] for r in runs if r["seed"] == s]) for s in having])
            for key in ("accuracy", "auroc_macro", "ece")
        }
    for name in names[1:]:
        gains = [r["fused"]["accuracy"] - r[name]["accuracy"] for r in runs if name in r]
        if len(gains) > 1 and np.ptp(gains) > 0:
            table[name]["t"] = float(stats.ttest_1samp(gains, 0).pvalue)
    return table


def spread(values: list[Any]) -> dict[str, float]:
    """Return mean and standard deviation."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": deviation}


if __name__ == "__main__":
    main()
