"""Calibration on held-out cases: what is fitted, and which method is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from medfuse.evaluation import Predictions
from medfuse.evaluation.conformal_sets import covered, fit_set_limits
from medfuse.training.calibration import (
    FEWEST_PATIENTS,
    HeldOutLogits,
    calibrate,
    choose_method,
    cross_calibrated,
)
from medfuse.training.dirichlet import _solve
from medfuse.training.isotonic import fit_isotonic

SKEWED = np.array([[1.0, 0.7, 0.0, 1.0], [0.0, 1.0, 0.7, 0.0], [0.7, 0.0, 1.0, -1.0]])


def drawn(count: int, seed: int = 0, skew: np.ndarray | None = None) -> HeldOutLogits:
    """Cases whose labels follow honest logits; told are twice them, or classes mixed up."""
    numbers = np.random.default_rng(seed)
    honest = numbers.normal(size=(count, 3)) * 2
    labels = (honest + numbers.gumbel(size=honest.shape)).argmax(1)
    told = honest * 2 if skew is None else honest @ skew[:, :3].T + skew[:, 3]
    return HeldOutLogits(told, labels, np.arange(count))


def loss(cases: HeldOutLogits, logits: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(logits)), cases.labels].mean())


def test_dirichlet_undoes_what_no_temperature_can() -> None:
    fitted, new = drawn(2000, skew=SKEWED), drawn(4000, 1, SKEWED)
    honest = drawn(4000, 1, np.eye(3, 4))
    by = {m: loss(new, calibrate(fitted, m)(new.logits)) for m in ("temperature", "dirichlet")}
    assert by["dirichlet"] < by["temperature"] - 0.05
    assert by["dirichlet"] == pytest.approx(loss(honest, honest.logits), abs=0.01)


def test_without_regularization_dirichlet_is_logistic_regression_of_log_probabilities() -> None:
    cases = drawn(500, skew=SKEWED)
    inputs = log_softmax(cases.logits, axis=1)
    weights = _solve(inputs, cases.labels, 0.0)
    other = LogisticRegression(C=1e9, max_iter=5000, tol=1e-8).fit(inputs, cases.labels)
    found = softmax(inputs @ weights[:, :-1].T + weights[:, -1], axis=1)
    np.testing.assert_allclose(found, other.predict_proba(inputs), atol=2e-3)


def test_the_largest_strength_leaves_no_more_than_a_factor_for_each_class() -> None:
    cases = drawn(300)
    weights = _solve(log_softmax(cases.logits, axis=1), cases.labels, 1e6)
    assert np.abs(weights - np.eye(3, 4) * np.diagonal(weights)[:, None]).max() < 1e-4


def test_isotonic_frequencies_are_those_of_scikit_learn() -> None:
    """At the middle of a block both say the same, where no frequency is 0 or 1."""
    cases = drawn(3000)
    odds = cases.logits[:, 1] - np.logaddexp(cases.logits[:, 0], cases.logits[:, 2])
    oracle = IsotonicRegression().fit(odds, cases.labels == 1)
    module = fit_isotonic(cases.logits, cases.labels)
    at, chance = module.at[1].numpy(), module.value[1].sigmoid().numpy()
    inner = (chance > 0.02) & (chance < 0.98)
    assert inner.sum() > 5
    np.testing.assert_allclose(chance[inner], oracle.predict(at[inner]), atol=0.05)
    assert np.median(np.abs(chance[inner] - oracle.predict(at[inner]))) < 1e-5
    assert (np.diff(at) >= 0).all()
    assert (np.diff(chance) >= 0).all()


def test_isotonic_never_calls_a_class_impossible() -> None:
    cases = HeldOutLogits(np.eye(2)[[0, 1] * 20] * 9, np.array([0, 1] * 20), np.arange(40))
    said = softmax(calibrate(cases, "isotonic")(np.array([[50.0, -50.0]])), axis=1)
    assert said[0, 1] == pytest.approx(1 / 22)


@pytest.mark.parametrize("method", ["dirichlet", "isotonic"])
def test_two_classes_mirror_each_other(method: str) -> None:
    cases = drawn(400)
    logits = np.stack([np.zeros(400), cases.logits[:, 0]], axis=1)
    labels = (cases.labels == 0).astype(int)
    one = calibrate(HeldOutLogits(logits, labels, cases.groups), method)(logits)
    other = calibrate(HeldOutLogits(logits[:, ::-1].copy(), 1 - labels, cases.groups), method)(
        logits[:, ::-1].copy()
    )
    np.testing.assert_allclose(softmax(one, axis=1), softmax(other, axis=1)[:, ::-1], atol=1e-4)


@pytest.mark.slow
def test_a_temperature_is_kept_where_it_is_the_truth() -> None:
    chosen = [choose_method(drawn(FEWEST_PATIENTS["dirichlet"], seed))[0] for seed in range(6)]
    assert chosen == ["temperature"] * 6


def test_a_skew_is_seen_and_the_simpler_of_the_two_maps_taken() -> None:
    method, facts = choose_method(drawn(FEWEST_PATIENTS["isotonic"], skew=SKEWED))
    assert method == "dirichlet"
    assert [row["method"] for row in facts["compared"]] == ["temperature", "dirichlet", "isotonic"]
    assert facts["compared"][1]["gain"] > 2 * facts["compared"][1]["standard_error"]


def test_few_patients_get_a_temperature_however_many_cases_they_have() -> None:
    many = drawn(1000, skew=SKEWED)
    few = HeldOutLogits(many.logits, many.labels, np.arange(1000) % 150)
    method, facts = choose_method(few)
    assert method == "temperature"
    assert facts["left_out"]["dirichlet"] == "150 held-out patients, 200 are needed"


def test_a_case_is_cross_calibrated_by_other_patients() -> None:
    cases = drawn(200)
    flipped = cases.labels.copy()
    flipped[cases.groups == 7] = (flipped[cases.groups == 7] + 1) % 3
    one, other = (
        cross_calibrated(HeldOutLogits(cases.logits, labels, cases.groups), "isotonic")
        for labels in (cases.labels, flipped)
    )
    own = cases.groups == 7
    np.testing.assert_array_equal(one[own], other[own])
    assert not np.array_equal(one[~own], other[~own])


@pytest.mark.slow
def test_sets_keep_their_coverage_only_if_the_map_did_not_know_the_cases() -> None:
    """Isotonic regression on 60 cases, sets of the same 60; 60 repeats, 300 new cases each."""
    kept = {True: [], False: []}
    for seed in range(60):
        cases, new = drawn(60, seed), drawn(300, 1000 + seed)
        calibration = calibrate(cases, "isotonic")
        told = softmax(calibration(new.logits), axis=1)
        for crossed, coverages in kept.items():
            logits = cross_calibrated(cases, "isotonic") if crossed else calibration(cases.logits)
            known = Predictions(cases.labels, softmax(logits, axis=1), "abc")
            limits = fit_set_limits(known, 0.9, "lac")
            found = covered(Predictions(new.labels, told, "abc"), np.minimum(limits, 2.0))
            coverages.append(found["coverage"])
    assert np.mean(kept[True]) > 0.89
    assert np.mean(kept[False]) < np.mean(kept[True]) - 0.01
