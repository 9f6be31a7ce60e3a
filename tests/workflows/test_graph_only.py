"""What a bundle can hold only as a traced graph is said when training starts."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

import medfuse
from medfuse.config import parse_experiment
from medfuse.registry import load_registry
from medfuse.workflows.package import graph_only_parts
from medfuse.workflows.train import train

from .conftest import small_experiment

PLUGIN = """
from medfuse.contract import BackboneSpec, GraphOnly, HeadSpec, hookimpl
@hookimpl
def medfuse_backbones():
    yield BackboneSpec(
        name="net", summary="s", factory="acme_net:Net", in_channels=1, stem="layers.0",
        export=GraphOnly(reason="compiled kernels"),
    )
@hookimpl
def medfuse_heads():
    yield HeadSpec(name="bare", summary="s", factory="torch.nn:Linear")
"""
NETWORK = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, stride=4), nn.ReLU())
    def forward(self, image):
        return self.layers(image), None
"""


@pytest.mark.slow
def test_graph_only_part_is_named_with_its_reason_before_training(
    install_plugin: Any, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install_plugin("acme", PLUGIN, acme_net=NETWORK)
    experiment = small_experiment(
        images,
        sources=["acme:net.random"],
        training={"epochs": 1, "members": 1},
        evaluation={"bootstrap": 0},
    )
    with (
        warnings.catch_warnings(record=True) as raised,
        caplog.at_level(logging.INFO, logger="medfuse"),
    ):
        warnings.simplefilter("always")
        run = train(experiment, tmp_path / "run", progress=False)
        medfuse.load_bundle(run.bundle)
    said = "source acme:net.random (compiled kernels): in the bundle only as a traced graph"
    lines = [record.getMessage() for record in caplog.records]
    (place,) = [i for i, line in enumerate(lines) if line.startswith(said)]
    assert place < next(i for i, line in enumerate(lines) if "cases of 3 classes" in line)
    assert not [w for w in raised if "torch.jit" in str(w.message)]


def test_head_without_an_export_recipe_is_named(install_plugin: Any, images: Path) -> None:
    install_plugin("acme", PLUGIN, acme_net=NETWORK)
    experiment = parse_experiment(small_experiment(images, head="bare"))
    assert graph_only_parts(experiment, load_registry(), []) == (
        "head bare (the plugin gives no export recipe)",
    )
