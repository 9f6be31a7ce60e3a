"""From probabilities to metrics with intervals, the paired comparison, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medfuse.config import EvaluationConfig
from medfuse.data import Case, Cohort
from medfuse.evaluation import (
    EvaluationSettings,
    PredictionRow,
    Predictions,
    compare,
    evaluate,
)
from medfuse.registry import Registry, load_factory
from medfuse.workflows.seen import SeenCases


def settings_of(config: EvaluationConfig, seed: int) -> EvaluationSettings:
    """Return how metrics are measured, as the configuration asks."""
    return EvaluationSettings(bootstrap=config.bootstrap, confidence=config.confidence, seed=seed)


def test_rows(cohort: Cohort) -> np.ndarray:
    """Return the positions of the labeled cases of the test part; perhaps none."""
    chosen = [i for i, c in enumerate(cohort.cases) if c.role == "test" and c.label is not None]
    return np.array(chosen, dtype=np.int64)


def predictions_of(
    cases: Sequence[Case],
    classes: Sequence[str],
    probabilities: np.ndarray,
    seen: SeenCases | None = None,
) -> Predictions:
    """Return the labels and probabilities of labeled cases, grouped by patient, site, inputs, and
    by whether they were learned from.
    """
    columns = {
        "site": [case.site for case in cases],
        "inputs": [" + ".join(case.inputs) for case in cases],
        **(seen.groups if seen else {}),
    }
    return Predictions(
        labels=np.array([case.label for case in cases]),
        probabilities=probabilities,
        classes=tuple(classes),
        patients=tuple(case.patient_id for case in cases),
        groups={name: values for name, values in columns.items() if len(set(values)) > 1},
    )


def measure(
    predictions: Predictions, settings: EvaluationSettings, registry: Registry
) -> dict[str, Any]:
    """Return all metrics, those of plugins included."""
    return evaluate(predictions, settings, plugin_metrics(registry))


def plugin_metrics(registry: Registry) -> dict[str, Any]:
    """Return the metric functions of all plugins, by name."""
    return {spec.name: load_factory(spec)() for _, spec in registry.components("metric")}


def compare_with_singles(
    fused: Predictions,
    singles: Mapping[str, Predictions],
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
) -> list[PredictionRow]:
    """Return one row for every case of the cohort, in its order."""
    rows = []
    for i, case in enumerate(cohort.cases):
        rows.append(
            PredictionRow(
                case_id=case.case_id,
                role=case.role or "",
                label="" if case.label is None else cohort.classes[case.label],
                predicted=cohort.classes[int(probabilities[i].argmax())],
                probabilities=[float(p) for p in probabilities[i]],
                shares=_shares(shares, i, sources),
            )
        )
    return rows


def _shares(shares: np.ndarray | None, row: int, sources: Sequence[str]) -> dict[str, float]:
    if shares is None:
        return {}
    return {name: float(share) for name, share in zip(sources, shares[row], strict=True)}
