from __future__ import annotations

import pytest
import torch

from medfuse.config import ComponentConfig
from medfuse.contract import HeadSpec
from medfuse.errors import ConfigError, PluginError
from medfuse.model import DecisionClassifier, FeatureClassifier
from medfuse.registry.registry import Registry, load_registry
from medfuse.training.classifier import SourceWidth, build_classifier, check_training

from .conftest import make_config


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def _use(name: str, **options: object) -> ComponentConfig:
    return ComponentConfig.model_validate({"use": name, **options})


def test_a_feature_fusion_gets_one_head_and_its_options(registry: Registry) -> None:
    fusion, head = _use("attention", heads=2), _use("mlp", hidden=5)
    built = build_classifier(fusion, head, registry, [SourceWidth(6), SourceWidth(4)], 3)
    assert isinstance(built.module, FeatureClassifier)
    assert built.module([torch.zeros(2, 6), torch.zeros(2, 4)]).shape == (2, 3)
    assert built.node is not None
    assert built.node["fusion"]["_target_"] == "scripts.fusion_attention.AttentionFusion"
    assert built.node["fusion"]["heads"] == 2
    assert built.node["head"]["in_dim"] == 10
    assert built.vendored == ("medfuse.model", "medfuse.fusion.attention", "medfuse.heads.mlp")


def test_a_decision_fusion_gets_a_head_per_source(registry: Registry) -> None:
    built = build_classifier(
        _use("average"), _use("sigmoid"), registry, [SourceWidth(6), SourceWidth(4)], 2
    )
    assert isinstance(built.module, DecisionClassifier)
    logits = built.module([torch.randn(2, 6), torch.randn(2, 4)])
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))
    assert [h["in_dim"] for h in built.node["heads"]] == [6, 4]


def test_untrained_parameters_depend_on_the_seed_alone(registry: Registry) -> None:
    built = build_classifier(
        _use("concat"), _use("mlp"), registry, [SourceWidth(6), SourceWidth(4)], 3
    )
    torch.rand(5)
    state = torch.random.get_rng_state()
    one, same, other = built.fresh(1), built.fresh(1), built.fresh(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.head.hidden.weight, same.head.hidden.weight)
    assert not torch.equal(one.head.hidden.weight, other.head.hidden.weight)


def test_maps_are_asked_for_where_the_fusion_takes_them(registry: Registry) -> None:
    head = _use("linear")
    assert build_classifier(_use("attention_maps"), head, registry, [SourceWidth(8)], 2).takes_maps
    assert not build_classifier(_use("average"), head, registry, [SourceWidth(8)], 2).takes_maps


@pytest.mark.parametrize(
    ("fusion", "head", "error", "message"),
    [
        (_use("atention"), _use("mlp"), PluginError, "attention"),
        (_use("concat"), _use("mlp", hiden=3), ConfigError, 'Did you mean "hidden"'),
        (_use("concat"), _use("mlp", dropout=2.0), ConfigError, "float, 0 to 0.95"),
        (_use("attention", heads=7, width=32), _use("mlp"), ConfigError, "fusion 'attention'.*7"),
        (_use("concat"), _use("sigmoid"), ConfigError, "one logit for 2 classes, found 3"),
    ],
)
def test_mistakes_are_named(
    registry: Registry,
    fusion: ComponentConfig,
    head: ComponentConfig,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        build_classifier(fusion, head, registry, [SourceWidth(6), SourceWidth(4)], 3)


def test_soft_targets_are_refused_for_a_head_that_cannot_take_them() -> None:
    head = HeadSpec(name="hard", summary="", factory="a:b", supports_soft_targets=False)
    check_training(head, make_config())
    with pytest.raises(ConfigError, match="head 'hard' cannot learn from soft targets"):
        check_training(head, make_config(mixup=0.2))
