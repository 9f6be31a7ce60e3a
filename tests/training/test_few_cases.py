"""Thirty cases: the default training is as good as logistic regression on the same features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.training.candidate import BankedCases, Fit, Fitted, Recipe, fit_candidate

LEARNED, WIDTHS = 30, (300, 200)
STRENGTH, RARE = 0.5, 30
DEFAULT = Recipe(ComponentConfig(use="mlp"), TrainingConfig(), members=None)


def _cases(seed: int, count: int = 430) -> BankedCases:
    """Features as pooled ones are: never negative, and some of them seldom more than 0."""
    numbers = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    values = []
    for width in WIDTHS:
        means = numbers.normal(size=(3, width)) * STRENGTH
        drawn = np.abs(means[labels] + numbers.normal(size=(count, width)))
        fires = numbers.random((count, width)) < np.where(np.arange(width) < RARE, 0.02, 0.8)
        values.append((drawn * fires)[:, None].astype(np.float32))
    return BankedCases(
        values=tuple(values),
        slices=(0, 0),
        labels=labels,
        views=np.ones(count, dtype=np.int64),
        groups=np.arange(count),
        known=np.ones((count, 1), dtype=bool),
        inputs=(0, 0),
        classes=("a", "b", "c"),
    )


def _scores(cases: BankedCases, found: Fitted) -> tuple[float, float]:
    labels = cases.labels[LEARNED:]
    area = float(roc_auc_score(labels, found.probabilities, multi_class="ovr"))
    own = found.probabilities[np.arange(len(labels)), labels]
    return area, float(-np.log(np.clip(own, 1e-7, 1)).mean())


def _mean_scores(method: str, fusion: str) -> np.ndarray:
    rows, scores = np.arange(430), []
    for seed in range(6):
        cases = _cases(seed)
        use = ComponentConfig(use=fusion)
        fit = Fit(method, (0, 1), use, rows[:LEARNED], rows[LEARNED:], seed)
        scores.append(_scores(cases, fit_candidate(cases, fit, DEFAULT)))
    return np.mean(scores, axis=0)


@pytest.fixture(scope="module")
def logistic_regression() -> np.ndarray:
    return _mean_scores("logistic regression", "concat")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("fusion", ["attention", "low_rank"])
def test_default_training_is_as_good_as_logistic_regression(
    fusion: str, logistic_regression: np.ndarray
) -> None:
    area, loss = _mean_scores("network", fusion)
    assert area > logistic_regression[0] - 0.005
    assert loss < logistic_regression[1]
