"""Prediction sets hold the true class as often as promised, where the promise is made."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from medfuse.errors import EvaluationError
from medfuse.evaluation import Predictions
from medfuse.evaluation.abstention import in_set, set_scores
from medfuse.evaluation.conformal_sets import covered, fit_set_limits

CLASSES = ("a", "b", "c")
SPLITS = 200


def drawn(patients: int, rng: np.random.Generator, shift: float = 0.0) -> Predictions:
    """Cases of patients, 1 to 4 each; cases of one patient have the same label and look alike.

    With a ``shift`` the evidence fades while the model stays as sure as it was.
    """
    sizes = rng.integers(1, 5, patients)
    who = np.repeat(np.arange(patients), sizes)
    often = np.array([0.6, 0.3, 0.1])
    labels = rng.choice(3, patients, p=often)[who]
    logits = (1.5 - shift) * np.eye(3)[labels] + rng.normal(size=(patients, 3))[who] + np.log(often)
    logits += 0.3 * rng.normal(size=logits.shape)
    chances = np.exp(2 * logits)
    return Predictions(labels, chances / chances.sum(1, keepdims=True), CLASSES, list(who))


def one_case_each(cases: Predictions) -> Predictions:
    """Return the first case of every patient."""
    first = np.unique(cases.patient_index, return_index=True)[1]
    rows = np.zeros(len(cases), dtype=bool)
    rows[first] = True
    return cases.only(rows)


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_coverage_over_200_exchangeable_splits_lies_within_its_bounds(
    score: str, coverage: float
) -> None:
    """One case a patient: the number of covered test cases is at least beta-binomial."""
    calibration, tested = 99, 100
    rng = np.random.default_rng(1)
    hits, forced = [], []
    for _ in range(SPLITS):
        pool = one_case_each(drawn(calibration + tested, rng))
        rows = rng.permutation(len(pool)) < calibration
        limits = fit_set_limits(pool.only(rows), coverage, score)
        true = np.arange(len(pool)), pool.labels
        inside = (set_scores(pool.probabilities, score) <= limits)[true]
        hits.append(int(inside[~rows].sum()))
        forced.append(int(in_set(pool.probabilities, limits, score)[true][~rows].sum()))
    rank = int(np.ceil((calibration + 1) * coverage))
    exact = betabinom(tested, rank, calibration + 1 - rank)
    spread = exact.std() / np.sqrt(SPLITS)
    assert exact.mean() - 4 * spread < np.mean(hits)
    # without a random number the scores of aps have ties at 1, which can only cover more
    assert score == "aps" or np.mean(hits) < exact.mean() + 4 * spread
    assert (np.array(forced) >= hits).all(), "the most probable class is in every set"
    below = sum(hit < exact.ppf(0.05) for hit in hits)
    assert below <= binom(SPLITS, 0.05).ppf(0.9999)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_a_random_case_of_a_new_patient_is_covered_where_patients_have_several(score: str) -> None:
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(SPLITS):
        limits = fit_set_limits(drawn(99, rng), 0.9, score)
        new = one_case_each(drawn(100, rng))
        rates.append(covered(new, limits, score)["coverage"])
    assert 0.9 - 4 * np.std(rates) / np.sqrt(SPLITS) < np.mean(rates) < 0.95


def test_coverage_fails_visibly_where_the_cases_have_changed() -> None:
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(SPLITS):
        limits = fit_set_limits(drawn(99, rng), 0.9)
        rates.append(covered(one_case_each(drawn(100, rng, shift=1.2)), limits)["coverage"])
    assert np.mean(rates) < 0.8


def test_limits_of_each_class_cover_the_rare_class_as_well() -> None:
    rng = np.random.default_rng(4)
    each: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(SPLITS):
        calibration, new = drawn(250, rng), one_case_each(drawn(250, rng))
        for per_class, rates in each.items():
            limits = fit_set_limits(calibration, 0.9, per_class=per_class)
            row = covered(new, limits)["per_class"]["c"]
            rates.append(row["coverage"])
    assert np.mean(each[False]) < 0.85, "on average over the classes only"
    assert np.mean(each[True]) > 0.9 - 4 * np.std(each[True]) / np.sqrt(SPLITS)


def test_a_class_with_too_few_patients_is_never_ruled_out() -> None:
    cases = drawn(60, np.random.default_rng(0))
    rare = Predictions(
        np.where(cases.labels == 2, 0, cases.labels), cases.probabilities, CLASSES, cases.patients
    )
    limits = fit_set_limits(rare, 0.9, per_class=True)
    assert np.isinf(limits[2])
    assert in_set(np.array([[0.98, 0.01, 0.01]]), limits, "lac")[0, 2]


def test_more_coverage_gives_sets_that_hold_the_smaller_ones() -> None:
    cases = drawn(150, np.random.default_rng(5))
    each = [
        in_set(cases.probabilities, fit_set_limits(cases, level), "lac")
        for level in (0.6, 0.8, 0.95)
    ]
    for smaller, larger in pairwise(each):
        assert (larger | ~smaller).all()


def test_the_order_of_the_cases_does_not_matter() -> None:
    cases, order = drawn(80, np.random.default_rng(6)), np.random.default_rng(7)
    rows = order.permutation(len(cases))
    mixed = Predictions(
        cases.labels[rows], cases.probabilities[rows], CLASSES, [cases.patients[i] for i in rows]
    )
    assert fit_set_limits(cases, 0.9, "aps") == pytest.approx(fit_set_limits(mixed, 0.9, "aps"))


def test_aps_adds_up_what_is_more_probable() -> None:
    found = set_scores(np.array([[0.2, 0.5, 0.3]]), "aps")
    assert found == pytest.approx(np.array([[1.0, 0.5, 0.8]]))
    with pytest.raises(ValueError, match="expected 'lac' or 'aps'"):
        set_scores(np.eye(3), "raps")


def test_no_set_is_empty() -> None:
    assert in_set(np.full((1, 3), 1 / 3), np.zeros(3), "lac").sum() == 1


def test_a_coverage_report_counts_sizes_and_classes() -> None:
    cases = Predictions(np.array([0, 1]), np.array([[0.7, 0.3], [0.6, 0.4]]), ("a", "b"))
    found = covered(cases, np.array([0.65, 0.65]))
    assert found["coverage"] == 1.0
    assert found["sizes"] == [0.5, 0.5]
    assert found["per_class"]["a"]["mean_size"] == 1.0
    with pytest.raises(EvaluationError, match="3 limits, expected 2"):
        covered(cases, np.zeros(3))
