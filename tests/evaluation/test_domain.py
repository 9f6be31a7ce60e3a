"""Features of one domain brought to another: covariances, means, and what that gains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medfuse.errors import EvaluationError
from medfuse.evaluation.domain import (
    coral,
    coral_toward,
    distance_of_means,
    standardization,
    standardization_toward,
)

WIDTH = 5


def domain(seed: int, count: int, scanner: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, and features as a scanner shows them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    plain = rng.normal(size=(count, WIDTH))
    plain[:, 0] += 2.5 * labels
    view = np.random.default_rng(scanner)
    if scanner:
        plain = plain @ (np.eye(WIDTH) + 0.5 * view.normal(size=(WIDTH, WIDTH))) + 3
    return plain, labels


def test_training_features_get_the_mean_and_covariance_of_the_target() -> None:
    (learned, _), (target, _) = domain(1, 4000), domain(2, 4000, scanner=3)
    of_learned, of_target = coral(learned, target, ridge=1e-6)
    mine, other = of_learned(learned), of_target(target)
    np.testing.assert_allclose(np.cov(mine.T), np.cov(other.T), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mine.mean(0), other.mean(0), atol=1e-4)


def test_the_map_is_that_of_the_paper_s_formula_by_scipy() -> None:
    (learned, _), (target, _) = domain(1, 300), domain(2, 200, scanner=3)
    of_learned, _ = coral(learned, target)
    mean, spread = learned.mean(0), learned.std(0)
    source, other = (learned - mean) / spread, (target - mean) / spread
    first, second = (np.cov(x.T) + np.eye(WIDTH) for x in (source, other))
    expected = source @ np.linalg.inv(sqrtm(first)).real @ sqrtm(second).real
    np.testing.assert_allclose(of_learned(learned), expected + other.mean(0), atol=1e-4)


def test_standardization_is_that_of_scikit_learn_and_a_constant_becomes_zero() -> None:
    values, _ = domain(1, 50, scanner=4)
    values[:, 2] = 7
    np.testing.assert_allclose(
        standardization(values)(values), StandardScaler().fit_transform(values), atol=1e-5
    )


@pytest.mark.parametrize("method", ["coral", "standardize"])
def test_a_classifier_holds_on_another_scanner_after_adaptation(method: str) -> None:
    rng = np.random.default_rng(0)
    (learned, labels), (target, truth) = domain(1, 600), domain(2, 600)
    target = target * rng.uniform(0.2, 4, WIDTH) + rng.normal(0, 4, WIDTH)
    plain = LogisticRegression().fit(learned, labels).score(target, truth)
    maps = (
        coral(learned, target, 0.01)
        if method == "coral"
        else (standardization(learned), standardization(target))
    )
    adapted = LogisticRegression().fit(maps[0](learned), labels).score(maps[1](target), truth)
    assert adapted > 0.8
    assert adapted > plain + 0.1


def test_the_same_domain_stays_as_it_is_but_for_scale() -> None:
    values, _ = domain(1, 100)
    mine, other = coral(values, values)
    np.testing.assert_allclose(mine(values), other(values), atol=1e-4)


def test_views_and_slices_are_mapped_like_their_features_and_nan_stays() -> None:
    values, _ = domain(1, 40)
    mapped = standardization(values)
    stacked = np.stack([values, np.full_like(values, np.nan)], axis=1)
    np.testing.assert_allclose(mapped(stacked)[:, 0], mapped(values))
    assert np.isnan(mapped(stacked)[:, 1]).all()


@pytest.mark.parametrize("method", ["coral", "standardize"])
def test_a_target_that_stays_as_it_is_is_classified_as_one_that_is_mapped(method: str) -> None:
    (learned, labels), (target, _) = domain(1, 300), domain(2, 200, scanner=3)
    if method == "coral":
        (of_learned, of_target), toward = coral(learned, target), coral_toward(learned, target)
    else:
        of_learned, of_target = standardization(learned), standardization(target)
        toward = standardization_toward(learned, target)
    both = StandardScaler().fit(of_learned(learned))
    mapped = LogisticRegression().fit(both.transform(of_learned(learned)), labels)
    one = StandardScaler().fit(toward(learned))
    plain = LogisticRegression().fit(one.transform(toward(learned)), labels)
    np.testing.assert_allclose(
        plain.predict_proba(one.transform(target)),
        mapped.predict_proba(both.transform(of_target(target))),
        atol=1e-3,
    )
    assert distance_of_means(learned, target) > 1
    assert distance_of_means(toward(learned).astype(np.float64), target) < 1e-5


def test_the_distance_of_means_is_the_standardized_mean_difference() -> None:
    values, target = np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[4.0, 5.0], [6.0, 5.0]])
    assert distance_of_means(values, target) == pytest.approx(np.sqrt((4**2 + 0) / 2))


def test_one_case_is_no_domain() -> None:
    with pytest.raises(EvaluationError, match="has 1 case"):
        coral(np.zeros((5, 2)), np.zeros((1, 2)))
    with pytest.raises(EvaluationError, match="has 1 case"):
        standardization(np.zeros((1, 2)))
