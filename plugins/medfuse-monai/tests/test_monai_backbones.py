"""MONAI's networks as sources, in two and three dimensions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from medfuse_monai import families

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig
from medfuse.errors import WeightsError
from medfuse.registry.vendoring import check_imports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MONAI's own, at import
]

# name, width, a place to cut at, its width
NETWORKS = [
    ("resnet10", 512, "layer2", 128),
    ("resnet18_3d", 512, "layer3", 256),
    ("densenet121", 1024, "features.denseblock2", 512),
    ("seresnet50_3d", 2048, "layer2", 512),
    ("efficientnet_b0", 1280, "_blocks.2", 40),
]
each = pytest.mark.parametrize(
    ("name", "width", "cut", "cut_width"), NETWORKS, ids=[network[0] for network in NETWORKS]
)


class Monai:
    """A registry with MONAI alone."""

    def backbone(self, reference):
        return "monai", families.describe(reference.name)

    def qualified(self, reference):
        return reference


def build(use, **settings):
    target = SourceTarget(channels=1, size=(32, 24, 32) if "_3d" in use else (64, 48))
    return build_source(SourceConfig(use=use, **{"levels": 1, **settings}), Monai(), target)


@each
def test_a_network_is_measured_cut_and_traced(name, width, cut, cut_width):
    whole = build(f"monai:{name}.random")
    short = build(f"monai:{name}.random", cut=cut)
    assert (whole.feature_dim, short.feature_dim) == (width, cut_width)
    image = torch.rand(2, 1, *whole.identity["input_size"])
    for built in (whole, short):
        with torch.no_grad():
            traced = torch.jit.trace(built.module, image, check_trace=False)
            torch.testing.assert_close(traced(image), built.module(image))


@pytest.mark.parametrize("name", ["resnet10", "resnet18_3d"])
def test_by_default_several_levels_are_read(name):
    alone = build(f"monai:{name}.random")
    built = build(f"monai:{name}.random", levels="auto")
    assert built.feature_dim > alone.feature_dim
    image = torch.rand(2, 1, *built.identity["input_size"])
    with torch.no_grad():
        features = built.module(image)
        torch.testing.assert_close(features[:, : alone.feature_dim], alone.module(image))
        torch.testing.assert_close(
            torch.jit.trace(built.module, image, check_trace=False)(image), features
        )


def test_a_network_with_fewer_layers_than_described_reads_the_levels_that_it_has():
    small = {"num_layers": 2, "hidden_size": 48, "num_heads": 4, "mlp_dim": 64}
    options = {**small, "img_size": [32, 32, 32]}
    config = SourceConfig(use="monai:vit_3d.random", options=options, input_size=(32, 32, 32))
    built = build_source(config, Monai(), SourceTarget(channels=1, size=(32, 32, 32)))
    assert [stage.name for stage in built.spec.stages] == ["blocks.0", "blocks.1"]


def test_a_volume_can_be_resized():
    built = build("monai:resnet10_3d.random", input_size=(24, 24, 24))
    assert built.identity["input_size"] == [24, 24, 24]
    assert built.feature_dim == 512


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_a_file_in_medicalnets_form_loads_strictly(tmp_path, depth):
    own = build(f"monai:resnet{depth}_3d.random").module.backbone.net.state_dict()
    state = {f"module.{key}": value for key, value in own.items()}
    torch.save({"state_dict": {**state, "module.conv_seg.0.weight": torch.ones(1)}}, tmp_path / "w")
    built = build(f"monai:resnet{depth}_3d.medicalnet@{tmp_path / 'w'}")
    assert built.card["left_out"] == ["module.conv_seg.0.weight"]
    assert built.identity["adapter"]["per_image"]
    assert built.card["license"] == "MIT"
    published = families.describe(f"resnet{depth}_3d").weights[0].hub_id
    assert published.endswith(f"MedicalNet-Resnet{depth}/resnet_{depth}_23dataset.pth")


def test_a_network_without_weights_asks_for_them():
    with pytest.raises(
        WeightsError, match=r"ask for an untrained network: monai:densenet121.random"
    ):
        build("monai:densenet121")


def test_names_and_descriptions_agree():
    for name in families.names():
        spec = families.describe(name)
        assert (spec.name, spec.spatial_dims) == (name, 3 if name.endswith("_3d") else 2)


def test_the_vendored_file_imports_torch_and_monai_alone():
    check_imports(families.describe("resnet10").export)


def test_an_unknown_network_is_a_key_error():
    with pytest.raises(KeyError, match="resnet11"):
        families.describe("resnet11_3d")


def test_describing_imports_neither_torch_nor_monai():
    code = (
        "import sys, medfuse_monai.families as f; f.describe('resnet10');"
        "sys.exit(bool({'torch', 'monai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
