from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)
        self.last = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu())


def _source() -> Source:
    torch.manual_seed(0)
    return Source(_Net(), nn.Identity(), "average").eval()


@pytest.mark.parametrize("at_once", [1, 3, 8, 20])
def test_each_slice_has_the_features_it_has_as_an_image(at_once: int) -> None:
    source, volume = _source(), torch.rand(2, 1, 8, 9, 7)
    features = SlicedSource(source, 7, at_once)(volume)
    assert features.shape == (2, 7, 6)
    for k in range(7):
        torch.testing.assert_close(features[:, k], source(volume[..., k]))


def test_no_more_slices_are_in_the_network_than_allowed() -> None:
    seen: list[int] = []
    source = _source()
    source.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    SlicedSource(source, 10, at_once=4)(torch.rand(2, 1, 8, 8, 10))
    assert seen == [8, 8, 4]


def test_freezing_reaches_the_network_for_images() -> None:
    sliced = SlicedSource(_source(), 3)
    assert not any(p.requires_grad for p in sliced.parameters())
    sliced.set_trainable(["last"])
    assert [n for n, p in sliced.named_parameters() if p.requires_grad] == [
        "source.backbone.last.weight",
        "source.backbone.last.bias",
    ]
    sliced.train()
    assert not sliced.source.backbone.body.training
    assert sliced.source.backbone.last.training
