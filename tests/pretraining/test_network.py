from __future__ import annotations

import pytest
import torch

from medfuse.errors import ConfigError, SourceError
from medfuse.pretraining.methods import build_learner
from medfuse.pretraining.network import WholeImages, build_trainee
from medfuse.registry import load_registry
from tests.pretraining.conftest import settings


def test_every_part_of_the_backbone_learns():
    chosen = settings(method="simclr")
    learner = build_learner(build_trainee(chosen, load_registry(), 2), chosen)
    learner.train()
    learner.loss(learner(torch.rand(8, 2, 1, 16, 16)), torch.empty(0)).backward()
    assert all(p.grad is not None for p in learner.source.backbone.parameters())


def test_weights_are_named_as_init_alone():
    with pytest.raises(ConfigError, match="expected plugin:name alone. Say what it begins with"):
        build_trainee(settings(backbone="mini:resnet.distilled"), load_registry(), 2)


def test_init_begins_with_published_weights():
    begun = build_trainee(
        settings(backbone="mini:resnet", init="distilled"), load_registry(), 2
    ).source.backbone.state_dict()
    other = build_trainee(settings(backbone="mini:resnet"), load_registry(), 2)
    key = "network.conv1.0.weight"
    assert not torch.equal(begun[key], other.source.backbone.state_dict()[key])


def test_a_network_of_any_size_is_used_at_the_size_of_whole_images():
    trainee = build_trainee(settings(), load_registry(), 2)
    assert (trainee.view_size, trainee.use_size) == ((16, 16), (24, 24))
    assert trainee.options == {}


def test_a_network_of_fixed_size_is_used_at_the_size_of_its_views():
    trainee = build_trainee(settings(backbone="timm:test_vit", size=32), load_registry(), 2)
    assert trainee.use_size == (32, 32)
    assert trainee.options == {"img_size": [32, 32]}
    whole = WholeImages(trainee.source, trainee.use_size)
    assert whole(torch.rand(2, 1, 48, 48)).shape == (2, trainee.built.feature_dim)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "timm:test_vit", "size": 9},
        {"backbone": "timm:test_vit", "size": 32, "options": {"img_size": [64, 64]}},
    ],
)
def test_a_size_that_does_not_fit_is_called_as_the_user_called_it(changes):
    with pytest.raises(SourceError, match="--size") as raised:
        build_trainee(settings(method="simclr", **changes), load_registry(), 2)
    assert "input_size" not in str(raised.value)


def test_a_bundle_is_no_init_and_the_error_says_what_to_do_instead():
    with pytest.raises(ConfigError, match="init is bundle:runs/first, .*source of 'medfuse train'"):
        build_trainee(settings(init="bundle:runs/first"), load_registry(), 2)
