"""From held-out cases to the policy that says when a prediction is not to be believed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfuse.evaluation import Predictions
from medfuse.evaluation.abstention import Abstention, Judgement
from medfuse.evaluation.conformal_sets import fit_set_limits
from medfuse.evaluation.feature_distance import FeatureDistances
from medfuse.workflows.calibrating import held_out_probabilities, labeled_logits
from medfuse.workflows.learn import LearnedModel, LearningTask

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Judged:
    """A policy, and what it says of every case of the cohort.

    Attributes:
        policy: fitted on the held-out cases.
        judgements: one per case of the cohort.
        held_out: labels and calibrated probabilities of the held-out cases; ``None`` without any.
    """

    policy: Abstention
    judgements: Sequence[Judgement]
    held_out: Predictions | None


def judge(task: LearningTask, model: LearnedModel, distances: FeatureDistances) -> Judged:
    """Return the policy that the configuration asks for, and its judgements.

    Args:
        task: what was learned from.
        model: the fused model.
        distances: of `fit_distances`.
    """
    config = task.experiment.evaluation.abstain
    held_out = _held_out(task, model)
    limits = np.zeros(0)
    if config.sets != "none" and held_out is not None:
        limits = fit_set_limits(held_out, config.coverage, config.sets, config.per_class)
        if np.isinf(limits).any():
            _log.warning(
                "%d held-out cases are too few for prediction sets of coverage %g: "
                "classes that cannot be ruled out stay in every set",
                len(held_out), config.coverage,
            )  # fmt: skip
    policy = Abstention(
        distances,
        task.prepared.cohort.classes,
        out_of_distribution=config.out_of_distribution,
        confidence=config.confidence,
        largest_set=config.largest_set,
        set_limits=np.minimum(limits, 2.0).tolist(),  # no score is above 1; JSON has no infinity
        score=config.sets if config.sets != "none" else "lac",
    )
    features = np.concatenate(model.features, axis=1)
    judgements = policy.from_features(model.probabilities, features)
    return Judged(policy, judgements, held_out)


def _held_out(task: LearningTask, model: LearnedModel) -> Predictions | None:
    found = model.held_out
    if not len(found.rows) or model.classifier.head.task == "multilabel":
        return None  # a set of classes is one of classes that exclude each other
    cases = [task.prepared.cohort.cases[row] for row in found.rows]
    known = labeled_logits(task.prepared.cohort, found.rows, found.logits)
    return Predictions(
        labels=known.labels,
        probabilities=held_out_probabilities(known, model.calibration),
        classes=task.prepared.cohort.classes,
        patients=[case.patient_id for case in cases],
    )
