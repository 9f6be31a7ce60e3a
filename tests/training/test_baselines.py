"""Classic classifiers against scikit-learn, and that nothing is tuned on new cases."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from medfuse.training.baselines import (
    BASELINES,
    NEIGHBORS,
    STRENGTHS,
    _logistic,
    _until_it_rises,
    fit_baseline,
)
from medfuse.training.data import Presence
from medfuse.training.row_space import in_row_space

from .conftest import make_cases

DATA, NEW = make_cases(90), make_cases(30, seed=1)


def _plain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    old = np.hstack([x[:, 0].numpy() for x in DATA.features])
    new = np.hstack([x[:, 0].numpy() for x in NEW.features])
    scale = StandardScaler().fit(old)
    return scale.transform(old), scale.transform(new), DATA.labels.numpy()


def test_logistic_regression_is_scikit_learns_of_the_chosen_strength() -> None:
    found = fit_baseline("logistic regression", DATA, NEW, 3, 0)
    assert found.chosen in STRENGTHS
    old, new, labels = _plain()
    known = LogisticRegression(C=found.chosen, max_iter=1000, tol=1e-6).fit(old, labels)
    np.testing.assert_allclose(found.probabilities, known.predict_proba(new), atol=0.03)


@pytest.mark.parametrize(("classes", "used"), [(2, False), (3, True)])
def test_three_classes_are_learned_from_inner_products_and_two_from_features(
    classes: int, used: bool
) -> None:
    rng = np.random.default_rng(0)
    train, labels = rng.normal(size=(30, 200)).astype(np.float32), np.arange(30) % classes
    with patch("medfuse.training.baselines.in_row_space", side_effect=in_row_space) as seen:
        list(_logistic(train, train, labels, ([0.1], classes)))
    assert bool(seen.called) == used


def test_neighbors_are_scikit_learns_votes_smoothed_by_one() -> None:
    found = fit_baseline("k-NN", DATA, NEW, 3, 0)
    assert found.chosen in NEIGHBORS
    old, new, labels = _plain()
    votes = KNeighborsClassifier(int(found.chosen)).fit(old, labels).predict_proba(new)
    expected = (votes * found.chosen + 1 / 3) / (found.chosen + 1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_labels_of_new_cases_are_not_looked_at(name: str) -> None:
    found = fit_baseline(name, DATA, NEW, 3, 0)
    turned = make_cases(30, seed=1)
    object.__setattr__(turned, "labels", turned.labels.flip(0))
    other = fit_baseline(name, DATA, turned, 3, 0)
    np.testing.assert_array_equal(found.probabilities, other.probabilities)


@pytest.mark.parametrize("name", BASELINES)
def test_missing_inputs_count_as_the_mean_and_absent_classes_get_no_case(name: str) -> None:
    known = np.ones((90, 2), dtype=bool)
    known[::5, 1] = False
    lacking = make_cases(90, presence=Presence(known, (0, 1)))
    rows = np.flatnonzero(lacking.labels.numpy() < 2)
    found = fit_baseline(name, lacking.select(rows), NEW, 3, 0)
    assert np.isfinite(found.probabilities).all()
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert (found.probabilities[:, 2] < 0.34).all()


@pytest.mark.parametrize("name", BASELINES)
def test_a_handful_of_cases_is_enough(name: str) -> None:
    found = fit_baseline(name, make_cases(5), NEW, 3, 0)
    assert found.probabilities.shape == (30, 3)


def test_strength_is_raised_until_the_loss_rises_and_all_neighbors_are_tried() -> None:
    assert list(_until_it_rises(iter([0.9, 0.7, 0.7, 0.8, 0.1]))) == [0.9, 0.7, 0.7, 0.8]
    torch.manual_seed(0)
    tried: list[float] = []
    own = LogisticRegression.fit

    def fit(model: LogisticRegression, *given: np.ndarray) -> LogisticRegression:
        tried.append(model.C)
        return own(model, *given)

    noise = make_cases(60)
    object.__setattr__(noise, "labels", torch.randint(3, (60,)))  # nothing can be learned
    with patch.object(LogisticRegression, "fit", fit):
        found = fit_baseline("logistic regression", noise, NEW, 3, 0)
    asked = STRENGTHS[: STRENGTHS.index(found.chosen) + 2]
    assert len(asked) < len(STRENGTHS)
    assert tried == [c for c in asked for _ in range(3)] + [found.chosen]
