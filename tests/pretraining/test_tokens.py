from __future__ import annotations

import pytest
import torch

from medfuse.errors import ConfigError
from medfuse.pretraining.methods import settled
from medfuse.pretraining.network import Trainee, build_trainee
from medfuse.pretraining.tokens import TokenNetwork, token_network
from medfuse.registry import load_registry
from tests.pretraining.conftest import VISION_TRANSFORMERS, settings

CASES = [pytest.param(*case, id=str(case[0]["backbone"])) for case in VISION_TRANSFORMERS]


def trainee(dims: int, **changes: object) -> Trainee:
    built = build_trainee(settings(**changes), load_registry(), dims)
    built.source.eval()
    return built


def hiding(dims: int, **changes: object) -> tuple[TokenNetwork, torch.Tensor]:
    found = trainee(dims, **changes)
    views = torch.rand(2, 1, *found.view_size, generator=torch.Generator().manual_seed(0))
    images = found.source.adapter(views)
    return token_network(found.built, images, found.name), images


@pytest.mark.parametrize(("changes", "dims"), CASES)
@torch.no_grad()
def test_what_is_hidden_changes_nothing(changes, dims):
    network, images = hiding(dims, **changes)
    kept = torch.tensor([[0, 2], [2, 3]])  # on a grid of 2 x 2 (x 2)
    other = images.clone()
    other[0, ..., : images.shape[-2] // 2, images.shape[-1] // 2 :] += 1  # place 1, and above
    tokens, vector = network.visible(images, kept)
    again, other_vector = network.visible(other, kept)
    assert tokens.shape == (2, 2, network.width)
    torch.testing.assert_close(again, tokens)
    if vector is not None:
        torch.testing.assert_close(other_vector, vector)
    changed, _ = network.visible(other, torch.tensor([[0, 1], [2, 3]]))
    assert not torch.allclose(changed[0], network.visible(images, torch.tensor([[0, 1]] * 2))[0][0])


@pytest.mark.parametrize(("changes", "dims"), CASES)
@torch.no_grad()
def test_tokens_are_those_of_their_places(changes, dims):
    network, images = hiding(dims, **changes)
    order = torch.arange(network.count).flip(0).expand(2, -1)
    exact = network.backbone(images)[0].flatten(2).transpose(1, 2)
    tokens, _ = network.visible(images, order)
    torch.testing.assert_close(tokens, exact.flip(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.backbone(images)[0].flatten(2).transpose(1, 2), exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "timm:test_resnet has no tokens to hide. Use --method simclr"),
        ({"backbone": "timm:mixer_s32_224", "size": 224}, "not work on a part of its tokens"),
        ({"backbone": "timm:test_vit", "size": 16}, "sees 1 patches: too few to hide 75%"),
    ],
)
def test_a_network_that_cannot_hide_tokens_is_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        settled(settings(method="mae", **changes), trainee(2, **changes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({}, "simclr"),
        ({"backbone": "timm:test_vit", "size": 32}, "mae"),
        ({"backbone": "timm:mixer_s32_224", "size": 224}, "simclr"),
    ],
)
def test_the_network_decides_on_the_method_unless_given(changes, method):
    assert settled(settings(**changes), trainee(2, **changes)).method == method


def test_views_are_those_of_the_method_where_none_are_given():
    small = {"backbone": "timm:test_vit", "size": 32}
    own = settings(**small, views={"rotate": 5})
    chosen = settled(own, trainee(2, **small)).views
    assert (chosen.rotate, chosen.noise, chosen.gamma) == (5, 0, 1)
    supervised = settled(settings(method="supervised"), trainee(2)).views
    assert supervised.crop == (0.5, 1.0)
