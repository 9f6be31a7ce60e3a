from __future__ import annotations

import numpy as np
import pytest
import torch

from medfuse.pretraining.settings import ViewSettings
from medfuse.pretraining.views import _blur, _draw, _matrix, draw_views

STILL = {"crop": (1, 1), "rotate": 0, "gamma": 1, "contrast": 0, "brightness": 0, "blur": 0,
         "noise": 0}  # fmt: skip


def view(image: torch.Tensor, size: tuple[int, ...], seed: int = 0, **changes: object):
    randoms = [np.random.default_rng(seed)]
    return draw_views(image.unsqueeze(0), size, ViewSettings(**changes), randoms)[0]


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


def test_a_view_does_not_depend_on_the_others_of_its_batch():
    image = torch.stack([ramp(24, 24), ramp(24, 24).flip(1)])
    together = draw_views(
        image, (16, 16), ViewSettings(), [np.random.default_rng(seed) for seed in (1, 2)]
    )
    torch.testing.assert_close(together[0], view(image[0], (16, 16), 1))
    torch.testing.assert_close(together[1], view(image[1], (16, 16), 2))


@pytest.mark.parametrize("sides", [(24, 20), (16, 12, 10)])
def test_a_cut_is_that_of_monai(sides, monkeypatch):
    from monai.transforms.spatial.array import Affine

    size = tuple(side - 4 for side in sides)
    matrix = np.eye(len(sides) + 1)
    matrix[:-1] = _matrix(sides, size, ViewSettings(flip="all"), np.random.default_rng(3))
    monkeypatch.setattr("medfuse.pretraining.views._matrix", lambda *_: matrix[:-1])
    image = torch.rand(1, *sides, generator=torch.Generator().manual_seed(0))
    exact = Affine(affine=matrix, spatial_size=size, padding_mode="border", image_only=True)
    torch.testing.assert_close(view(image, size, **STILL), exact(image).as_tensor())


@pytest.mark.parametrize("sides", [(24, 20), (16, 12, 10)])
def test_a_blur_is_gaussian(sides):
    from scipy.ndimage import gaussian_filter

    image = torch.rand(1, *sides, generator=torch.Generator().manual_seed(0))
    shown = torch.stack([image, image])
    _blur(shown, [0.0, 1.3])
    assert torch.equal(shown[0], image)
    exact = gaussian_filter(image[0].numpy(), 1.3, mode="constant", truncate=6)
    inner = (slice(4, -4),) * len(sides)
    np.testing.assert_allclose(shown[1, 0].numpy()[inner], exact[inner], atol=2e-3)


def test_gamma_is_that_of_monai():
    from monai.transforms.intensity.array import AdjustContrast

    image = ramp(24, 24)
    random = np.random.default_rng(0)
    still = ViewSettings(**{**STILL, "gamma": 3.0})
    gamma = _draw((24, 24), (1, 24, 24), still, random).gamma
    plain = view(image, (24, 24), **STILL)
    assert gamma != 1
    exact = AdjustContrast(gamma)(plain)
    torch.testing.assert_close(view(image, (24, 24), **{**STILL, "gamma": 3.0}), exact)


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
