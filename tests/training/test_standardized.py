"""Cases standardized once give the bits that standardizing every batch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medfuse.fusion.average import AverageFusion
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.heads.linear import LinearHead
from medfuse.training.batches import CaseBatches
from medfuse.training.data import Presence
from medfuse.training.learner import Learner
from medfuse.training.standardized import standardized_once

from .conftest import CLASSES, DIMS, make_cases, make_classifier


def _pool() -> nn.Module:
    return OpinionPool(make_classifier(), [LinearHead(dim, len(CLASSES)) for dim in DIMS])


_MODELS = {
    "features": make_classifier,
    "decisions": lambda: make_classifier(0, AverageFusion(len(DIMS), len(CLASSES))),
    "opinions": _pool,
}


@pytest.mark.parametrize("model", _MODELS)
def test_batches_of_standardized_cases_give_the_same_bits(model: str) -> None:
    known = np.ones((45, 2), dtype=bool)
    known[::4, 1] = False
    data, others = make_cases(presence=Presence(known, (0, 1))), make_cases(21, seed=1)
    learner = Learner(_MODELS[model]())
    learner.standardize(data, ())
    learner.eval()
    rows, views = torch.arange(9), torch.arange(9) % 3
    expected = learner(CaseBatches(data, 3, 9).batch(rows, views))
    with standardized_once(learner, (data, others)) as (done, held_out):
        found = learner(CaseBatches(done, 3, 9).batch(rows, views))
        assert held_out is not None
        assert float(held_out.features[0].mean()) < 1 < float(others.features[0].mean())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("model", _MODELS)
def test_afterwards_the_classifier_standardizes_again(model: str) -> None:
    data, learner = make_cases(), Learner(_MODELS[model]())
    learner.standardize(data, ())
    learner.eval()
    batch = CaseBatches(data, 3, 45).batch(torch.arange(45), torch.zeros(45).long())
    expected, names = learner(batch), list(learner.state_dict())
    with pytest.raises(KeyError), standardized_once(learner, (data, None)):
        raise KeyError
    assert torch.equal(learner(batch), expected)
    assert list(learner.state_dict()) == names


def test_features_in_half_precision_are_standardized_in_full() -> None:
    learner = Learner(make_classifier())
    data = make_cases()
    learner.standardize(data, ())
    half = data.__class__.of([x.half() for x in data.features], data.labels)
    with standardized_once(learner, (half, None)) as (done, _):
        assert all(x.dtype == torch.float32 for x in done.features)
