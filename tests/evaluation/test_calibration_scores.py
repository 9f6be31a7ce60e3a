"""How far probabilities are off: against statsmodels, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from medfuse.evaluation import EvaluationSettings, Predictions, evaluate
from medfuse.evaluation.calibration_scores import (
    debiased_calibration_error,
    equal_counts,
    slope_and_intercept,
)
from medfuse.evaluation.uncalibrated import uncalibrated_metrics

NONE = EvaluationSettings(bootstrap=0)


def drawn(count: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> Predictions:
    """Two classes; the truth has ``slope`` times the log-odds that are told, and ``shift``."""
    numbers = np.random.default_rng(seed)
    chance = numbers.uniform(0.02, 0.98, count)
    held = numbers.uniform(size=count) < expit(shift + slope * logit(chance))
    return Predictions(held.astype(int), np.stack([1 - chance, chance], 1), ("no", "yes"))


def test_slope_and_intercept_are_those_of_statsmodels_weighted_too() -> None:
    cases = drawn(300, 0, slope=0.6, shift=0.4)
    times = np.random.default_rng(1).multinomial(300, [1 / 300] * 300, size=3).astype(float)
    weights = np.vstack([np.ones(300), times])
    odds, held = logit(cases.probabilities[:, 1]), cases.labels
    slopes, intercepts = slope_and_intercept(held == 1, cases.probabilities[:, 1], weights)
    family = sm.families.Binomial()
    for row, slope, intercept in zip(weights, slopes, intercepts, strict=True):
        both = sm.GLM(held, sm.add_constant(odds), family=family, freq_weights=row).fit()
        large = sm.GLM(held, np.ones(300), family=family, offset=odds, freq_weights=row).fit()
        assert slope == pytest.approx(both.params[1], rel=1e-5)
        assert intercept == pytest.approx(large.params[0], rel=1e-5)


def test_classes_of_two_have_one_slope_and_opposite_intercepts() -> None:
    rows = evaluate(drawn(200, 2), NONE)["per_class"]
    assert rows["no"]["calibration_slope"]["value"] == pytest.approx(
        rows["yes"]["calibration_slope"]["value"]
    )
    assert rows["no"]["calibration_intercept"]["value"] == pytest.approx(
        -rows["yes"]["calibration_intercept"]["value"]
    )


def test_where_cases_are_told_apart_without_an_error_no_slope_is_best() -> None:
    chance = np.linspace(0.1, 0.9, 40)
    cases = Predictions((chance > 0.5).astype(int), np.stack([1 - chance, chance], 1), ("a", "b"))
    entry = evaluate(cases, NONE)["per_class"]["b"]["calibration_slope"]
    assert entry["value"] is None
    assert entry["reason"] == "cases are told apart without an error, so that no slope is best"


def test_a_weighting_without_a_best_slope_is_alone_in_having_none() -> None:
    cases = drawn(80, 5)
    held, chance = cases.labels == 1, cases.probabilities[:, 1]
    weights = np.random.default_rng(6).multinomial(80, [1 / 80] * 80, size=130).astype(float)
    weights[70] = held == (chance > 0.5)
    slopes, intercepts = slope_and_intercept(held, chance, weights)
    assert np.flatnonzero(np.isnan(slopes)).tolist() == [70]
    each = [slope_and_intercept(held, chance, row[None]) for row in weights]
    np.testing.assert_allclose(slopes, np.concatenate([slope for slope, _ in each]), rtol=1e-9)
    np.testing.assert_allclose(intercepts, np.concatenate([one for _, one in each]), rtol=1e-9)


def test_the_debiased_square_is_unbiased_and_the_plain_error_is_not() -> None:
    """150 cases, 800 repeats; the truth lies 0.1 below what is told, or just there."""
    for off in (0.0, 0.1):
        squares, plain = [], []
        numbers = np.random.default_rng(0)
        for _ in range(800):
            top = numbers.uniform(0.6, 1.0, 150)
            right = numbers.uniform(size=150) < top - off
            cases = Predictions((~right).astype(int), np.stack([top, 1 - top], 1), ("a", "b"))
            gap, member = right - top, equal_counts(top, 15)
            counts = member.sum(0)
            mean = gap @ member / counts
            spread = ((gap[:, None] - mean) ** 2 * member).sum(0) / (counts - 1)
            square = ((mean**2 - spread / counts) * counts).sum() / 150
            found = debiased_calibration_error(cases, np.ones((1, 150)), 15)[0]
            assert found == pytest.approx(np.sqrt(max(square, 0)), abs=1e-12)
            squares.append(square)
            plain.append(evaluate_ece(cases))
        assert np.mean(squares) == pytest.approx(off**2, abs=0.001)
        assert np.mean(plain) > off + 0.005


def evaluate_ece(cases: Predictions) -> float:
    from medfuse.evaluation.scores import calibration_error

    return float(calibration_error(cases, np.ones((1, len(cases))), 15)[0])


def test_a_bin_of_the_debiased_error_has_two_cases_at_least() -> None:
    assert equal_counts(np.linspace(0, 1, 7), 15).sum(0).min() >= 2
    assert equal_counts(np.full(30, 0.5), 15).sum(0).max() == 30


def test_the_class_wise_error_is_the_mean_over_classes() -> None:
    result = evaluate(drawn(100, 3), NONE)
    each = [row["ece"]["value"] for row in result["per_class"].values()]
    assert result["overall"]["ece_classwise"]["value"] == pytest.approx(np.mean(each))


def test_before_calibration_there_are_the_same_measures_with_intervals() -> None:
    cases = drawn(120, 4)
    settings = EvaluationSettings(bootstrap=30)
    same = uncalibrated_metrics(cases, cases.probabilities, settings)
    told = evaluate(cases, settings)
    assert set(same["overall"]) == {
        "brier", "log_loss", "ece", "ece_debiased", "ece_classwise", "calibration_slope_macro",
    }  # fmt: skip
    assert all(entry == told["overall"][name] for name, entry in same["overall"].items())
    assert same["reliability"] == told["reliability"]
    extreme = expit(3 * logit(cases.probabilities[:, 1]))
    other = uncalibrated_metrics(cases, np.stack([1 - extreme, extreme], 1), settings)
    assert other["overall"]["ece"]["value"] > same["overall"]["ece"]["value"]
