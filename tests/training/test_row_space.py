"""Inner products of few cases say what their many features say, to a classifier as well."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medfuse.training.row_space import in_row_space


def _cases(count: int = 40, features: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    signal = rng.normal(size=(3, features))
    train = (rng.normal(size=(count, features)) + signal[labels]).astype(np.float32)
    return train, rng.normal(size=(9, features)).astype(np.float32) + signal[1] / 2, labels


def test_inner_products_stay() -> None:
    train, new, _ = _cases()
    few, told = in_row_space(train, new)
    assert few.shape == (40, 40)
    assert told.shape == (9, 40)
    assert few.dtype == told.dtype == np.float32
    np.testing.assert_allclose(few @ few.T, train @ train.T, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(told @ few.T, new @ train.T, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0])
def test_a_penalized_regression_is_the_same(strength: float) -> None:
    train, new, labels = _cases()
    model = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000)
    expected = model.fit(train.astype(np.float64), labels).predict_proba(new)
    few, told = in_row_space(train.astype(np.float64), new)
    np.testing.assert_allclose(model.fit(few, labels).predict_proba(told), expected, atol=1e-5)


def test_a_case_told_twice_and_a_case_without_features_are_taken() -> None:
    train, new, _ = _cases()
    train[1], train[2] = train[0], 0
    few, told = in_row_space(train, new)
    np.testing.assert_allclose(few @ few.T, train @ train.T, rtol=1e-4, atol=1e-2)
    assert np.isfinite(told).all()


def test_one_case_of_huge_features_does_not_hide_the_others() -> None:
    train, new, _ = _cases()
    train[0] *= 1e4
    few, told = in_row_space(train, new)
    np.testing.assert_allclose(few[1:] @ few[1:].T, train[1:] @ train[1:].T, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(told @ few[1:].T, new @ train[1:].T, rtol=1e-3, atol=0.5)


@pytest.mark.parametrize("features", [30, 79])
def test_cases_that_are_not_few_stay_as_they_are(features: int) -> None:
    train, new, _ = _cases(features=features)
    few, told = in_row_space(train, new)
    assert few is train
    assert told is new


def test_features_that_are_all_zero_stay_as_they_are() -> None:
    train, new = np.zeros((4, 10), np.float32), np.ones((2, 10), np.float32)
    few, told = in_row_space(train, new)
    assert few is train
    assert told is new
