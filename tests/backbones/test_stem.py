"""A first layer for another number of channels gives the same of a gray image."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medfuse.backbones.stem import is_other_stem, with_channels


@pytest.mark.parametrize(("theirs", "ours"), [(1, 3), (3, 1)])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_layer_gives_what_it_gave(theirs, ours, dims):
    kernel = (3,) * dims
    weight = torch.rand(4, theirs, *kernel)
    adapted = with_channels(weight, (4, ours, *kernel))
    assert adapted.shape == (4, ours, *kernel)
    convolve = (functional.conv2d, functional.conv3d)[dims - 2]
    image = torch.rand(2, 1, *(6,) * dims)
    expected = convolve(image.expand(-1, theirs, *image.shape[2:]), weight)
    found = convolve(image.expand(-1, ours, *image.shape[2:]), adapted)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ((8, 1, 3, 3), (8, 3, 3, 3), True),
        ((8, 3, 3, 3), (8, 1, 3, 3), True),
        ((8, 3, 3, 3), (8, 3, 3, 3), False),
        ((8, 2, 3, 3), (8, 3, 3, 3), False),
        ((8, 1, 7, 7), (8, 3, 3, 3), False),
        ((8, 1, 3, 3, 3), (8, 3, 3, 3), False),
        ((8,), (8,), False),
    ],
)
def test_only_one_channel_against_three_is_another_stem(found, wanted, fits):
    assert is_other_stem(found, wanted) is fits
