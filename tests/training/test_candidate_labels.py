"""Candidates that give several labels: networks as training makes them, classifiers label by label.

Rare and unknown answers are part of every such cohort, so they are here too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, fit, predict_logits
from medfuse.training.baselines import BASELINES, NEIGHBORS, STRENGTHS, fit_baseline
from medfuse.training.candidate import BankedCases, Fit, Recipe, fit_candidate, held_out_part
from medfuse.training.choices import label_folds
from medfuse.training.classifier import SourceWidth, build_classifier

LABELS = ("a", "b", "rare")
TRAINING = TrainingConfig(epochs=12, batch_size=8, lr=0.02)
RECIPE = Recipe(ComponentConfig(use="multilabel", hidden=0, dropout=0.0, noise=0.0), TRAINING)


def _cases(count: int = 120, seed: int = 0, rare: int = 2) -> BankedCases:
    """Labels ``a`` and ``b`` are told by one source each; ``rare`` holds in a few last patients."""
    random = np.random.default_rng(seed)
    answers = (random.random((count, 3)) < 0.4).astype(np.int64)
    answers[:, 2] = np.arange(count) >= count - 2 * rare
    sources = [random.normal(0, 1, (count, 1, 4)).astype(np.float32) for _ in range(2)]
    for index, source in enumerate(sources):
        source[:, 0, 0] += 3 * answers[:, index]
    hidden = random.random(answers.shape) < 0.2
    hidden[:, 2] = False
    answers[hidden] = -1
    return BankedCases(
        values=tuple(sources),
        slices=(0, 0),
        labels=answers,
        views=np.ones(count, dtype=np.int64),
        groups=np.arange(count) // 2,
        known=np.ones((count, 1), dtype=bool),
        inputs=(0, 0),
        classes=LABELS,
    )


def _fit(method: str = "network", fusion: str = "concat", count: int = 120) -> Fit:
    rows = np.arange(count)
    return Fit(method, (0, 1), ComponentConfig(use=fusion), rows[rows >= 40], rows[:40], seed=4)


def _aurocs(answers: np.ndarray, chances: np.ndarray) -> list[float]:
    known = answers != -1
    return [roc_auc_score(answers[known[:, k], k], chances[known[:, k], k]) for k in (0, 1)]


def test_a_network_is_a_member_as_train_makes_it() -> None:
    """Held out by `label_folds`, stopped by the loss of labels, one temperature for all of them."""
    cases, job = _cases(), _fit()
    data = cases.of((0, 1), job.train)
    held_out = label_folds(data, 5, 4)[0]
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    built = build_classifier(job.fusion, RECIPE.head, load_registry(), [SourceWidth(4)] * 2, 3)
    model = built.fresh(4)
    run = Run(classes=LABELS, seed=4, head_loss=built.head.loss)
    fit(model, data.select(rest), data.select(held_out), TRAINING, run)
    logits = predict_logits(model, cases.of((0, 1), job.test)).astype(float)
    found = fit_candidate(cases, job, RECIPE)
    temperature = (logits / logit(found.probabilities))[0, 0]
    assert temperature > 0
    np.testing.assert_allclose(found.probabilities, expit(logits / temperature), rtol=1e-5)
    known = data.labels.numpy()[held_out]
    own = expit(predict_logits(model, data.select(held_out)).astype(float) / temperature)
    expected = log_loss(known[known != -1], own[known != -1])
    assert found.held_out_loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("fusion", ["attention", "average", "stacking"])
def test_every_kind_of_fusion_learns_both_labels(fusion: str) -> None:
    found = fit_candidate(_cases(), _fit(fusion=fusion), RECIPE)
    assert min(_aurocs(_cases().labels[:40], found.probabilities)) > 0.8
    assert abs(found.probabilities.sum(1) - 1).max() > 0.1
    assert np.isfinite(found.held_out_loss)


def test_a_label_of_one_patient_leaves_the_number_of_networks_and_the_part_held_out() -> None:
    cases = _cases(rare=1)
    data = cases.of((0, 1), np.arange(120))
    assert 20 <= len(held_out_part(data, 0)) <= 28
    one, five = (fit_candidate(cases, _fit(), replace(RECIPE, members=n)) for n in (1, 5))
    assert not np.allclose(one.probabilities, five.probabilities)
    assert np.isfinite([one.held_out_loss, five.held_out_loss]).all()


@given(st.integers(0, 1000), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_no_part_of_few_cases_is_empty(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.append(np.arange(parts), rng.integers(0, parts + 2, 6))
    answers = rng.integers(-1, 2, (len(groups), 6))
    answers[:, 0] = rng.integers(0, 2, len(groups))
    data = TrainingData.of([np.zeros((len(groups), 1, 2), np.float32)], answers, groups=groups)
    found = label_folds(data, parts, seed)
    assert min(len(part) for part in found) > 0


@pytest.mark.parametrize("method", ["network", *BASELINES])
def test_answers_of_test_cases_are_not_looked_at(method: str) -> None:
    cases, job = _cases(), _fit(method)
    turned = cases.labels.copy()
    turned[:40] = turned[:40][::-1]
    found, other = (fit_candidate(c, job, RECIPE) for c in (cases, replace(cases, labels=turned)))
    np.testing.assert_array_equal(found.probabilities, other.probabilities)


def _plain(cases: BankedCases) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.hstack([x[:, 0] for x in cases.values])
    scale = StandardScaler().fit(values[40:])
    return scale.transform(values[40:]), scale.transform(values[:40]), cases.labels[40:]


def _said(cases: BankedCases, method: str):
    train, new = (cases.of((0, 1), rows) for rows in (np.arange(40, 120), np.arange(40)))
    return fit_baseline(method, train, new, 3, 0)


def test_logistic_regression_is_scikit_learns_of_each_label_on_its_known_answers() -> None:
    cases = _cases()
    found = _said(cases, "logistic regression")
    assert found.chosen in STRENGTHS
    old, new, answers = _plain(cases)
    for label in range(3):
        rows = answers[:, label] != -1
        known = LogisticRegression(C=found.chosen, max_iter=1000, tol=1e-6)
        expected = known.fit(old[rows], answers[rows, label]).predict_proba(new)[:, 1]
        np.testing.assert_allclose(found.probabilities[:, label], expected, atol=0.02)


def test_neighbors_vote_label_by_label_where_their_answer_is_known() -> None:
    cases = _cases()
    found = _said(cases, "k-NN")
    assert found.chosen in NEIGHBORS
    old, new, answers = _plain(cases)
    for label in range(3):
        rows = answers[:, label] != -1
        known = KNeighborsClassifier(int(found.chosen)).fit(old[rows], answers[rows, label])
        votes = known.predict_proba(new)[:, 1]
        expected = (votes * found.chosen + 0.5) / (found.chosen + 1)
        np.testing.assert_allclose(found.probabilities[:, label], expected, atol=1e-6)


@pytest.mark.parametrize("method", BASELINES)
def test_a_label_of_one_answer_gets_its_smoothed_share(method: str) -> None:
    cases = _cases()
    labels = cases.labels.copy()
    labels[:, 2] = 0
    found = _said(replace(cases, labels=labels), method)
    np.testing.assert_allclose(found.probabilities[:, 2], 0.5 / 81)


@pytest.mark.parametrize("method", BASELINES)
def test_the_setting_is_that_of_the_lowest_log_loss_on_inner_folds(method: str) -> None:
    """With features of pure noise the strongest smoothing is the best, and is found."""
    random = np.random.default_rng(3)
    noise = tuple(random.normal(size=x.shape).astype(np.float32) for x in _cases().values)
    chosen = _said(replace(_cases(), values=noise), method).chosen
    assert chosen == (NEIGHBORS[-1] if method == "k-NN" else STRENGTHS[0])


@pytest.mark.parametrize("method", BASELINES)
def test_a_handful_of_cases_is_enough(method: str) -> None:
    cases = _cases()
    few, new = cases.of((0, 1), np.arange(116, 119)), cases.of((0, 1), np.arange(40))
    found = fit_baseline(method, few, new, 3, 0).probabilities
    assert found.shape == (40, 3)
    assert ((found > 0) & (found < 1)).all()
