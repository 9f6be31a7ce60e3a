"""Risk over coverage, by hand and against a second implementation."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.evaluation import Predictions
from medfuse.evaluation.selective import risk_coverage


def cases_of(confidence: list[float], right: list[bool]) -> Predictions:
    rows = np.array([[p, 1 - p] for p in confidence])
    return Predictions(np.array([0 if r else 1 for r in right]), rows, ("a", "b"))


def test_the_curve_of_four_cases() -> None:
    found = risk_coverage(cases_of([0.6, 0.9, 0.8, 0.7], [False, True, False, True]))
    assert found["coverage"] == [0.25, 0.5, 0.75, 1.0]
    assert found["risk"] == pytest.approx([0.0, 0.5, 1 / 3, 0.5])
    assert found["aurc"] == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    assert found["excess"] == pytest.approx(found["aurc"] - (0 + 0 + 1 / 3 + 0.5) / 4)


def test_it_is_the_mean_risk_of_every_threshold() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200)
    cases = cases_of(confidence.tolist(), (rng.uniform(size=200) < confidence).tolist())
    wrong = cases.predicted != cases.labels
    slow = [wrong[cases.probabilities.max(1) >= c].mean() for c in cases.probabilities.max(1)]
    assert risk_coverage(cases)["aurc"] == pytest.approx(np.mean(slow))


def test_cases_of_one_confidence_are_accepted_together_in_any_order() -> None:
    one = risk_coverage(cases_of([0.8] * 4, [True, False, True, True]))
    other = risk_coverage(cases_of([0.8] * 4, [True, True, True, False]))
    assert one == other
    assert (one["coverage"], one["risk"]) == ([1.0], [0.25])


def test_errors_that_are_the_least_sure_leave_no_excess() -> None:
    found = risk_coverage(cases_of([0.95, 0.9, 0.6, 0.55], [True, True, False, False]))
    assert found["excess"] == pytest.approx(0.0)
