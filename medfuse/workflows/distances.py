"""From a trained model to the distances that tell whether a case is like those it learned from."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from medfuse.evaluation.conformal import patients_needed
from medfuse.evaluation.feature_distance import FeatureDistances, SourceDistance
from medfuse.evaluation.feature_statistics import (
    FeatureCases,
    fit_distance,
    held_out_distances,
    with_limits,
)
from medfuse.workflows.learn import LearnedModel, LearningTask

_log = logging.getLogger(__name__)


def fit_distances(task: LearningTask, model: LearnedModel) -> FeatureDistances:
    """Return the distance of each source, fitted on the cases that were learned from.

    The limits come from the calibration part, else from the validation part where the model did
    not learn from it, else from the same cases, each seen from four fifths of the patients.

    Args:
        task: what was learned from.
        model: the fused model.
    """
    held_out, acceptance = model.held_out, task.experiment.evaluation.abstain.acceptance
    learned = _cases(task, model, held_out.learned)
    labels = [source.label for source in task.features.sources]
    pairs = zip(labels, learned.features, strict=True)
    sources = [fit_distance(x, label=label) for label, x in pairs]
    apart = not np.isin(held_out.rows, held_out.learned).any() and len(held_out.rows) > 0
    tested = _cases(task, model, held_out.rows) if apart else learned
    distances = (
        np.stack([s(x) for s, x in zip(sources, tested.features, strict=True)], axis=1)
        if apart
        else held_out_distances(learned, seed=task.experiment.seed)
    )
    limited = with_limits(sources, distances, acceptance, tested.patients)
    _warn_of_same_features(learned, labels)
    _warn_of_no_limit(limited, _fewest_patients(distances, tested.patients), acceptance)
    placed = [
        SourceDistance(**{**vars(source), "position": position})
        for source, position in zip(limited, task.features.inputs, strict=True)
    ]
    return FeatureDistances(
        tuple(placed),
        {
            "acceptance": acceptance,
            "fitted_on": len(learned),
            "limits_from": held_out.described if apart else "folds of the cases learned from",
            "held_out": len(tested),
        },
    )


def _cases(task: LearningTask, model: LearnedModel, rows: np.ndarray) -> FeatureCases:
    cases = [task.prepared.cohort.cases[row] for row in rows]
    # Means of classes were found to tell nothing more than one of all, and need labels (ADR 14).
    return FeatureCases([x[rows] for x in model.features], None, [c.patient_id for c in cases])


def _fewest_patients(distances: np.ndarray, patients: Sequence[object]) -> int:
    """Return how many patients the source has that the fewest of them have."""
    known = np.isfinite(distances)
    return min(len({str(patients[int(row)]) for row in np.flatnonzero(there)}) for there in known.T)


def _warn_of_same_features(cases: FeatureCases, labels: Sequence[str]) -> None:
    """Name the sources that do not tell any two cases apart, as a network that died does."""
    for label, features in zip(labels, cases.features, strict=True):
        known = features[~np.isnan(features).any(1)]
        if len(known) > 1 and not np.ptp(known, axis=0).any():
            _log.warning(
                "%s gives all %d cases the same features: it tells nothing. Where it was trained, "
                "lower training.lr or begin from pretrained weights",
                label, len(known),
            )  # fmt: skip


def _warn_of_no_limit(sources: Sequence[SourceDistance], patients: int, acceptance: float) -> None:
    without = [source.label for source in sources if not np.isfinite(source.limit)]
    if without and patients < patients_needed(acceptance):
        _log.warning(
            "%d held-out patients are too few for a limit of the feature distance of %s: nothing "
            "is called out of distribution there; evaluation.abstain.acceptance %g needs %d",
            patients, ", ".join(without), acceptance, patients_needed(acceptance),
        )  # fmt: skip
