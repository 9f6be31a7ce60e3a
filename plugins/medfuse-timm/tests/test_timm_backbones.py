"""timm's models as sources: convolutional, channels-last and token networks alike."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import timm
import torch
from medfuse_timm import families, stages
from medfuse_timm.network import TimmBackbone
from medfuse_timm.tags import training_data
from safetensors.torch import save_file

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import NormalizationConfig, SourceConfig
from medfuse.errors import SourceError
from medfuse.registry.vendoring import check_imports, copy_vendored

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

WEIGHTS = Path(__file__).resolve().parents[3].parent / "shared" / "weights"
TARGET = SourceTarget(channels=1, size=(64, 64))


class Network(NamedTuple):
    """A model, and what is expected of it."""

    name: str
    options: dict
    size: tuple[int, int]
    width: int
    pooled: int
    cut: str
    cut_width: int

    def build(self, target=None, cut=None, levels=1):
        settings = {
            "options": self.options,
            "input_size": self.size,
            "cut": cut,
            "levels": levels,
        }
        return build(f"timm:{self.name}.random", target or TARGET, **settings)


NETWORKS = [
    Network("resnet10t", {}, (64, 64), 512, 512, "layer2", 128),
    Network("mobilenetv3_small_050", {}, (64, 64), 288, 1024, "blocks.3.0", 24),
    Network(
        "swin_tiny_patch4_window7_224", {"window_size": 2}, (64, 64), 768, 768, "layers.1", 192
    ),
    Network("vit_tiny_patch16_224", {}, (64, 96), 192, 192, "blocks.5", 192),
    Network("deit_tiny_distilled_patch16_224", {}, (64, 64), 192, 192, "blocks.5", 192),
    Network("convnext_atto", {}, (64, 64), 320, 320, "stages.1", 80),
]
each = pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])


class Timm:
    """A registry with timm alone."""

    def backbone(self, reference):
        return "timm", families.describe(reference.name)

    def qualified(self, reference):
        return reference


def build(use, target=TARGET, **settings):
    return build_source(SourceConfig(use=str(use), **{"levels": 1, **settings}), Timm(), target)


@each
def test_a_network_gives_map_vector_and_tokens(network):
    vector = network.build()
    tokens = network.build(SourceTarget(3, (64, 64), tokens=True))
    assert (vector.feature_dim, vector.tokens) == (network.pooled, 0)
    assert (tokens.feature_dim, tokens.tokens) == (network.width, 16)


@each
def test_a_cut_ends_at_the_stage(network):
    short = network.build(cut=network.cut)
    assert short.feature_dim == network.cut_width
    assert len(short.module.state_dict()) < len(network.build().module.state_dict())


@each
def test_a_trace_gives_the_same(network):
    image = torch.rand(2, 1, 64, 64)
    for place in (None, network.cut):
        module = network.build(cut=place).module
        with torch.no_grad():
            traced = torch.jit.trace(module, image, check_trace=False)
            torch.testing.assert_close(traced(image), module(image))


@each
def test_several_levels_begin_with_the_own_vector_and_trace(network):
    alone, built = network.build(), network.build(levels="auto")
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        features = built.module(image)
        torch.testing.assert_close(features[:, : alone.feature_dim], alone.module(image))
        torch.testing.assert_close(
            torch.jit.trace(built.module, image, check_trace=False)(image), features
        )


def test_pooled_and_map_equal_timms_own():
    net = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    backbone = TimmBackbone("mobilenetv3_small_050").eval()
    backbone.net.load_state_dict(net.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        feature_map, pooled = backbone(image)
        torch.testing.assert_close(pooled, net(image))
        torch.testing.assert_close(feature_map, net.forward_features(image))


def test_tokens_lie_in_the_map_rows_first_without_the_class_token():
    backbone = TimmBackbone("vit_tiny_patch16_224", img_size=(32, 64)).eval()
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        feature_map, pooled = backbone(image)
        tokens = backbone.net.forward_features(image)
    assert feature_map.shape == (1, 192, 2, 4)
    torch.testing.assert_close(feature_map[0, :, 1, 2], tokens[0, 1 + 4 + 2])
    torch.testing.assert_close(pooled, tokens[:, 0])


def test_channels_last_becomes_channels_first():
    keywords = {"img_size": 64, "window_size": 2}
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", **keywords).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.net.forward_features(image)
        assert torch.equal(backbone(image)[0][0, :, 0, 1], expected[0, 0, 1])


def test_a_file_of_timm_with_its_classifier_loads_strictly(tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("resnet10t", num_classes=5).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    built = build(
        f"timm:resnet10t@{tmp_path / 'w.safetensors'}", normalization=NormalizationConfig()
    )
    image = torch.rand(1, 3, 176, 176)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(image), pre_logits=True)
        torch.testing.assert_close(built.module.backbone(image)[1], expected)
    assert sorted(built.card["left_out"]) == ["fc.bias", "fc.weight"]


def test_the_copy_in_a_bundle_gives_the_same_without_medfuse(tmp_path, monkeypatch):
    built = build("timm:resnet10t.random", cut="layer3", train="last:1")
    copy_vendored(built.vendored, tmp_path / "scripts")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n == "scripts" or n.startswith("scripts.")]:
        monkeypatch.delitem(sys.modules, name)
    rebuilt = instantiate(built.node).eval()
    assert type(rebuilt).__module__ == "scripts.backbones_source"
    rebuilt.load_state_dict(built.module.state_dict(), strict=True)
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(rebuilt(image), built.module(image))
    for name in [n for n in sys.modules if n == "scripts" or n.startswith("scripts.")]:
        monkeypatch.delitem(sys.modules, name)


def instantiate(node):
    """Do what MONAI's ConfigParser does with nested nodes."""
    if isinstance(node, dict) and "_target_" in node:
        module, _, name = node["_target_"].rpartition(".")
        keywords = {key: instantiate(v) for key, v in node.items() if key != "_target_"}
        return getattr(importlib.import_module(module), name)(**keywords)
    return node


def test_the_vendored_file_imports_torch_and_timm_alone():
    check_imports(families.describe("resnet10t").export)


def test_a_description_has_what_timm_says():
    spec = families.describe("swin_tiny_patch4_window7_224")
    weights = spec.weights[0]
    assert spec.stem == "net.patch_embed.proj"
    assert [stage.name for stage in spec.stages] == [f"layers.{n}" for n in range(4)]
    assert spec.stages[0].layout == "channels_last"
    assert (weights.license, weights.size_policy, weights.input_size) == (
        "MIT",
        "fixed",
        (224, 224),
    )
    assert weights.hub_id == "timm/swin_tiny_patch4_window7_224.ms_in1k"
    assert weights.normalization.mean == (0.485, 0.456, 0.406)


def test_tags_are_the_names_of_weights_the_default_first():
    names = [weights.name for weights in families.describe("resnet18").weights]
    assert names[0] == "a1_in1k"
    assert "tv_in1k" in names


def test_blocks_between_timms_own_stages_are_stages_too():
    names = [stage.name for stage in families.describe("mobilenetv2_035").stages]
    assert names == [f"blocks.{n}" for n in range(7)]


def test_a_tag_names_its_training_data():
    assert training_data("augreg_in21k_ft_in1k") == ("imagenet21k", "imagenet1k")
    assert training_data("lvd142m") == ("lvd142m",)


def test_an_unknown_architecture_is_a_key_error():
    with pytest.raises(KeyError, match="resnet19"):
        families.describe("resnet19")


@each
def test_a_network_is_described_as_with_its_norms(network, monkeypatch):
    described = families.describe(network.name)
    monkeypatch.setattr(stages, "_NORMS", ())
    assert families.describe(network.name) == described


def test_norms_come_back_after_a_description():
    with torch.device("meta"):
        backbone = TimmBackbone("resnet10t").eval()
    stages.stages(backbone, (64, 64))
    assert not [m for m in backbone.modules() if "forward" in vars(m)]


def test_every_architecture_is_listed():
    assert {"resnet18", "vit_tiny_patch16_224", "mobilenetv2_035"} <= set(families.names())


def test_a_model_of_several_maps_is_refused():
    with pytest.raises(ValueError, match=r"gives a list, expected one feature map \(at 240 x 240"):
        families.describe("crossvit_tiny_240")


def test_importing_the_plugin_imports_no_torch():
    code = "import sys, medfuse_timm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="promise not shown: genuine weights need ../shared/weights"
)


@needs_weights
def test_the_genuine_mobilenetv2_loads_strictly_and_gives_1280_features():
    built = build(
        f"timm:mobilenetv2_035@{WEIGHTS / 'mobilenetv2_035.keras_in1k.safetensors'}",
        options={"pad_type": "same", "bn_eps": 1e-3},
        normalization=NormalizationConfig(mean=[0.5], std=[0.5]),
    )
    assert built.feature_dim == 1280
    assert built.card["left_out"] == []
    with torch.no_grad():
        features = built.module(torch.rand(2, 1, 64, 64))
    assert features.isfinite().all()
    assert features.min() >= 0
    assert features.std() > 0.01


@needs_weights
def test_the_genuine_mobilenetv1_is_usable_up_to_its_last_block():
    use = f"timm:mobilenetv1_100@{WEIGHTS / 'mobilenetv1_100.keras_in1k.block12.safetensors'}"
    settings = {
        "options": {"pad_type": "same", "bn_eps": 1e-3},
        "normalization": NormalizationConfig(mean=[0.5], std=[0.5]),
    }
    with pytest.raises(SourceError, match=r"keys missing \(blocks\.4\.1\."):
        build(use, **settings)
    built = build(use, cut="blocks.4.0", **settings)
    assert built.feature_dim == 1024
    assert built.card["left_out"] == []


def test_weights_of_one_size_serve_another_where_embeddings_are_interpolated():
    options = {"dynamic_img_size": True}
    small = build("timm:test_vit.random", input_size=(96, 64), options=options)
    own = build("timm:test_vit.random", input_size=(160, 160))
    assert small.module.backbone.state_dict().keys() == own.module.backbone.state_dict().keys()
    shapes = [[v.shape for v in b.module.backbone.state_dict().values()] for b in (small, own)]
    assert shapes[0] == shapes[1]
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        features = small.module(image)
        torch.testing.assert_close(
            torch.jit.trace(small.module, image, check_trace=False)(image), features
        )
