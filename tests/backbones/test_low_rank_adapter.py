"""Adapters start as the frozen network, learn alone, and end as plain weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.border import LowerPart, UpperPart, find_border
from medfuse.backbones.build import BuiltSource, SourceTarget, build_source, learning_paths
from medfuse.backbones.low_rank_adapter import LowRankUpdate, adapted, merged
from medfuse.backbones.source import Source, selected_modules
from medfuse.backbones.stages import stages_above, trainable_paths
from medfuse.config import AdapterConfig, SourceConfig
from medfuse.errors import SourceError
from medfuse.registry import load_registry

REGISTRY = load_registry()
SWIN = {"embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "img_size": [56, 56]}
VIT = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 2, "img_size": [16] * 3}
SWIN_3D = {"embed_dim": 12, "depths": [1] * 4, "num_heads": [1] * 4}
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "timm:test_vit.random": ({"img_size": [48, 48]}, (48, 48)),
    "timm:swin_tiny_patch4_window7_224.random": (SWIN, (56, 56)),
    "monai:vit_3d.random": (VIT, (16, 16, 16)),
    "monai:swin_3d.random": (SWIN_3D, (32, 32, 32)),
}


def _built(use: str, train: str = "all", **changes: Any) -> tuple[SourceConfig, BuiltSource]:
    options, size = NETWORKS.get(use, ({}, (48, 48)))
    config = SourceConfig(use=use, options=options, train=train, **{"adapter": {}, **changes})
    return config, build_source(config, REGISTRY, SourceTarget(1, size))


def _adapted(use: str, train: str = "all", **changes: Any) -> tuple[BuiltSource, Any, Tensor]:
    """Return the frozen source, the same with adapters, and a batch of images."""
    config, built = _built(use, train, **changes)
    assert built.spec is not None
    assert config.adapter is not None
    paths = learning_paths(built.spec, config)
    module = adapted(copy.deepcopy(built.module), config.adapter, paths, seed=7)
    module.set_trainable(trainable_paths(built.spec, train))  # type: ignore[operator]
    images = torch.rand(2, *built.image, generator=torch.Generator().manual_seed(1))
    return built, module.eval(), images


def _learning(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _shaken(module: nn.Module) -> None:
    """Move the adapters away from 0."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in _learning(module).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("use", NETWORKS)
def test_adapters_start_as_the_frozen_network(use) -> None:
    built, module, images = _adapted(use)
    with torch.no_grad():
        assert torch.equal(module(images), built.module(images))


@pytest.mark.parametrize("use", NETWORKS)
def test_adapters_alone_get_gradients(use) -> None:
    _, module, images = _adapted(use)
    learning = _learning(module)
    assert learning
    assert all(name.endswith((".up", ".down")) for name in learning)
    module.train()(images).square().sum().backward()
    ups = [p for name, p in learning.items() if name.endswith(".up")]
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in ups)
    others = [p for name, p in module.named_parameters() if name not in learning]
    assert all(p.grad is None for p in others)


@pytest.mark.parametrize("use", NETWORKS)
def test_merged_adapters_give_the_same_by_the_keys_of_the_plain_network(use) -> None:
    built, module, images = _adapted(use)
    _shaken(module)
    with torch.no_grad():
        before = module(images)
        after = merged(module)(images)
        assert not torch.allclose(before, built.module(images))
    assert torch.allclose(before, after, rtol=0, atol=1e-6)
    assert module.state_dict().keys() == built.module.state_dict().keys()
    built.module.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.allclose(built.module(images), after, rtol=0, atol=1e-6)


def test_query_key_and_value_each_have_their_own_pair() -> None:
    _, module, _ = _adapted("timm:test_vit.random", adapter={"rank": 2})
    qkv = module.backbone.net.blocks[0].attn.qkv
    assert qkv.parametrizations.weight[0].down.shape == (3, 2, 64)
    assert qkv.parametrizations.weight[0].up.shape == (3, 64, 2)


def test_the_update_is_alpha_over_rank_times_the_product() -> None:
    config = AdapterConfig(rank=2, alpha=6.0)
    update = LowRankUpdate(torch.zeros(5, 4), config, 1, torch.Generator().manual_seed(0))
    nn.init.normal_(update.up)
    expected = 3.0 * update.up[0] @ update.down[0]
    assert torch.allclose(update(torch.zeros(5, 4)), expected, atol=1e-6)
    assert torch.linalg.matrix_rank(update(torch.zeros(5, 4))) == 2


def test_the_same_seed_draws_the_same_adapters() -> None:
    first, second = (_adapted("timm:test_vit.random")[1].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_attention_that_keeps_its_weight_itself_is_adapted() -> None:
    module = Source(_Attention(), nn.Identity(), "native").eval()
    module = adapted(module, AdapterConfig(), "all", 0)  # type: ignore[assignment]
    module.set_trainable("all")
    assert {n.partition("parametrizations.")[2] for n in _learning(module)} == {
        "in_proj_weight.0.up", "in_proj_weight.0.down", "weight.0.up", "weight.0.down"
    }  # fmt: skip
    images = torch.rand(2, 5, 12)
    _shaken(module)
    with torch.no_grad():
        assert torch.allclose(module(images), merged(module)(images), atol=1e-6)


class _Attention(nn.Module):
    """Attention of torch over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.self_attention(x, x, x, need_weights=False)[0]
        return found.mean(1)


def test_adapters_learn_in_the_stages_that_train_names() -> None:
    _, module, _ = _adapted("timm:test_vit.random", "last:2")
    blocks = {name.split("blocks.")[1][0] for name in _learning(module)}
    assert blocks == {"4", "5"}
    adapters = [p for p in module.backbone.modules() if isinstance(p, LowRankUpdate)]
    assert len(adapters) == 4


def test_adapters_are_freed_step_by_step() -> None:
    steps = [{"after": 2, "train": "last:3"}]
    built, module, _ = _adapted("timm:test_vit.random", "last:1", unfreeze=steps)
    assert {name.split("blocks.")[1][0] for name in _learning(module)} == {"5"}
    assert built.spec is not None
    module.set_trainable(trainable_paths(built.spec, "last:3"))
    assert {name.split("blocks.")[1][0] for name in _learning(module)} == {"3", "4", "5"}


def test_depth_of_adapters_is_that_of_their_layer() -> None:
    built, module, _ = _adapted("timm:test_vit.random")
    assert built.spec is not None
    above = stages_above(module.backbone, built.spec)
    name = next(n for n in _learning(module) if "blocks.2." in n)
    assert above[name.removeprefix("backbone.").rpartition(".")[0]] == 3


@pytest.mark.parametrize(("targets", "count"), [("auto", 12), ("all", 24), (["mlp.fc1"], 6)])
def test_targets_choose_the_layers(targets, count) -> None:
    _, module, _ = _adapted("timm:test_vit.random", adapter={"targets": targets})
    adapters = [p for p in module.backbone.modules() if isinstance(p, LowRankUpdate)]
    assert len(adapters) == count


def test_the_network_in_the_bundle_stays_frozen_when_it_is_trained_again() -> None:
    _, built = _built("timm:test_vit.random")
    assert built.node is not None
    assert built.node["trainable"] == []


def test_a_network_on_slices_is_adapted_too() -> None:
    config = SourceConfig(use="timm:test_vit.random", options={"img_size": [48, 48]}, train="all",
                          adapter=AdapterConfig())  # fmt: skip
    built = build_source(config, REGISTRY, SourceTarget(1, (48, 48, 3)))
    module: Any = adapted(copy.deepcopy(built.module), AdapterConfig(), "all", 0)
    module.set_trainable("all")
    assert all(name.endswith((".up", ".down")) for name in _learning(module))
    volumes = torch.rand(1, 1, 48, 48, 3)
    with torch.no_grad():
        assert torch.equal(module.eval()(volumes), built.module(volumes))


def test_a_network_without_linear_layers_is_refused() -> None:
    with pytest.raises(
        SourceError, match="wants layers of a transformer, but the network has none"
    ):
        _built("timm:test_resnet.random")


@pytest.mark.parametrize(
    ("use", "targets", "message"),
    [
        ("timm:test_convnext.random", "auto", "finds no attention in what train names"),
        ("timm:test_vit.random", ["q_proj"], "finds no such layer .*blocks.0.attn.qkv"),
    ],
)
def test_a_network_without_the_layers_meant_is_refused(use, targets, message) -> None:
    with pytest.raises(SourceError, match=message):
        _built(use, adapter={"targets": targets})


@pytest.mark.parametrize("train", ["frozen", "scratch"])
def test_an_adapter_that_learns_nowhere_is_refused(train) -> None:
    with pytest.raises(ValueError, match="adapter stands beside train: "):
        SourceConfig(use="timm:test_vit", train=train, adapter=AdapterConfig())


def test_an_adapter_learns_at_the_full_rate() -> None:
    assert SourceConfig(use="x", train="all", adapter=AdapterConfig()).first_lr_scale == 1.0
    assert SourceConfig(use="x", train="all").first_lr_scale == 0.1


def test_adapters_learn_on_banked_activations_of_what_lies_below() -> None:
    built, module, images = _adapted("timm:test_vit.random", "last:2")
    assert built.spec is not None
    paths = trainable_paths(built.spec, "last:2")
    stages = [stage.module_path for stage in built.spec.stages]
    border = find_border(
        built.module, stages, selected_modules(built.module.backbone, paths), built.image
    )
    assert border is not None
    _shaken(module)
    with torch.no_grad():
        found = UpperPart(module, border)(LowerPart(built.module, border)(images))
        assert torch.allclose(found, module(images), atol=1e-6)


def test_a_source_that_is_ranked_frozen_needs_no_adapter() -> None:
    config = SourceConfig(use="timm:test_resnet.random", train="all", adapter=AdapterConfig())
    frozen = config.model_copy(update={"train": "frozen"})
    assert build_source(frozen, REGISTRY, SourceTarget(1, (48, 48))).module.trainable == ()


def test_a_rank_of_true_is_no_rank() -> None:
    with pytest.raises(ValueError, match="expected an integer"):
        AdapterConfig(rank=True)
