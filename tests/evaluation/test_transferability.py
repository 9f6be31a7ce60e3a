"""Every measure equals an independent computation of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from medfuse.evaluation.feature_kernel import FeatureKernel, Spectrum
from medfuse.evaluation.transferability import (
    h_score,
    ledoit_wolf,
    log_evidence,
    neighbor_accuracy,
    probe_auroc,
)

SHAPES = [(60, 8), (40, 200)]


def _cases(shape: tuple[int, int], classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(shape[1])
    labels = rng.integers(0, classes, shape[0])
    labels[:classes] = np.arange(classes)
    signal = rng.normal(size=(classes, shape[1]))[labels]
    return rng.normal(size=shape) + 0.8 * signal, labels


def _standard(features: np.ndarray) -> np.ndarray:
    """Standardized, the mean squared length of a case's features 1."""
    return (features - features.mean(0)) / features.std(0) / np.sqrt(features.shape[1])


def _evidence(x: np.ndarray, target: np.ndarray, alpha: float, beta: float) -> float:
    """Return the log density of the target without its mean, straight from the model."""
    basis = null_space(np.ones((1, len(x))))  # what a flat prior on the intercept leaves
    covariance = np.eye(len(x) - 1) / beta + basis.T @ x @ x.T @ basis / alpha
    return float(multivariate_normal(cov=covariance).logpdf(basis.T @ target)) / (len(x) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_logme_is_the_largest_evidence_that_a_search_over_both_precisions_finds(
    shape: tuple[int, int],
) -> None:
    features, labels = _cases(shape)
    x = _standard(features)

    def largest(target: np.ndarray) -> float:
        starts = [(0.0, 0.0), (3.0, 2.0), (-3.0, 3.0)]
        found = [
            minimize(lambda p: -_evidence(x, target, *np.exp(p)), s, method="Nelder-Mead").fun
            for s in starts
        ]
        return -float(min(found))

    expected = np.mean([largest((labels == k).astype(float)) for k in range(3)])
    found, _ = log_evidence(Spectrum.of(FeatureKernel.of(features)), labels)
    assert found == pytest.approx(expected, abs=1e-4)


def test_ridge_of_two_classes_is_the_ratio_of_precisions_of_bayesian_ridge() -> None:
    features, labels = _cases((60, 8), classes=2)
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}
    model = BayesianRidge(tol=1e-10, max_iter=10_000, **flat).fit(_standard(features), labels)
    _, ridge = log_evidence(Spectrum.of(FeatureKernel.of(features)), labels)
    assert ridge == pytest.approx(model.lambda_ / model.alpha_, rel=0.05)


def test_labels_that_the_features_reproduce_exactly_have_a_finite_evidence() -> None:
    labels = np.arange(40) % 2
    features = np.eye(2)[labels]
    evidence, ridge = log_evidence(Spectrum.of(FeatureKernel.of(features)), labels)
    assert np.isfinite(evidence)
    assert ridge == pytest.approx(1e-6, rel=0.1)


@pytest.mark.parametrize("shape", [*SHAPES, (30, 31)])
def test_shrinkage_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    features, _ = _cases(shape)
    expected = ledoit_wolf_shrinkage(_standard(features), assume_centered=True)
    assert ledoit_wolf(FeatureKernel.of(features)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_h_score_follows_its_formula_with_shrunk_covariance(shape: tuple[int, int]) -> None:
    features, labels = _cases(shape)
    x = _standard(features)
    amount = ledoit_wolf_shrinkage(x, assume_centered=True)
    total = x.T @ x / len(x)
    shrunk = (1 - amount) * total + amount * np.trace(total) / x.shape[1] * np.eye(x.shape[1])
    means = np.stack([x[labels == k].mean(0) for k in range(3)])[labels]
    expected = (1 - amount) * np.trace(np.linalg.solve(shrunk, means.T @ means / len(x)))
    kernel = FeatureKernel.of(features)
    assert h_score(kernel, Spectrum.of(kernel), labels) == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbors_vote_like_scikit_learns_without_the_cases_of_their_group(
    shape: tuple[int, int],
) -> None:
    features, labels = _cases(shape, classes=2)  # five votes for two classes: no tie
    groups = np.arange(len(labels)) // 3
    x = _standard(features)
    right = np.zeros(len(labels), dtype=bool)
    for row in range(len(labels)):
        others = groups != groups[row]
        voters = KNeighborsClassifier(5, metric="cosine").fit(x[others], labels[others])
        right[row] = voters.predict(x[row : row + 1])[0] == labels[row]
    expected = np.mean([right[labels == k].mean() for k in range(2)])
    assert neighbor_accuracy(FeatureKernel.of(features), labels, groups) == expected


def test_copies_of_a_case_in_its_group_do_not_vote() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 10)), 6, axis=0)  # noise, each case six times
    labels, groups = np.repeat(np.arange(30) % 2, 6), np.repeat(np.arange(30), 6)
    kernel = FeatureKernel.of(features)
    assert neighbor_accuracy(kernel, labels, groups) < 0.8
    assert neighbor_accuracy(kernel, labels, np.arange(180)) == 1.0  # what a leak would show


def test_the_nearest_case_decides_between_classes_of_as_many_votes() -> None:
    features, labels = _cases((60, 8), classes=6)
    x = _standard(features)
    length = np.linalg.norm(x, axis=1)
    cosine = x @ x.T / length[:, None] / length
    right, ties = np.zeros(60, dtype=bool), 0
    for row in range(60):
        nearest = [int(labels[i]) for i in np.argsort(-cosine[row]) if i != row][:5]
        most = max(map(nearest.count, nearest))
        winners = [label for label in nearest if nearest.count(label) == most]
        ties += len(set(winners)) > 1
        right[row] = winners[0] == labels[row]
    expected = np.mean([right[labels == k].mean() for k in range(6)])
    assert ties > 5
    found = neighbor_accuracy(FeatureKernel.of(features), labels, np.arange(60))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_probe_is_ridge_regression_on_the_other_folds(shape: tuple[int, int]) -> None:
    features, labels = _cases(shape)
    x, targets = _standard(features), np.eye(3)[labels]
    folds = [np.arange(start, len(x), 2) for start in range(2)]
    values = []
    for fold in folds:
        learned = np.setdiff1d(np.arange(len(x)), fold)
        scores = Ridge(alpha=0.3).fit(x[learned], targets[learned]).predict(x[fold])
        values.append(np.mean([roc_auc_score(labels[fold] == k, scores[:, k]) for k in range(3)]))
    kernel = FeatureKernel.of(features)
    assert probe_auroc(kernel, labels, folds, 0.3) == pytest.approx(np.mean(values))


def test_probe_has_no_value_where_no_fold_has_two_classes() -> None:
    features, _ = _cases((12, 5))
    labels = np.repeat([0, 1], 6)
    folds = [np.arange(6), np.arange(6, 12)]
    assert np.isnan(probe_auroc(FeatureKernel.of(features), labels, folds, 1.0))
