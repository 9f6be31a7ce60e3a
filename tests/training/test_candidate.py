"""A candidate on some cases: what it learns from, and that it is a member of an ensemble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.registry import load_registry
from medfuse.training.candidate import BankedCases, Fit, Recipe, fit_candidate
from medfuse.training.classifier import SourceWidth, build_classifier
from medfuse.training.fit import fit
from medfuse.training.members import member_parts
from medfuse.training.predict import predict_logits
from medfuse.training.run import Run

from .conftest import CLASSES, DIMS, make_cases

TRAINING = TrainingConfig(epochs=12, batch_size=8, lr=0.01)
RECIPE = Recipe(ComponentConfig(use="mlp", hidden=8), TRAINING)


def _cases(count: int = 90) -> BankedCases:
    data = make_cases(count)
    return BankedCases(
        values=tuple(x.numpy() for x in data.features if x is not None),
        slices=(0, 0),
        labels=data.labels.numpy(),
        views=data.views.numpy(),
        groups=np.arange(count) // 2,
        known=np.ones((count, 1), dtype=bool),
        inputs=(0, 0),
        classes=CLASSES,
    )


def _fit(method: str = "network", fusion: str = "concat", sources: tuple[int, ...] = (0, 1)) -> Fit:
    rows = np.arange(90)
    return Fit(method, sources, ComponentConfig(use=fusion), rows[rows >= 18], rows[:18], seed=4)


def test_a_network_is_a_member_as_train_makes_it() -> None:
    """The same parts, seed and engines give the same logits; the temperature keeps their ranks."""
    cases, job = _cases(), _fit()
    data = cases.of((0, 1), job.train)
    held_out = member_parts(data, 5, 4)[0]
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    widths = [SourceWidth(d) for d in DIMS]
    built = build_classifier(job.fusion, RECIPE.head, load_registry(), widths, 3)
    model = built.fresh(4)
    fit(model, data.select(rest), data.select(held_out), TRAINING, Run(classes=CLASSES, seed=4))
    logits = predict_logits(model, cases.of((0, 1), job.test)).astype(float)
    found = fit_candidate(cases, job, RECIPE)
    scale = np.log(found.probabilities[0, 0] / found.probabilities[0, 1])
    temperature = (logits[0, 0] - logits[0, 1]) / scale
    np.testing.assert_allclose(
        found.probabilities, softmax(logits / temperature, axis=1), rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("fusion", ["attention", "average", "stacking"])
def test_every_kind_of_fusion_learns(fusion: str) -> None:
    found = fit_candidate(_cases(), _fit(fusion=fusion), RECIPE)
    assert (found.probabilities.argmax(1) == _cases().labels[:18]).mean() > 0.6
    assert np.isfinite(found.held_out_loss)


@pytest.mark.parametrize("method", ["network", "k-NN"])
def test_labels_of_test_cases_are_not_looked_at(method: str) -> None:
    cases, job = _cases(), _fit(method)
    turned = cases.labels.copy()
    turned[:18] = turned[:18][::-1]
    found, other = (fit_candidate(c, job, RECIPE) for c in (cases, replace(cases, labels=turned)))
    np.testing.assert_array_equal(found.probabilities, other.probabilities)


def test_several_members_are_averaged() -> None:
    one = fit_candidate(_cases(), _fit(), RECIPE)
    three = fit_candidate(_cases(), _fit(), replace(RECIPE, members=3))
    assert not np.allclose(one.probabilities, three.probabilities)
    np.testing.assert_allclose(three.probabilities.sum(1), 1)


@pytest.mark.slow
def test_of_few_cases_as_many_networks_learn_as_in_training() -> None:
    asked = replace(RECIPE, members=None)
    found = fit_candidate(_cases(), _fit(), asked)
    five = fit_candidate(_cases(), _fit(), replace(RECIPE, members=TRAINING.members))
    np.testing.assert_array_equal(found.probabilities, five.probabilities)
    assert (asked.members_of(499), asked.members_of(500)) == (5, 1)


def test_cases_without_any_input_are_not_learned_from() -> None:
    cases = _cases()
    known = np.ones((90, 2), dtype=bool)
    known[20:40, 1] = False
    values = [cases.values[0], cases.values[1].copy()]
    values[1][20:40] = np.nan
    lacking = replace(cases, values=tuple(values), known=known, inputs=(0, 1))
    assert lacking.visible((1,)).sum() == 70
    assert lacking.visible((0, 1)).all()
    without = replace(_fit(sources=(1,)), train=np.r_[18:20, 40:90])
    found = fit_candidate(lacking, _fit(sources=(1,)), RECIPE)
    same = fit_candidate(lacking, without, RECIPE)
    np.testing.assert_array_equal(found.probabilities, same.probabilities)
