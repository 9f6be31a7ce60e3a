"""Paired tests against published numbers, other implementations and simulations."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from medfuse.errors import EvaluationError
from medfuse.evaluation import (
    EvaluationSettings,
    Predictions,
    bootstrap_difference,
    delong,
    holm,
    mcnemar,
)

# Ovarian cancer patients of DeLong et al. (1988), as printed with SAS/STAT's PROC LOGISTIC,
# "Comparing Receiver Operating Characteristic Curves": albumin, total protein, K-G score and
# whether the patient is (0) or is not (1) to be operated on.
OVARIAN = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1
3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0
2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1
3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0
3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""


@pytest.mark.parametrize(
    ("column", "area", "gap", "chi_square", "p_value"),
    [(0, 0.7366, 0.0108, 0.0127, 0.9102), (1, 0.6478, -0.0780, 0.5554, 0.4561)],
)
def test_delong_gives_the_published_numbers_of_the_ovarian_cancer_study(
    column: int, area: float, gap: float, chi_square: float, p_value: float
) -> None:
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    score = 10 - table[:, 2]
    result = delong(table[:, 3] == 1, table[:, column], score)
    assert result.first == pytest.approx(area, abs=5e-5)
    assert result.second == pytest.approx(0.7258, abs=5e-5)
    assert result.difference == pytest.approx(gap, abs=6e-5)
    assert norm.isf(result.p_value / 2) ** 2 == pytest.approx(chi_square, abs=5e-5)
    assert result.p_value == pytest.approx(p_value, abs=5e-5)


def _slow_delong(truth: np.ndarray, scores: np.ndarray) -> float:
    """Variance of the difference from all pairs, as in the paper's equations (3) to (5)."""
    wins = (scores[:, truth][:, :, None] > scores[:, ~truth][:, None, :]) * 1.0
    wins += 0.5 * (scores[:, truth][:, :, None] == scores[:, ~truth][:, None, :])
    covariance = np.cov(wins.mean(2)) / truth.sum() + np.cov(wins.mean(1)) / (~truth).sum()
    return covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


@given(st.integers(0, 10_000), st.sampled_from([4, 1000]))
@settings(max_examples=50, deadline=None)
def test_fast_delong_equals_the_definition_over_all_pairs(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.append(rng.random(26) < 0.5, [True, True, False, False])
    scores = np.floor(rng.random((2, 30)) * levels) + truth
    result = delong(truth, *scores)
    variance = _slow_delong(truth, scores)
    if result.high is not None:
        error = (result.high - result.difference) / norm.ppf(0.975)
        assert error**2 == pytest.approx(variance, abs=1e-12)


def test_delong_with_one_case_per_patient_is_the_unclustered_test() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(50) < 0.4
    first, second = rng.normal(size=(2, 50)) + truth
    plain, clustered = delong(truth, first, second), delong(truth, first, second, np.arange(50))
    assert clustered.p_value == pytest.approx(plain.p_value)
    assert clustered.test == "DeLong, clustered by patient"


def test_delong_by_patient_does_not_gain_from_copies_of_images() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.5
    first, second = rng.normal(size=(2, 60)) + np.array([[1.5], [1.0]]) * truth
    once = delong(truth, first, second)
    ids = np.repeat(np.arange(60), 4)
    copied = delong(truth[ids], first[ids], second[ids], ids)
    naive = delong(truth[ids], first[ids], second[ids])
    # Equal up to the correction n / (n - 1), counted in patients.
    assert copied.p_value == pytest.approx(once.p_value, rel=1e-6)
    assert naive.p_value < once.p_value


def test_delong_by_patient_is_obuchowskis_variance_where_patients_have_both_kinds_of_cases() -> (
    None
):
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(20), 4)
    truth = rng.random(80) < 0.5
    scores = rng.normal(size=(2, 80)) + truth + rng.normal(size=(2, 20))[:, patients]
    wins = (scores[0][truth][:, None] > scores[0][~truth]) * 1.0
    wins -= (scores[1][truth][:, None] > scores[1][~truth]) * 1.0
    gap = wins.mean()
    # Obuchowski (1997), equations for S10, S01 and S11, written for the difference of two areas.
    own = {i: (truth[patients == i].sum(), (~truth[patients == i]).sum()) for i in range(20)}
    s10 = s01 = s11 = 0.0
    for i, (positives, negatives) in own.items():
        v10 = wins.mean(1)[patients[truth] == i].sum() - positives * gap
        v01 = wins.mean(0)[patients[~truth] == i].sum() - negatives * gap
        s10, s01, s11 = s10 + v10**2, s01 + v01**2, s11 + v10 * v01
    m, n = truth.sum(), (~truth).sum()
    i10, i01 = (sum(pair[k] > 0 for pair in own.values()) for k in (0, 1))
    variance = i10 / (i10 - 1) * s10 / m**2 + i01 / (i01 - 1) * s01 / n**2
    variance += 2 * 20 / 19 * s11 / (m * n)
    result = delong(truth, *scores, patients)
    error = (result.high - result.difference) / norm.ppf(0.975)
    assert result.difference == pytest.approx(gap)
    assert error**2 == pytest.approx(variance)


def test_delong_of_a_classifier_with_itself_finds_no_difference() -> None:
    truth, score = np.arange(20) % 2 == 0, np.arange(20.0)
    result = delong(truth, score, score)
    assert (result.difference, result.p_value) == (0, 1)


def test_delong_refuses_too_few_cases() -> None:
    with pytest.raises(EvaluationError, match="1 positive and 3 negative"):
        delong([1, 0, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4])


@pytest.mark.slow
@pytest.mark.long
def test_paired_tests_claim_a_difference_of_equal_classifiers_in_five_percent() -> None:
    rng = np.random.default_rng(7)
    trials, p_delong, p_bootstrap = 400, [], []
    for _ in range(trials):
        # Three images a patient; the two classifiers are equally good and correlated.
        truth = np.repeat(rng.random(40) < 0.5, 3)
        shared = np.repeat(rng.normal(size=40), 3) + rng.normal(size=120)
        own = np.repeat(rng.normal(size=(2, 40)), 3, axis=1) + rng.normal(size=(2, 120))
        first, second = truth + shared + own
        patients = np.repeat(np.arange(40), 3)
        p_delong.append(delong(truth, first, second, patients).p_value)
        chance = [1 / (1 + np.exp(-s)) for s in (first, second)]
        both = [
            Predictions(truth.astype(int), np.c_[1 - c, c], ["a", "b"], patients) for c in chance
        ]
        settings = EvaluationSettings(bootstrap=200)
        p_bootstrap.append(bootstrap_difference(*both, "auroc_macro", settings).p_value)
    for p_values in (p_delong, p_bootstrap):
        assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.085


@given(st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_mcnemar_equals_statsmodels(only_first: int, only_second: int) -> None:
    first = np.array([1] * only_first + [0] * only_second + [1] * 5 + [0] * 3)
    second = np.array([0] * only_first + [1] * only_second + [1] * 5 + [0] * 3)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (only_first, only_second)
    if only_first + only_second:
        table = [[5, only_first], [only_second, 3]]
        assert result.p_exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    else:
        assert result.p_exact == result.p_mid == 1


@pytest.mark.parametrize(("only_first", "only_second"), [(1, 0), (40, 55), (2900, 3100)])
def test_mid_p_is_that_of_the_binomial_distribution(only_first: int, only_second: int) -> None:
    first = np.repeat([1, 0], [only_first, only_second])
    total, fewer = only_first + only_second, min(only_first, only_second)
    expected = 2 * binom.cdf(fewer, total, 0.5) - binom.pmf(fewer, total, 0.5)
    assert mcnemar(first, 1 - first).p_mid == pytest.approx(expected, rel=1e-9)


def test_mcnemar_mid_p_of_the_published_example() -> None:
    # Fagerland et al. (2013), airway hyper-responsiveness: discordant 1 and 7.
    first = np.array([1] * 1 + [0] * 7)
    result = mcnemar(first, 1 - first)
    assert result.p_exact == pytest.approx(0.0703, abs=5e-5)
    assert result.p_mid == pytest.approx(0.0391, abs=5e-5)


@settings(deadline=None)  # the first call imports
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    with mock.patch("gc.collect"):  # it collects at every call: half a second beside torch
        expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), expected)


def test_bootstrap_difference_is_antisymmetric(sample) -> None:
    first, second = sample(80, 3), sample(80, 3)
    second = Predictions(first.labels, second.probabilities[::-1], first.classes)
    settings = EvaluationSettings(bootstrap=200)
    there = bootstrap_difference(first, second, "accuracy", settings)
    back = bootstrap_difference(second, first, "accuracy", settings)
    assert there.difference == pytest.approx(-back.difference)
    assert there.low == pytest.approx(-back.high)
    assert there.p_value == back.p_value


@pytest.mark.slow
def test_bootstrap_difference_agrees_with_delong(sample) -> None:
    first = sample(300, 2, signal=1.0)
    noise = np.random.default_rng(5).random(300) * 0.6
    mixed = first.probabilities * (1 - noise[:, None]) + noise[:, None] / 2
    second = Predictions(first.labels, np.roll(mixed, 1, axis=1)[:, ::-1][:, ::-1], first.classes)
    exact = delong(first.labels == 1, first.probabilities[:, 1], second.probabilities[:, 1])
    boot = bootstrap_difference(first, second, "auroc_macro", EvaluationSettings(bootstrap=2000))
    assert boot.difference == pytest.approx(exact.difference)
    assert boot.low == pytest.approx(exact.low, abs=0.02)
    assert boot.high == pytest.approx(exact.high, abs=0.02)


def test_bootstrap_difference_takes_a_callable(sample) -> None:
    first, second = sample(60, 2), sample(60, 2)
    result = bootstrap_difference(
        first, second, lambda y, p: (y == p.argmax(1)).mean(), EvaluationSettings(bootstrap=50)
    )
    assert (result.difference, result.p_value) == (0, 1)


def test_paired_tests_refuse_other_cases(sample) -> None:
    with pytest.raises(EvaluationError, match="60 and 60 cases that differ"):
        bootstrap_difference(sample(60, seed=0), sample(60, seed=1), "accuracy")


def test_an_unknown_metric_is_named_with_the_known_ones(sample) -> None:
    with pytest.raises(EvaluationError, match=r"unknown metric 'auc', expected one of: .*accuracy"):
        bootstrap_difference(sample(), sample(), "auc")
