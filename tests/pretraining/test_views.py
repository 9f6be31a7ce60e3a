from __future__ import annotations

import numpy as np
import pytest
import torch

from medfuse.pretraining.settings import ViewSettings
from medfuse.pretraining.views import draw_view

STILL = {"crop": (1, 1), "rotate": 0, "gamma": 1, "contrast": 0, "brightness": 0, "blur": 0,
         "noise": 0}  # fmt: skip


def view(image: torch.Tensor, size: tuple[int, ...], seed: int = 0, **changes: object):
    return draw_view(image, size, ViewSettings(**changes), np.random.RandomState(seed))


def ramp(*sides: int) -> torch.Tensor:
    grids = torch.meshgrid(*(torch.linspace(0.1, 0.9, side) for side in sides), indexing="ij")
    return (grids[0] * 0.3 + grids[1] * 0.7).unsqueeze(0)


def test_without_any_change_a_view_is_the_image_but_for_its_aspect(monkeypatch):
    monkeypatch.setattr("medfuse.pretraining.views._ASPECT", 1.0)
    image = ramp(24, 24)
    torch.testing.assert_close(view(image, (24, 24), **STILL), image, atol=1e-5, rtol=0)


def test_a_view_is_decided_by_its_seed():
    image = ramp(24, 24)
    assert torch.equal(view(image, (16, 16), 1), view(image, (16, 16), 1))
    assert not torch.allclose(view(image, (16, 16), 1), view(image, (16, 16), 2))


def test_a_crop_shows_a_part_of_the_image_enlarged():
    image = ramp(64, 64)
    shown = view(image, (64, 64), **{**STILL, "crop": (0.25, 0.25)})
    assert 0.3 < (shown.max() - shown.min()) / (image.max() - image.min()) < 0.75
    assert shown.min() >= image.min() - 1e-5
    assert shown.max() <= image.max() + 1e-5


@pytest.mark.parametrize(("flip", "mirrored"), [("none", 0), ("left_right", 20)])
def test_left_and_right_change_only_if_asked_for(flip, mirrored):
    image = ramp(24, 24)
    views = [view(image, (16, 16), s, **{**STILL, "flip": flip}) for s in range(40)]
    flipped = sum(bool(v[0, :, 0].mean() > v[0, :, -1].mean()) for v in views)
    assert abs(flipped - mirrored) <= (8 if mirrored else 0)
    assert all(v[0, 0].mean() < v[0, -1].mean() for v in views)


def test_a_volume_gives_volumes():
    shown = view(torch.rand(1, 20, 20, 12), (8, 8, 8))
    assert shown.shape == (1, 8, 8, 8)
    assert torch.isfinite(shown).all()
