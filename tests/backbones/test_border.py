"""A source in two parts gives what the whole source gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.border import LowerPart, UpperPart, find_border
from medfuse.backbones.build import SourceTarget, build_source
from medfuse.backbones.source import Source, selected_modules
from medfuse.config import SourceConfig
from medfuse.features.engine import lay_out, ready
from medfuse.registry import load_registry

SHAPE = (1, 9, 9)


class Steps(nn.Module):
    """Three stages and an activation that is called between all of them."""

    def __init__(self, skip: int = 3) -> None:
        super().__init__()
        self.skip = skip
        self.one = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        self.two = nn.Conv2d(3, 4, 3)
        self.three = nn.Conv2d(4, 5, 3)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.one(x))
        z = self.act(self.two(y) + 1)
        w = self.act(self.three(z))
        return w + (x, y, z, w)[self.skip].mean()


STAGES = ("one", "two", "three")


def _source(skip: int = 3, paths: Any = ("three",)) -> Source:
    torch.manual_seed(0)
    return Source(Steps(skip), nn.Identity(), trainable=paths).eval()


def _learning(source: Source) -> frozenset[str]:
    return selected_modules(source.backbone, source.trainable)


@pytest.mark.parametrize(
    ("use", "size", "expected"),
    [
        ("timm:test_resnet.random", (32, 32), "net.layer3"),
        ("timm:test_vit.random", (32, 32), "net.blocks.4"),
        ("torchvision:mobilenet_v3_small.random", (32, 32), "net.features.11"),
        ("monai:resnet10_3d.random", (16, 16, 16), "net.layer3"),
        ("mini:resnet", (32, 32), "network.layer2"),  # its mean is part of the vector
    ],
)
def test_real_networks_are_divided_and_give_the_same(
    use: str, size: tuple[int, ...], expected: str
) -> None:
    config = SourceConfig(use=use, train="last:1")
    built = build_source(config, load_registry(), SourceTarget(channels=1, size=size))
    source: Any = built.module
    assert built.spec is not None
    stages = [stage.module_path for stage in built.spec.stages]
    border = find_border(source, stages, _learning(source), built.image)
    assert border is not None
    assert border.path == f"backbone.{expected}"
    images = torch.rand(3, *built.image)
    with torch.no_grad():
        features = UpperPart(source, border)(LowerPart(source, border)(images))
        torch.testing.assert_close(features, source(images))


@pytest.mark.parametrize(
    ("skip", "expected"), [(3, "backbone.two"), (2, "backbone.two"), (1, "backbone.one"), (0, None)]
)
def test_the_border_is_the_highest_that_one_tensor_alone_crosses(
    skip: int, expected: str | None
) -> None:
    source = _source(skip)
    border = find_border(source, STAGES, _learning(source), SHAPE)
    assert (border and border.path) == expected


@pytest.mark.parametrize(
    ("paths", "expected"), [(("three",), "backbone.two"), (("two",), "backbone.one"), ("all", None)]
)
def test_nothing_that_learns_lies_below(paths: Any, expected: str | None) -> None:
    source = _source(paths=paths)
    border = find_border(source, STAGES, _learning(source), SHAPE)
    assert (border and border.path) == expected


def test_the_lower_part_is_not_computed_again() -> None:
    source = _source()
    border = find_border(source, STAGES, _learning(source), SHAPE)
    assert border is not None
    activations = LowerPart(source, border)(torch.rand(2, *SHAPE))
    upper = UpperPart(source, border)
    expected = upper(activations)
    with torch.no_grad():
        for parameter in (*source.backbone.one.parameters(), *source.backbone.two.parameters()):
            parameter.fill_(torch.nan)
    assert torch.equal(upper(activations), expected)


def test_gradients_reach_the_source_itself_above_the_border_alone() -> None:
    source = _source()
    border = find_border(source, STAGES, _learning(source), SHAPE)
    assert border is not None
    activations = LowerPart(source, border)(torch.rand(2, *SHAPE)).detach()
    UpperPart(source, border)(activations).sum().backward()
    got = {name for name, p in source.backbone.named_parameters() if p.grad is not None}
    assert got == {"three.weight", "three.bias"}


def test_a_stage_that_is_called_twice_is_no_border() -> None:
    class Twice(Steps):
        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            return self.three(self.two(y) + self.two(y))

    source = Source(Twice(), nn.Identity(), trainable=("three",)).eval()
    border = find_border(source, STAGES, _learning(source), SHAPE)
    assert border is not None
    assert border.path == "backbone.one"


def test_what_the_bank_computes_has_the_bits_that_training_has() -> None:
    config = SourceConfig(use="mini:resnet", train="last:1")
    built = build_source(config, load_registry(), SourceTarget(channels=1, size=(64, 64)))
    source: Any = built.module
    assert built.spec is not None
    stages = [stage.module_path for stage in built.spec.stages]
    border = find_border(source, stages, _learning(source), built.image)
    assert border is not None
    lower, images = LowerPart(source, border), torch.rand(19, *built.image)
    with torch.no_grad():
        expected = lower(images)
        with ready([lower], torch.device("cpu")):
            first = lower(lay_out(lower, (images[:16],))[0])
    assert torch.equal(first, expected[:16])
