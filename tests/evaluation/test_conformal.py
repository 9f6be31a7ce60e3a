"""The quantile below which a new case lies as often as was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.errors import EvaluationError
from medfuse.evaluation.conformal import conformal_quantile, patients_needed


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [19, 20, 99, 100, 137])
def test_it_is_the_ranked_score_of_the_definition(count: int, level: float) -> None:
    scores = np.random.default_rng(count).normal(size=count)
    rank = int(np.ceil(np.round((count + 1) * level, 9)))
    assert conformal_quantile(scores, level) == np.sort(scores)[rank - 1]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99, 0.975])
def test_a_quantile_is_finite_from_the_number_of_patients_that_is_told(level: float) -> None:
    needed = patients_needed(level)
    assert np.isfinite(conformal_quantile(np.arange(needed), level))
    assert not np.isfinite(conformal_quantile(np.arange(needed - 1), level))


def test_too_few_scores_give_no_bound() -> None:
    scores = np.arange(18.0)
    assert conformal_quantile(scores, 0.95) == np.inf
    assert conformal_quantile(np.arange(19.0), 0.95) == 18
    assert conformal_quantile(np.zeros(0), 0.5) == np.inf


def test_order_does_not_matter_and_a_higher_level_is_never_lower() -> None:
    rng = np.random.default_rng(3)
    scores, patients = rng.normal(size=80), rng.integers(0, 30, 80)
    order = rng.permutation(80)
    found = [conformal_quantile(scores, level, patients) for level in (0.5, 0.7, 0.9)]
    again = [conformal_quantile(scores[order], level, patients[order]) for level in (0.5, 0.7, 0.9)]
    assert found == again == sorted(found)


def test_a_patient_of_many_cases_weighs_as_much_as_one_of_a_single_case() -> None:
    scores = np.arange(30.0)
    repeated = np.concatenate([scores, np.full(500, 29.0)])
    patients = [*range(30), *[29] * 500]
    assert conformal_quantile(repeated, 0.8, patients) == conformal_quantile(scores, 0.8)
    assert conformal_quantile(repeated, 0.8) == 29.0


def test_patients_with_several_cases_are_covered_as_often_as_was_asked() -> None:
    """A new patient's random case, 4000 draws; cases of one patient are almost the same."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(4000):
        who = np.repeat(np.arange(40), rng.integers(1, 8, 40))
        scores = rng.normal(size=40)[who] + 0.1 * rng.normal(size=len(who))
        new = rng.normal() + 0.1 * rng.normal()
        inside.append(new <= conformal_quantile(scores, 0.9, who))
    expected, spread = 0.9, np.sqrt(0.9 * 0.1 / 4000)
    assert expected - 4 * spread < np.mean(inside) < expected + 1 / 41 + 4 * spread


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(EvaluationError, match=r"expected a level between 0 and 1"):
        conformal_quantile(np.zeros(4), level)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(EvaluationError, match="1 scores that are not numbers"):
        conformal_quantile(np.array([0.0, np.nan]), 0.5)
