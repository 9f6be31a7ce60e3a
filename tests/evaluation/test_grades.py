"""How far predicted grades are off, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from medfuse.evaluation import EvaluationSettings, Predictions, evaluate
from medfuse.evaluation.scores import OVERALL, grade_scores

GRADED = EvaluationSettings(bootstrap=200, ordinal=True)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_values_are_those_of_scikit_learn(sample, classes: int) -> None:
    given = sample(classes=classes)
    overall = evaluate(given, GRADED)["overall"]
    kappa = cohen_kappa_score(given.labels, given.predicted, weights="quadratic")
    assert overall["quadratic_kappa"]["value"] == pytest.approx(kappa)
    error = mean_absolute_error(given.labels, given.predicted)
    assert overall["mean_absolute_error"]["value"] == pytest.approx(error)


def test_each_resample_is_measured_as_its_repeated_cases(sample) -> None:
    given = sample(cases=40)
    weights = np.random.default_rng(0).integers(0, 3, (3, 40)).astype(float)
    table = grade_scores(given, weights)
    for row, counts in enumerate(weights.astype(int)):
        labels, predicted = (np.repeat(x, counts) for x in (given.labels, given.predicted))
        kappa = cohen_kappa_score(labels, predicted, weights="quadratic")
        assert table["quadratic_kappa", OVERALL][row] == pytest.approx(kappa)
        error = mean_absolute_error(labels, predicted)
        assert table["mean_absolute_error", OVERALL][row] == pytest.approx(error)


def test_intervals_hold_the_values(sample) -> None:
    overall = evaluate(sample(per_patient=2), GRADED)["overall"]
    for name in ("quadratic_kappa", "mean_absolute_error"):
        entry = overall[name]
        assert entry["low"] < entry["value"] < entry["high"]


def test_a_single_grade_has_no_kappa_and_says_why() -> None:
    given = Predictions(np.zeros(4, int), np.tile([0.9, 0.1], (4, 1)), ("low", "high"))
    entry = evaluate(given, GRADED)["overall"]["quadratic_kappa"]
    assert entry["value"] is None
    assert entry["reason"] == "truth and prediction are one single grade"


def test_classes_without_order_are_not_measured_as_grades(sample) -> None:
    assert "quadratic_kappa" not in evaluate(sample(), EvaluationSettings(bootstrap=0))["overall"]
