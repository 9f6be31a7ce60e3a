from __future__ import annotations

import numpy as np
import pytest
import torch

from medfuse.config import ComponentConfig
from medfuse.contract import HeadSpec
from medfuse.errors import ConfigError, PluginError
from medfuse.model import DecisionClassifier, FeatureClassifier
from medfuse.registry.registry import Registry, load_registry
from medfuse.training.classifier import (
    SourceWidth,
    build_classifier,
    check_head,
    check_missing_inputs,
    check_training,
)

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
    assert built.vendored == (
        "medfuse.model",
        "medfuse.fusion.attention",
        "medfuse.fusion.presence",
        "medfuse.heads.mlp",
        "medfuse.heads.noise",
    )


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


PLAIN = """
from medfuse.contract import *
VENDORED = VendoredSource(modules=("plain_fusions",))

@hookimpl
def medfuse_fusions():
    yield FeatureFusionSpec(name="plain", summary="s", factory="plain_fusions:Plain",
                            export=VENDORED)
    yield DecisionFusionSpec(name="product", summary="s", factory="plain_fusions:Product",
                             export=VENDORED, fitting="FITTING")
"""
FUSIONS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, in_dims):
        super().__init__()
        self.out_dim = sum(in_dims)

    def forward(self, features, mask):
        return torch.cat(features, 1), None

class Product(nn.Module):
    def __init__(self, num_sources, num_outputs):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(num_sources))

    def forward(self, logits, mask):
        return (logits * self.weights[:, None]).sum(1), None
"""


def test_missing_inputs_are_refused_by_a_fusion_that_needs_all(install_plugin) -> None:
    install_plugin("plain", PLAIN, plain_fusions=FUSIONS)
    found = load_registry()
    known = np.array([[True, True], [True, False], [False, True]])
    with pytest.raises(ConfigError, match="fusion 'plain' .* 2 of 3 cases lack one") as caught:
        check_missing_inputs("plain", found, known)
    named = str(caught.value).partition("that can: ")[2]
    assert "attention" in named
    assert "plain" not in named
    check_missing_inputs("plain", found, known[:1])
    check_missing_inputs("attention", found, known)


def test_undeclared_parameters_of_a_decision_fusion_are_refused(install_plugin) -> None:
    install_plugin("plain", PLAIN.replace("FITTING", "none"), plain_fusions=FUSIONS)
    with pytest.raises(PluginError, match="fusion 'product' has parameters, but its fitting is"):
        build_classifier(_use("product"), _use("linear"), load_registry(), [SourceWidth(6)] * 2, 3)


def test_declared_parameters_of_a_decision_fusion_are_taken(install_plugin) -> None:
    install_plugin("plain", PLAIN.replace("FITTING", "out_of_fold"), plain_fusions=FUSIONS)
    built = build_classifier(
        _use("product"), _use("linear"), load_registry(), [SourceWidth(6)] * 2, 3
    )
    assert isinstance(built.module, DecisionClassifier)


@pytest.mark.parametrize("head", [{"link": "coral"}, {"task": "ordinal"}, {"task": "multilabel"}])
def test_a_head_that_nothing_trains_yet_is_refused(head: dict[str, str]) -> None:
    spec = HeadSpec(name="odd", summary="", factory="a:b", **head)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="training takes multiclass heads with link softmax or"):
        check_head(spec, 3)


@pytest.mark.parametrize("head", ["coral", "corn"])
@pytest.mark.parametrize("change", [{"mixup": 0.2}, {"label_smoothing": 0.1}])
def test_grading_heads_refuse_soft_targets(
    registry: Registry, head: str, change: dict[str, float]
) -> None:
    check_training(registry.head(head), make_config())
    with pytest.raises(ConfigError, match=f"head '{head}' cannot learn from soft targets"):
        check_training(registry.head(head), make_config(**change))


def test_a_loss_of_grades_is_refused_for_classes_without_order(registry: Registry) -> None:
    check_training(registry.head("corn"), make_config(loss="coral"))
    with pytest.raises(ConfigError, match="head 'mlp' have no order. Use head: coral or corn"):
        check_training(registry.head("mlp"), make_config(loss="coral"))


@pytest.mark.parametrize("fusion", ["attention", "average"])
@pytest.mark.parametrize("head", ["coral", "corn", "prototype"])
def test_every_head_ends_in_k_classes_with_either_topology(
    registry: Registry, fusion: str, head: str
) -> None:
    built = build_classifier(_use(fusion), _use(head), registry, [SourceWidth(6)] * 2, 5)
    logits = built.module.eval()([torch.randn(3, 6), torch.randn(3, 6)])
    assert logits.shape == (3, 5)
    torch.testing.assert_close(logits.softmax(1).sum(1), torch.ones(3))
