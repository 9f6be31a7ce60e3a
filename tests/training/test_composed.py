"""Fusions of decisions are put together from the networks of the single sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from torch import Tensor

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.fusion.average import AverageFusion
from medfuse.training.calibrate import fit_temperature
from medfuse.training.candidate import BankedCases, Fit, Fitted, Recipe, fit_candidate
from medfuse.training.composed import compose, networks_of

from .conftest import CLASSES, DIMS, make_cases

CASES, TESTED = 90, 18
RECIPE = Recipe(ComponentConfig(use="mlp", hidden=8), TrainingConfig(epochs=4, lr=0.01))
LABELS = np.random.default_rng(1).integers(0, 2, (CASES, 3))


@pytest.fixture(scope="module")
def cases() -> BankedCases:
    data = make_cases(CASES)
    return BankedCases(
        values=tuple(x.numpy() for x in data.features if x is not None),
        slices=(0, 0),
        labels=data.labels.numpy(),
        views=data.views.numpy(),
        groups=np.arange(CASES),
        known=np.ones((CASES, 2), dtype=bool),
        inputs=(0, 1),
        classes=CLASSES,
    )


def fit_of(fusion: str = "average", sources: Sequence[int] = (0, 1)) -> Fit:
    rows = np.arange(CASES)
    config = ComponentConfig(use=fusion)
    return Fit("network", tuple(sources), config, rows[TESTED:], rows[:TESTED], seed=4)


def trained(cases: BankedCases, fit: Fit, recipe: Recipe = RECIPE) -> list[Fitted]:
    return [fit_candidate(cases, one, recipe) for one in networks_of(cases, fit, recipe)]


def test_it_is_the_mean_of_what_the_networks_say_calibrated_on_what_they_held_out(
    cases: BankedCases,
) -> None:
    networks = trained(cases, fit_of())
    assert len(networks) == len(DIMS)
    found = compose(cases, fit_of(), RECIPE, networks)
    told, held_out = (
        np.log(np.mean([softmax(x.astype(float), axis=1) for x in said], axis=0))
        for said in ([n.logits for n in networks], [n.held_out_logits for n in networks])
    )
    labels = networks[0].held_out_labels
    temperature = fit_temperature(held_out, labels)
    np.testing.assert_allclose(found.probabilities, softmax(told / temperature, axis=1), rtol=1e-4)
    losses = -log_softmax(held_out / temperature, axis=1)[np.arange(len(labels)), labels]
    assert found.held_out_loss == pytest.approx(losses.mean(), rel=1e-4)
    assert found.setting == np.mean([n.setting for n in networks])


def test_networks_are_combined_in_order_by_a_fusion_that_does_not_train(
    cases: BankedCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = []

    def last(self: AverageFusion, logits: Tensor, _: Tensor) -> tuple[Tensor, None]:
        training.append(self.training)
        return logits[:, -1], None

    networks = trained(cases, fit_of())
    monkeypatch.setattr(AverageFusion, "forward", last)
    found = compose(cases, fit_of(), RECIPE, networks)
    np.testing.assert_allclose(found.probabilities, networks[-1].probabilities, rtol=1e-4)
    assert set(training) == {False}


def test_the_networks_are_those_that_single_sources_have(cases: BankedCases) -> None:
    networks = networks_of(cases, fit_of(), RECIPE)
    for number, one in enumerate(networks):
        assert one.sources == (number,)
        assert one.fusion == ComponentConfig(use="concat")
        assert (one.method, one.seed) == ("network", 4)
        np.testing.assert_array_equal(one.train, fit_of().train)
        np.testing.assert_array_equal(one.test, fit_of().test)


def test_labels_of_test_cases_are_not_looked_at(cases: BankedCases) -> None:
    turned = cases.labels.copy()
    turned[:TESTED] = turned[:TESTED][::-1]
    found, other = (
        compose(c, fit_of(), RECIPE, trained(c, fit_of()))
        for c in (cases, replace(cases, labels=turned))
    )
    np.testing.assert_array_equal(found.probabilities, other.probabilities)


def test_each_label_is_averaged_by_itself(cases: BankedCases) -> None:
    several = replace(cases, labels=LABELS)
    recipe = replace(RECIPE, head=ComponentConfig(use="multilabel", hidden=8))
    networks = trained(several, fit_of(), recipe)
    found = compose(several, fit_of(), recipe, networks)
    mean = np.mean([1 / (1 + np.exp(-n.logits.astype(float))) for n in networks], axis=0)
    odds, told = (np.log(p / (1 - p)) for p in (mean, found.probabilities))
    assert found.probabilities.shape == (TESTED, 3)
    np.testing.assert_allclose(told / odds, np.full_like(odds, (told / odds)[0, 0]), rtol=1e-3)


def test_without_held_out_cases_nothing_is_calibrated(cases: BankedCases) -> None:
    one_patient = replace(cases, groups=cases.labels)
    networks = trained(one_patient, fit_of())
    assert [n.held_out_logits for n in networks] == [None, None]
    found = compose(one_patient, fit_of(), RECIPE, networks)
    mean = np.mean([n.probabilities for n in networks], axis=0)
    np.testing.assert_allclose(found.probabilities, mean, rtol=1e-4)
    assert np.isnan(found.held_out_loss)


@pytest.mark.parametrize("fusion", ["concat", "attention", "stacking", "weighted_average"])
def test_what_has_something_to_learn_is_trained_as_a_whole(cases: BankedCases, fusion: str) -> None:
    assert networks_of(cases, fit_of(fusion), RECIPE) == ()


def test_several_members_single_sources_and_baselines_are_trained_as_a_whole(
    cases: BankedCases,
) -> None:
    assert networks_of(cases, fit_of(), replace(RECIPE, members=3)) == ()
    assert networks_of(cases, fit_of(), replace(RECIPE, members=None)) == ()  # few cases
    assert networks_of(cases, fit_of(sources=[1]), RECIPE) == ()
    assert networks_of(cases, replace(fit_of(), method="k-NN"), RECIPE) == ()


@pytest.mark.parametrize("case", [0, CASES - 1])
def test_where_a_case_lacks_an_input_it_is_trained_as_a_whole(
    cases: BankedCases, case: int
) -> None:
    known = cases.known.copy()
    known[case, 1] = False
    assert networks_of(replace(cases, known=known), fit_of(), RECIPE) == ()
    both_of_one = replace(cases, known=known, inputs=(0, 0))
    assert len(networks_of(both_of_one, fit_of(), RECIPE)) == 2
