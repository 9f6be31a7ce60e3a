"""The embedded sources as medfuse builds them."""

from __future__ import annotations

import pytest
import torch
from medfuse_mini import SHA256

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig
from medfuse.registry import load_registry


@pytest.mark.parametrize(("name", "width"), [("densenet", 516), ("resnet", 416)])
@pytest.mark.parametrize("channels", [1, 3])
def test_source_builds_from_the_package_without_a_download(name, width, channels):
    target = SourceTarget(channels=channels, size=(160, 144))
    built = build_source(SourceConfig(use=f"mini:{name}"), load_registry(), target)
    with torch.inference_mode():
        features = built.module(torch.rand(2, channels, 160, 144))
    assert features.shape == (2, width)
    assert built.feature_dim == width
    assert built.card["sha256"] == SHA256[f"{name}.distilled"]
    assert built.card["license"] == "Apache-2.0 AND CC-BY-4.0"


@pytest.mark.parametrize(
    ("name", "stage", "width"), [("densenet", "denseblock3", 184), ("resnet", "layer3", 112)]
)
def test_source_can_be_cut_at_an_inner_stage(name, stage, width):
    config = SourceConfig(use=f"mini:{name}.distilled", cut=stage)
    built = build_source(config, load_registry(), SourceTarget(channels=1, size=(128, 128)))
    assert built.feature_dim == width


@pytest.mark.parametrize("name", ["densenet", "resnet"])
def test_source_gives_tokens_of_a_grid(name):
    target = SourceTarget(channels=1, size=(128, 128), tokens=True, grid=4)
    built = build_source(SourceConfig(use=f"mini:{name}"), load_registry(), target)
    assert built.tokens == 16
