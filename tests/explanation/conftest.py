"""Tiny networks whose evidence is known, because it was put there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.levels import LevelsBackbone
from medfuse.backbones.source import Source
from medfuse.model import FeatureClassifier, FusedNetwork


class Concat(nn.Module):
    """Features side by side."""

    def forward(self, features, mask):  # noqa: ARG002
        return torch.cat(features, 1), None


class Body(nn.Module):
    """Three stages of stride 2; the first channel hands the brightness of the image on."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.one = conv(1, 4, 3, 2, 1, bias=False)
        self.two = conv(4, 4, 3, 2, 1, bias=False)
        self.three = conv(4, 4, 3, 2, 1, bias=False)
        for module in (self.one, self.two, self.three):
            nn.init.normal_(module.weight, std=0.05)
            with torch.no_grad():
                module.weight[0] = 0
                module.weight[(0, 0, *(1,) * dims)] = 1.0
                module.weight[(0, 0)] += 0.3

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.three(self.two(self.one(x))), None


def bright_network(dims: int = 2, levels: bool = False) -> FusedNetwork:
    """Two sources; class 1 is what is bright, seen by the first source alone."""
    torch.manual_seed(0)
    sources = []
    for _ in range(2):
        body: nn.Module = Body(dims)
        if levels:
            body = LevelsBackbone(body, [{"module_path": "one"}, {"module_path": "two"}])
        sources.append(Source(body, nn.Identity()))
    width = 12 if levels else 4
    head = nn.Linear(2 * width, 2, bias=False)
    with torch.no_grad():
        head.weight.zero_()
        for start in range(0, width, 4):
            head.weight[1, start] = 1.0
    network = FusedNetwork(sources, FeatureClassifier([width, width], Concat(), head)).eval()
    network.requires_grad_(False)
    return network


def spot(size: tuple[int, ...], place: tuple[int, ...], side: int = 4) -> Tensor:
    """An image ``(1, 1, *size)`` that is bright at one place."""
    image = torch.zeros(1, 1, *size)
    image[(0, 0, *(slice(p - side // 2, p + side // 2 + 1) for p in place))] = 1.0
    return image


@pytest.fixture
def network() -> FusedNetwork:
    """See `bright_network`."""
    return bright_network()
