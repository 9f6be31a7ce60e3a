from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Events

from medfuse.errors import TrainingError
from medfuse.pretraining.batches import Drawing, ViewBatches
from medfuse.pretraining.health import features_of
from medfuse.pretraining.methods import build_learner, settled, views_of_one_image
from medfuse.pretraining.network import build_trainee
from medfuse.pretraining.session import Place, Pretraining
from medfuse.registry import load_registry
from tests.pretraining.conftest import pool_of, settings


class StoppedError(Exception):
    """As a kill would end it."""


def pretraining(folder=None, identity="", look=lambda _learner: {}, **changes):
    trainee = build_trainee(settings(**changes), load_registry(), 2)
    chosen = settled(settings(**changes), trainee)
    batches = ViewBatches(
        pool_of(*map(str, range(20))), chosen.batch_size,
        Drawing(
            chosen.views, trainee.view_size, views_of_one_image(chosen.method), chosen.seed
        ),
        [i % 2 for i in range(20)],
    )  # fmt: skip
    place = Place(torch.device("cpu"), folder, identity, checkpoint_seconds=0)
    return Pretraining(build_learner(trainee, chosen, [2]), batches, chosen, place, look)


def weights(session):
    return {k: v.clone() for k, v in session.learner.source.backbone.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


METHODS = [
    {"method": "simclr"},
    {"method": "mae", "backbone": "timm:test_vit", "size": 32},
    {"method": "supervised"},
]


@pytest.mark.slow
@pytest.mark.parametrize("how", METHODS, ids=lambda how: how["method"])
def test_same_seed_gives_the_same_weights_and_another_seed_others(how):
    runs = [pretraining(seed=seed, **how) for seed in (1, 1, 2)]
    for run in runs:
        run.run()
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


@pytest.mark.slow
@pytest.mark.parametrize("how", METHODS, ids=lambda how: how["method"])
@pytest.mark.parametrize("batch", [3, 4], ids=["amid an epoch", "behind an epoch"])
def test_a_broken_off_pretraining_ends_with_the_weights_of_an_unbroken_one(tmp_path, how, batch):
    whole = pretraining(epochs=3, **how)
    history = whole.run()
    broken = pretraining(tmp_path, epochs=3, **how)  # of two batches each

    def stop(engine):
        if engine.state.iteration == batch + 1:
            raise StoppedError

    broken.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises(StoppedError):
        broken.run()
    resumed = pretraining(tmp_path, epochs=3, **how)
    begun = []
    resumed.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: begun.append(engine.state.iteration)
    )
    assert resumed.run() == history
    assert same(weights(resumed), weights(whole))
    assert begun[0] == batch + 1


@pytest.mark.slow
def test_learning_lowers_the_loss():
    still = {"crop": [0.6, 1], "gamma": 1.2, "contrast": 0.1, "brightness": 0, "noise": 0}
    losses = [record["training_loss"] for record in pretraining(epochs=40, views=still).run()]
    assert sum(losses[-10:]) / 10 < sum(losses[:5]) / 5 - 0.3


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    pretraining(tmp_path, "one", epochs=1).run()
    with pytest.raises(TrainingError, match="of another configuration or of other cases"):
        pretraining(tmp_path, "two", epochs=1).run()


def test_a_loss_that_is_not_finite_ends_it_with_advice():
    session = pretraining()
    session.trainer.loss_function = lambda projected, _views: projected.sum() * math.nan
    with pytest.raises(TrainingError, match=r"loss is not finite in epoch 1\. Lower lr"):
        session.run()


def test_features_that_are_not_finite_end_it_with_advice():
    session = pretraining(epochs=1)
    with torch.no_grad():
        next(session.learner.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"not finite\. Lower lr"):
        features_of(session.learner.source, pool_of("1", "2"), [0, 1])


def test_the_rate_rises_then_falls_to_almost_nothing():
    session = pretraining(epochs=10)
    total = 20
    factors = [session.rate(i) for i in range(1, total + 1)]
    assert factors[:2] == [0.5, 1.0]
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert 0 < factors[-1] < 0.02
