"""From probabilities to metrics with intervals, the paired comparison, and their files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medfuse.config import EvaluationConfig
from medfuse.config.subgroups import MISSING, Subgroup
from medfuse.contract import ComponentSpec, resolve_options
from medfuse.data import Case, Cohort
from medfuse.errors import ConfigError, PluginError
from medfuse.evaluation import (
    EvaluationSettings,
    LabelPredictions,
    LabelThreshold,
    PredictionRow,
    Predictions,
    built_in_metrics,
    choose_thresholds,
    compare,
    evaluate,
    evaluate_labels,
)
from medfuse.evaluation.abstention import Judgement
from medfuse.evaluation.group_differences import group_differences
from medfuse.evaluation.plugin_metrics import Metric
from medfuse.registry import Registry, load_factory
from medfuse.registry.discovery import BLOCK
from medfuse.suggest import did_you_mean
from medfuse.workflows.answers import answers_of
from medfuse.workflows.seen import SeenCases

_log = logging.getLogger(__name__)
ANSWER = "answer"
_ANSWERS = {"ok": "given", "abstained": "abstained"}


def settings_of(config: EvaluationConfig, seed: int, task: str) -> EvaluationSettings:
    """Return how metrics are measured, as the configuration and the head's kind of label ask."""
    return EvaluationSettings(
        bootstrap=config.bootstrap,
        confidence=config.confidence,
        seed=seed,
        minimum_cases=config.minimum_cases,
        ordinal=task == "ordinal",
        order={group.column: (*group.bands, MISSING) for group in config.groups if group.cuts},
    )


def test_rows(cohort: Cohort) -> np.ndarray:
    """Return the positions of the labeled cases of the test part; perhaps none."""
    chosen = [i for i, c in enumerate(cohort.cases) if c.role == "test" and c.labeled]
    return np.array(chosen, dtype=np.int64)


def predictions_of(
    cases: Sequence[Case],
    classes: Sequence[str],
    probabilities: np.ndarray,
    seen: SeenCases | None = None,
    subgroups: Sequence[Subgroup] = (),
) -> Predictions | LabelPredictions:
    """Return the labels and probabilities of labeled cases, grouped by patient, site, inputs,
    subgroups, and by whether they were learned from.
    """
    columns = {
        "site": [case.site for case in cases],
        "inputs": [" + ".join(case.inputs) for case in cases],
        **{g.column: [g.group_of(case.columns[g.column]) for case in cases] for g in subgroups},
        **(seen.groups if seen else {}),
    }
    groups = {name: values for name, values in columns.items() if len(set(values)) > 1}
    patients = tuple(case.patient_id for case in cases)
    if cases and cases[0].findings:
        return LabelPredictions(answers_of(cases), probabilities, classes, patients, groups)
    labels = np.array([case.label for case in cases])
    return Predictions(labels, probabilities, tuple(classes), patients, groups)


def with_thresholds(
    predictions: Predictions | LabelPredictions, thresholds: Sequence[LabelThreshold]
) -> Predictions | LabelPredictions:
    """Return the predictions with the thresholds of their labels; those of classes have none."""
    if not isinstance(predictions, LabelPredictions):
        return predictions
    values = tuple(threshold.value for threshold in thresholds)
    return replace(predictions, thresholds=values)


def thresholds_of(
    config: EvaluationConfig, labels: np.ndarray, probabilities: np.ndarray, held_out: str
) -> tuple[LabelThreshold, ...]:
    """Return from which probability on each of several labels holds.

    Args:
        config: its ``threshold`` is a number, or ``youden``.
        labels: answers ``(N, L)`` of cases that were not trained on, -1 where unknown.
        probabilities: ``(N, L)`` of these cases.
        held_out: what these cases are, in words.
    """
    if config.threshold == "youden":
        return choose_thresholds(labels, probabilities, held_out)
    return (LabelThreshold(config.threshold),) * int(labels.shape[1])


def with_answers(
    predictions: Predictions | LabelPredictions, statuses: Sequence[str]
) -> Predictions | LabelPredictions:
    """Return the predictions, grouped also by whether the model gave an answer or abstained."""
    answers = [_ANSWERS[status] for status in statuses]
    if len(set(answers)) < 2:
        return predictions
    return replace(predictions, groups={**predictions.groups, ANSWER: answers})


def measure(
    predictions: Predictions | LabelPredictions,
    settings: EvaluationSettings,
    metrics: Mapping[str, Metric],
    thresholds: Sequence[LabelThreshold] = (),
) -> dict[str, Any]:
    """Return all metrics, and differences between groups of cases.

    Args:
        predictions: of labeled cases.
        settings: resamples, confidence, smallest group.
        metrics: those of plugins, from `load_metrics`; they are of classes, and of several labels
            left out, as the log says.
        thresholds: of several labels.
    """
    if isinstance(predictions, LabelPredictions):
        if metrics:
            _log.warning("cases have several labels, so not measured: %s", ", ".join(metrics))
        chosen_on = tuple(threshold.chosen_on for threshold in thresholds)
        found = evaluate_labels(predictions, settings, chosen_on)
    else:
        found = evaluate(predictions, settings, metrics)
    # Cases are given or denied an answer for being easy or hard: that they differ is no finding.
    groups = {name: values for name, values in predictions.groups.items() if name != ANSWER}
    compared = replace(predictions, groups=groups)
    return {**found, "group_differences": group_differences(compared, settings)}


def load_metrics(registry: Registry, config: EvaluationConfig) -> dict[str, Metric]:
    """Return the metric functions of all plugins, ready to be called, by the name they report.

    A name that a built-in metric or another plugin has too is reported as ``plugin:name``.
    Called when a command starts, so that nothing is lost to a plugin that cannot be used.

    Args:
        registry: knows the plugins.
        config: holds options under ``metrics``.

    Raises:
        ConfigError: options for an unknown metric, or options that it refuses.
        PluginError: a metric cannot be imported or made; names its plugin.
    """
    found = list(registry.components("metric"))
    counts = Counter(spec.name for _, spec in found)
    taken = {name for name, count in counts.items() if count > 1} | built_in_metrics()
    named = {
        f"{plugin}:{spec.name}" if spec.name in taken else spec.name: (plugin, spec)
        for plugin, spec in found
    }
    options = _metric_options(config.metrics, named)
    return {
        name: _made(plugin, spec, options.get(name, {})) for name, (plugin, spec) in named.items()
    }


def _metric_options(
    given: Mapping[str, Mapping[str, Any]], named: Mapping[str, tuple[str, ComponentSpec]]
) -> dict[str, Mapping[str, Any]]:
    """Return the options by reported name; ``plugin:name`` is understood for every metric."""
    reported = {f"{plugin}:{spec.name}": name for name, (plugin, spec) in named.items()}
    unknown = sorted(set(given) - set(named) - set(reported))
    if unknown:
        known = ", ".join(named) or "none: no installed plugin has one"
        raise ConfigError(
            f"evaluation.metrics: no plugin has a metric {unknown[0]!r}, expected one of {known}."
            f"{did_you_mean(unknown[0], named)}"
        )
    return {reported.get(name, name): options for name, options in given.items()}


def _made(plugin: str, spec: ComponentSpec, options: Mapping[str, Any]) -> Metric:
    resolved = resolve_options(spec.options, options, f"metric '{plugin}:{spec.name}'")
    try:
        metric: Metric = load_factory(spec)(**resolved)
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        raise PluginError(
            f"plugin {plugin}: metric {spec.name!r} cannot be used: {reason} "
            f"Set {BLOCK}={plugin} to go without the plugin."
        ) from error
    if not callable(metric):
        raise PluginError(
            f"plugin {plugin}: the factory of metric {spec.name!r} gave a "
            f"{type(metric).__name__}, expected a function of labels and probabilities. "
            f"Set {BLOCK}={plugin} to go without the plugin."
        )
    return metric


def compare_with_singles(
    fused: Predictions | LabelPredictions,
    singles: Mapping[str, Predictions | LabelPredictions],
    settings: EvaluationSettings,
    visible: Mapping[str, np.ndarray],
) -> dict[str, Any] | None:
    """Return the paired comparison with each single source; ``None`` where there is one only.

    Args:
        fused: of the model of all sources.
        singles: of the models of one source each, on the same cases, by label.
        settings: how metrics are measured.
        visible: which cases ``(N,)`` have the input that a source reads, by its label.
    """
    return compare(fused, singles, settings, visible) if len(singles) > 1 else None


def prediction_rows(
    cohort: Cohort,
    probabilities: np.ndarray,
    shares: np.ndarray | None,
    sources: Sequence[str],
    thresholds: Sequence[LabelThreshold] = (),
) -> list[PredictionRow]:
    """Return one row for every case of the cohort, in its order."""
    rows = []
    for i, case in enumerate(cohort.cases):
        rows.append(
            PredictionRow(
                case_id=case.case_id,
                role=case.role or "",
                label=cohort.truth(case),
                predicted=predicted_names(cohort.classes, probabilities[i], thresholds),
                probabilities=[float(p) for p in probabilities[i]],
                shares=_shares(shares, i, sources),
                findings=case.findings,
            )
        )
    return rows


def predicted_names(
    classes: Sequence[str], chances: np.ndarray, thresholds: Sequence[LabelThreshold]
) -> str:
    """Return the most probable class; of several labels those that hold, joined by ``;``."""
    if not thresholds:
        return classes[int(chances.argmax())]
    rows = zip(classes, chances, thresholds, strict=True)
    return ";".join(name for name, chance, limit in rows if chance >= limit.value)


def with_judgements(
    rows: Sequence[PredictionRow], judgements: Sequence[Judgement]
) -> list[PredictionRow]:
    """Return the rows with what is said of each: no class is predicted where it abstained."""
    return [
        replace(
            row,
            status="ok" if judged.status == "ok" else "abstained",
            reason_code=judged.reason_code,
            predicted=row.predicted if judged.status == "ok" else "",
            conformal_set=judged.conformal_set,
            distances=judged.distances,
        )
        for row, judged in zip(rows, judgements, strict=True)
    ]


def _shares(shares: np.ndarray | None, row: int, sources: Sequence[str]) -> dict[str, float]:
    if shares is None:
        return {}
    return {name: float(share) for name, share in zip(sources, shares[row], strict=True)}
