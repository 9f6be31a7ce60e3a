"""A cut backbone is the whole one up to a module, and nothing behind it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medfuse.backbones.cut import CutBackbone


class Whole(nn.Module):
    """A stem, two blocks in a row, and a part that cannot be traced behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.ones(1))
        self.stem = nn.Conv2d(1, 2, 3)
        self.blocks = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Dropout(0.9), nn.Conv2d(3, 4, 3))
        self.last = nn.Conv2d(4, 5, 1)
        self.unused = nn.Linear(1, 1)

    def forward(self, x):
        y = self.blocks(self.stem(x + self.offset if self.training else x - self.offset))
        if y.sum() > 0:
            y = -y
        return self.last(y), None


IMAGE = torch.rand(2, 1, 12, 12)


def test_the_map_equals_the_modules_output_in_the_whole_network():
    whole = Whole().eval()
    feature_map, pooled = CutBackbone(whole, "blocks.0")(IMAGE)
    assert torch.equal(feature_map, whole.blocks[0](whole.stem(IMAGE - 1)))
    assert pooled is None


def test_what_lies_behind_is_gone_and_the_rest_keeps_its_names():
    state = CutBackbone(Whole(), "blocks.0").body.state_dict()
    assert set(state) == {
        "offset", "stem.weight", "stem.bias", "blocks.0.weight", "blocks.0.bias",
    }  # fmt: skip


def test_a_network_in_training_mode_is_cut_as_in_eval_mode():
    whole = Whole().train()
    expected = CutBackbone(copy.deepcopy(whole).eval(), "stem")(IMAGE)[0]
    assert torch.equal(CutBackbone(whole, "stem").train()(IMAGE)[0], expected)


def test_channels_last_is_moved_to_the_front():
    network = nn.Sequential(nn.Identity(), nn.Identity())
    image = torch.rand(2, 4, 5, 3)
    assert CutBackbone(network, "0", layout="channels_last")(image)[0].shape == (2, 3, 4, 5)


def test_tokens_become_a_grid_without_their_prefix():
    network = nn.Sequential(nn.Identity(), nn.Identity())
    tokens = torch.arange(7.0).view(1, 7, 1)
    cut = CutBackbone(network, "0", layout="tokens", prefix_tokens=1, grid=(2, 3))
    assert cut(tokens)[0].tolist() == [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]


def test_a_place_behind_what_cannot_be_traced_is_refused():
    with pytest.raises(ValueError, match="the way to 'last' cannot be traced"):
        CutBackbone(Whole(), "last")


def test_a_module_that_is_never_called_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    network[0].spare = nn.Identity()
    with pytest.raises(ValueError, match="spare"):
        CutBackbone(network, "0.spare")


@pytest.mark.parametrize("path", ["", "blocks.7"])
def test_a_place_that_does_not_exist_is_refused(path):
    with pytest.raises(ValueError, match="there is no module"):
        CutBackbone(Whole(), path)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="expected grid, channels_last or tokens"):
        CutBackbone(Whole(), "stem", layout="rows")
