"""Ranking metrics under weights equal scikit-learn's, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from medfuse.evaluation.ranking import (
    auroc,
    average_precision,
    rank,
    sensitivity_at,
    specificity_at,
)

SEEDS = st.integers(0, 2**32 - 1)


def _case(seed: int, levels: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.append(rng.random(38) < 0.4, [True, False])
    scores = rng.integers(0, levels, 40) / levels
    weights = rng.integers(0, 4, (3, 40)).astype(float)
    weights[:, -2:] = 1
    return scores, positive, weights


@pytest.mark.slow
@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_auroc_equals_scikit_learn_with_weights_and_ties(seed: int) -> None:
    scores, positive, weights = _case(seed)
    expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(auroc(rank(scores, positive, weights)), expected)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learn_with_weights_and_ties(seed: int) -> None:
    scores, positive, weights = _case(seed)
    expected = [average_precision_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precision(rank(scores, positive, weights)), expected)


@given(SEEDS, st.sampled_from([0.5, 0.9, 0.95]))
@settings(max_examples=60, deadline=None)
def test_operating_points_are_the_best_points_of_scikit_learns_roc_curve(
    seed: int, point: float
) -> None:
    scores, positive, weights = _case(seed)
    ranking = rank(scores, positive, weights)
    for row, w in enumerate(weights):
        fpr, tpr, _ = roc_curve(positive, scores, sample_weight=w, drop_intermediate=False)
        specificity = 1 - fpr
        best = tpr[specificity >= point - 1e-9].max()
        assert sensitivity_at(ranking, point)[row] == pytest.approx(best)
        best = specificity[tpr >= point - 1e-9].max()
        assert specificity_at(ranking, point)[row] == pytest.approx(best)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_weights_count_like_repeated_cases(seed: int) -> None:
    scores, positive, weights = _case(seed)
    rows = np.repeat(np.arange(40), weights[0].astype(int))
    repeated = rank(scores[rows], positive[rows], np.ones((1, len(rows))))
    weighted = rank(scores, positive, weights[:1])
    for metric in (auroc, average_precision):
        np.testing.assert_allclose(metric(repeated), metric(weighted))


def test_ranking_metrics_without_positives_are_nan_not_zero() -> None:
    ranking = rank(np.array([0.1, 0.9]), np.array([False, False]), np.ones((1, 2)))
    for values in (
        auroc(ranking),
        average_precision(ranking),
        sensitivity_at(ranking, 0.9),
        specificity_at(ranking, 0.9),
    ):
        assert np.isnan(values).all()


def test_sensitivity_is_zero_where_a_negative_has_the_highest_score() -> None:
    ranking = rank(np.array([0.9, 0.5]), np.array([False, True]), np.ones((1, 2)))
    assert sensitivity_at(ranking, 0.95)[0] == 0
