"""torchvision's classifiers as sources."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from medfuse_torchvision import families
from medfuse_torchvision.network import TorchvisionBackbone
from torchvision import models

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.backbones.weights import remap_keys
from medfuse.config import SourceConfig
from medfuse.registry.vendoring import check_imports

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")

# name, input size, pooled width, a place to cut at, its width
NETWORKS = [
    ("resnet18", None, 512, "layer3", 256),
    ("mobilenet_v3_small", None, 1024, "features.6", 40),
    ("squeezenet1_1", None, 512, "features.7", 256),
    ("shufflenet_v2_x0_5", None, 1024, "stage3", 96),
    ("densenet121", None, 1024, "features.denseblock2", 512),
    ("swin_t", None, 768, "features.2", 192),
    ("vit_b_32", (96, 96), 768, "encoder.layers.encoder_layer_1", 768),
]
each = pytest.mark.parametrize(
    ("name", "size", "pooled", "cut", "width"), NETWORKS, ids=[n[0] for n in NETWORKS]
)


class Torchvision:
    """A registry with torchvision alone."""

    def backbone(self, reference):
        return "torchvision", families.describe(reference.name)

    def qualified(self, reference):
        return reference


def build(use, **settings):
    target = SourceTarget(channels=1, size=(64, 64))
    return build_source(SourceConfig(use=use, **{"levels": 1, **settings}), Torchvision(), target)


@each
def test_a_network_is_measured_cut_and_traced(name, size, pooled, cut, width):
    whole = build(f"torchvision:{name}.random", input_size=size)
    short = build(f"torchvision:{name}.random", input_size=size, cut=cut)
    assert (whole.feature_dim, short.feature_dim) == (pooled, width)
    image = torch.rand(2, 1, 64, 64)
    for built in (whole, short):
        with torch.no_grad():
            traced = torch.jit.trace(built.module, image, check_trace=False)
            torch.testing.assert_close(traced(image), built.module(image))


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_by_default_several_levels_are_read(name):
    alone = build(f"torchvision:{name}.random")
    built = build(f"torchvision:{name}.random", levels="auto")
    assert built.feature_dim > alone.feature_dim
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        features = built.module(image)
        torch.testing.assert_close(features[:, : alone.feature_dim], alone.module(image))
        torch.testing.assert_close(
            torch.jit.trace(built.module, image, check_trace=False)(image), features
        )


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny", "swin_t", "alexnet"],
)
def test_a_published_state_loads_strictly_and_gives_what_the_last_layer_sees(name):
    torch.manual_seed(0)
    whole = models.get_model(name, weights=None).eval()
    backbone = TorchvisionBackbone(name).eval()
    remap = families.describe(name).weights[0].remap
    state, left_out = remap_keys(whole.state_dict(), remap)
    backbone.load_state_dict(state, strict=True)
    assert all(key.startswith(backbone.last) for key in left_out)
    seen = []
    last = whole.get_submodule(backbone.last)
    last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        whole(image)
        feature_map, pooled = backbone(image)
    vector = feature_map.mean((2, 3)) if pooled is None else pooled
    torch.testing.assert_close(vector, seen[0])


def test_old_densenet_keys_are_renamed():
    remap = families.describe("densenet121").weights[0].remap
    old = "features.denseblock1.denselayer2.norm.1.weight"
    state, _ = remap_keys({old: torch.zeros(1)}, remap)
    assert list(state) == ["net.features.denseblock1.denselayer2.norm1.weight"]


def test_the_weights_enum_is_the_contract():
    spec = families.describe("efficientnet_b0")
    weights = spec.weights[0]
    published = models.EfficientNet_B0_Weights.DEFAULT
    assert weights.url == published.url
    assert weights.normalization.mean == tuple(published.transforms().mean)
    assert (weights.interpolation, weights.input_size) == ("bicubic", (224, 224))
    assert weights.license == "BSD-3-Clause"
    assert {"imagenet1k_v1", "default", "imagenet1k"} == {w.name for w in spec.weights}


def test_weights_for_research_only_say_so():
    weights = {w.name: w for w in families.describe("vit_b_16").weights}
    assert weights["imagenet1k_swag_linear_v1"].license == "CC-BY-NC-4.0"
    assert weights["imagenet1k_swag_e2e_v1"].input_size == (384, 384)


def test_inceptions_hidden_normalization_is_in_the_contract():
    assert families.describe("googlenet").weights[0].normalization.mean == (0.5, 0.5, 0.5)


def test_the_vendored_file_imports_torch_and_torchvision_alone():
    check_imports(families.describe("resnet18").export)


def test_an_unknown_classifier_is_a_key_error():
    with pytest.raises(KeyError, match="resnet19"):
        families.describe("resnet19")


def test_every_classifier_is_listed():
    assert {"resnet18", "densenet121", "swin_t"} <= set(families.names())


def test_importing_the_plugin_imports_no_torch():
    code = "import sys, medfuse_torchvision; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
