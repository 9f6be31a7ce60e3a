import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose

from medfuse.errors import ConfigError
from medfuse.preprocessing import (
    RECIPES,
    augment,
    augmentation_config,
    augmentation_identity,
    recipe_for,
)
from medfuse.preprocessing.nodes import instantiate

IMAGE = torch.rand(1, 48, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("recipe", RECIPES)
def test_view_0_is_the_image(recipe):
    assert augment(IMAGE, recipe, 0, "ab", 0) is IMAGE


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["xr", "ct", "mr"]), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_view_is_finite_in_range_and_repeatable(recipe, seed, view):
    before = IMAGE.clone()
    one = augment(IMAGE, recipe, seed, "ab", view)
    np.random.seed(1)
    torch.manual_seed(1)
    augment(IMAGE, recipe, seed, "other", view)
    two = augment(IMAGE, recipe, seed, "ab", view)
    assert type(one) is torch.Tensor
    assert one.shape == IMAGE.shape
    assert one.dtype == torch.float32
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, two)
    assert torch.equal(before, IMAGE)


def test_seed_image_view_and_recipe_each_matter():
    views = [
        augment(IMAGE, recipe, seed, digest, view)
        for recipe, seed, digest, view in (
            ("xr", 0, "ab", 1),
            ("mr", 0, "ab", 1),
            ("xr", 1, "ab", 1),
            ("xr", 0, "cd", 1),
            ("xr", 0, "ab", 2),
        )
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])


@pytest.mark.parametrize("recipe", ["xr", "ct", "mr"])
def test_left_stays_left(recipe):
    image = torch.zeros(1, 64, 64)
    image[:, 24:40, 4:16] = 1
    for view in range(1, 30):
        moved = augment(image, recipe, 0, "ab", view)[0]
        assert moved[:, :32].sum() > 5 * moved[:, 32:].clamp(min=0.1).sub(0.1).sum()


def test_the_views_are_mild():
    smooth = torch.linspace(0, 1, 64).repeat(1, 64, 1)
    for view in range(1, 30):
        assert (augment(smooth, "mr", 0, "ab", view) - smooth)[:, 10:-10, 10:-10].abs().max() < 0.35


def test_volumes_can_be_augmented():
    volume = torch.rand(1, 12, 14, 10)
    assert augment(volume, "ct", 0, "ab", 1).shape == volume.shape


@pytest.mark.slow
def test_another_process_makes_the_same_view():
    code = (
        "import torch, hashlib; from medfuse.preprocessing import augment;"
        "x = torch.arange(120.).reshape(1, 10, 12) / 119;"
        "print(hashlib.sha256(augment(x, 'xr', 3, 'ab', 2).numpy().round(5).tobytes()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    image = torch.arange(120.0).reshape(1, 10, 12) / 119
    here = augment(image, "xr", 3, "ab", 2).numpy().round(5).tobytes()
    assert hashlib.sha256(here).hexdigest() == found.stdout.split()[-1]


def test_auto_follows_the_modality():
    assert [recipe_for("auto", m) for m in ("XR", "CT", "MR", "other")] == ["xr", "ct", "mr", "xr"]
    assert recipe_for("none", "CT") == "none"


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"'mri', expected one of none, xr, ct, mr\."):
        augment(IMAGE, "mri", 0, "ab", 1)


def test_the_identity_changes_with_recipe_and_seed():
    found = [augmentation_identity(r, s) for r, s in (("xr", 0), ("ct", 0), ("xr", 1))]
    assert found[0] != found[1] != found[2] != found[0]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_bundles_own_augmentation_runs_and_stays_in_range(recipe):
    chain = Compose(instantiate(augmentation_config(recipe, (48, 40))))
    chain.set_random_state(0)
    for _ in range(10):
        result = chain({"image": IMAGE})["image"]
        assert result.shape == IMAGE.shape
        assert 0 <= result.min() <= result.max() <= 1
