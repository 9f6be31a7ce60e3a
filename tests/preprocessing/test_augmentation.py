import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.data.utils import list_data_collate
from monai.transforms import Compose

from medfuse.config import AugmentationConfig, InputConfig
from medfuse.errors import ConfigError
from medfuse.preprocessing import (
    RECIPES,
    Drawing,
    augment,
    augmentation_config,
    augmentation_identity,
    drawing_for,
    flips_of,
    recipe_for,
)
from medfuse.preprocessing.nodes import instantiate
from medfuse.preprocessing.view_recipe import draw
from medfuse.preprocessing.views import RandomViewd, view_of

IMAGE = torch.rand(1, 48, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("recipe", RECIPES)
def test_view_0_is_the_image(recipe):
    assert augment(IMAGE, Drawing(recipe), "ab", 0) is IMAGE


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["xr", "ct", "mr"]), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_view_is_finite_in_range_and_repeatable(recipe, seed, view):
    before = IMAGE.clone()
    one = augment(IMAGE, Drawing(recipe, seed), "ab", view)
    np.random.seed(1)
    torch.manual_seed(1)
    augment(IMAGE, Drawing(recipe, seed), "other", view)
    two = augment(IMAGE, Drawing(recipe, seed), "ab", view)
    assert type(one) is torch.Tensor
    assert one.shape == IMAGE.shape
    assert one.dtype == torch.float32
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, two)
    assert torch.equal(before, IMAGE)


def test_seed_image_view_and_recipe_each_matter():
    views = [
        augment(IMAGE, Drawing(recipe, seed), digest, view)
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
        moved = augment(image, Drawing(recipe), "ab", view)[0]
        assert moved[:, :32].sum() > 5 * moved[:, 32:].clamp(min=0.1).sub(0.1).sum()


def test_the_views_are_mild():
    smooth = torch.linspace(0, 1, 64).repeat(1, 64, 1)
    for view in range(1, 30):
        moved = augment(smooth, Drawing("mr"), "ab", view)
        assert (moved - smooth)[:, 10:-10, 10:-10].abs().max() < 0.35


def test_volumes_can_be_augmented():
    volume = torch.rand(1, 12, 14, 10)
    drawing = Drawing("ct", 0, (1.0, 1.0, 2.0), (0, 1, 2))
    assert augment(volume, drawing, "ab", 1).shape == volume.shape


@pytest.mark.slow
def test_another_process_makes_the_same_view():
    code = (
        "import torch, hashlib; from medfuse.preprocessing import Drawing, augment;"
        "x = torch.arange(120.).reshape(1, 10, 12) / 119;"
        "v = augment(x, Drawing('xr', 3), 'ab', 2).numpy().round(5);"
        "print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    image = torch.arange(120.0).reshape(1, 10, 12) / 119
    here = augment(image, Drawing("xr", 3), "ab", 2).numpy().round(5).tobytes()
    assert hashlib.sha256(here).hexdigest() == found.stdout.split()[-1]


def test_auto_follows_the_modality():
    assert [recipe_for("auto", m) for m in ("XR", "CT", "MR", "other")] == ["xr", "ct", "mr", "xr"]
    assert recipe_for("none", "CT") == "none"


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"'mri', expected one of none, xr, ct, mr\."):
        augment(IMAGE, Drawing("mri"), "ab", 1)


def test_the_identity_changes_with_all_that_decides_a_view():
    drawings = [
        Drawing("xr"),
        Drawing("ct"),
        Drawing("xr", 1),
        Drawing("xr", 0, (1.0, 1.0, 2.0), (0, 1, 2)),
        Drawing("xr", 0, (1.0, 1.0, 1.0), (0, 1, 2)),
        Drawing("xr", 0, (1.0, 1.0, 2.0), (2,)),
    ]
    found = [str(augmentation_identity(drawing)) for drawing in drawings]
    assert len(set(found)) == len(drawings)


def _drawing(**found) -> Drawing:
    facts = {"geometry": True, "spacing_median": [1.0, 1.0, 2.0], "extent_median": [96.0, 96, 96]}
    settled = {"kind": "volume", "modality": "MR", "fit": "letterbox", "size": (48, 48, 32)}
    config = InputConfig(**{**settled, **found})
    return drawing_for(AugmentationConfig(seed=3), config, facts)


def test_volumes_turn_by_the_spacing_of_their_canonical_voxels():
    assert _drawing(spacing=(1, 2, 2.5)) == Drawing("mr", 3, (1, 2, 2.5), (0, 1, 2))
    assert _drawing(spacing="none") == Drawing("mr", 3, (1, 1, 2), (0, 1, 2))
    assert _drawing(spacing=(1, 1, 1), fit="stretch") == Drawing("mr", 3, (2, 2, 3), (0, 1, 2))


def test_volumes_of_thick_or_unknown_slices_turn_within_them_alone():
    assert _drawing(spacing=(1, 1, 5)).axes == (2,)
    assert _drawing(spacing=(5, 1, 1)).axes == (0,)
    unknown = drawing_for(
        AugmentationConfig(), InputConfig(kind="volume", spacing="none", size=(8, 8, 8)), {}
    )
    assert unknown.axes == (2,)
    image = drawing_for(AugmentationConfig(), InputConfig(kind="image"), {})
    assert (image.spacing, image.axes) == ((), ())


SHAPED = RECIPES["mr"]
PURE = replace(SHAPED, gamma=1.0, noise=0.0, padding="border")
GRIDS = {
    "image": ((64, 48), (), ()),
    "cubes": ((40, 36, 32), (1.0, 1.0, 1.0), (0, 1, 2)),
    "slabs": ((48, 48, 24), (0.7, 0.7, 5.0), (2,)),
    "bricks": ((40, 48, 24), (1.0, 1.5, 2.5), (0, 1, 2)),
}


def _affine_between(image: torch.Tensor, view: torch.Tensor, spacing) -> np.ndarray:
    """Where in the image (mm from its center) the places of the view lie: ``(d, d + 1)``.

    The channels of ``image`` are the indices of each axis, divided by its length.
    """
    sides = np.array(image.shape[1:], float)
    steps = np.array(spacing or [1.0] * len(sides))
    inner = tuple(slice(int(side * 0.3), int(side * 0.7)) for side in sides)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in sides.astype(int)], indexing="ij"), 0)

    def places(values: np.ndarray) -> np.ndarray:
        flat = values[(slice(None), *inner)].reshape(len(sides), -1).T
        return (flat - (sides - 1) / 2) * steps

    seen = places(view.numpy() * sides[:, None].reshape(-1, *[1] * len(sides)))
    here = places(index)
    found, *_ = np.linalg.lstsq(np.c_[here, np.ones(len(here))], seen, rcond=None)
    return found.T


@pytest.mark.parametrize("grid", GRIDS)
def test_bodies_turn_rigidly_in_mm_and_within_the_ranges_on_each_axis(grid):
    sides, spacing, axes = GRIDS[grid]
    index = np.stack(np.meshgrid(*[np.arange(n) / n for n in sides], indexing="ij"), 0)
    image = torch.tensor(index, dtype=torch.float32)
    random = np.random.RandomState(0)
    steps = np.array(spacing or (1.0, 1.0))
    angles, zooms, shifts = [], [], []
    for _ in range(30):
        found = _affine_between(image, view_of(image, PURE, spacing, axes, random), spacing)
        zoom = abs(np.linalg.det(found[:, :-1])) ** (1 / len(sides))
        turn = found[:, :-1] / zoom
        np.testing.assert_allclose(turn @ turn.T, np.eye(len(sides)), atol=5e-3)
        angles.append(_angles(turn))
        zooms.append(zoom)
        shifts.append(turn.T @ found[:, -1] / steps / sides)
    most = np.abs(np.degrees(angles)).max(0)
    turning = [True] if len(sides) == 2 else [axis in axes for axis in range(3)]
    for angle, turns in zip(most, turning, strict=True):
        low, high = (0.6 * SHAPED.rotate, SHAPED.rotate + 0.1) if turns else (0, 0.1)
        assert low <= angle <= high
    assert 0.06 < np.abs(np.array(zooms) - 1).max() <= SHAPED.zoom + 1e-3
    assert (np.abs(shifts).max(0) > 0.025).all()
    assert np.abs(shifts).max() <= SHAPED.shift + 1e-3


def _angles(turn: np.ndarray) -> np.ndarray:
    """Radians of a rotation about each axis, applied in the order 2, 1, 0."""
    if len(turn) == 2:
        return np.array([np.arctan2(turn[1, 0], turn[0, 0])])
    second = np.arcsin(-turn[0, 2])
    first = np.arctan2(-turn[1, 2], turn[2, 2])
    return np.array([first, second, np.arctan2(-turn[0, 1], turn[0, 0])])


DRAWINGS = [
    *[Drawing(recipe) for recipe in RECIPES],
    Drawing("ct", 0, (0.7, 0.7, 5.0), (2,)),
    Drawing("mr", 0, (1.0, 1.0, 2.0), (0, 1, 2)),
]


@pytest.mark.parametrize("drawing", DRAWINGS, ids=str)
def test_a_bundle_augments_by_the_code_of_training(drawing):
    image = IMAGE if not drawing.axes else torch.rand(2, 20, 24, 12)
    chain = Compose(instantiate(augmentation_config(drawing)))
    chain.set_random_state(0)
    changed = 0
    for _ in range(20):
        result = chain({"image": image.clone()})["image"]
        assert result.shape == image.shape
        assert 0 <= result.min() <= result.max() <= 1
        changed += not torch.equal(result, image)
    assert changed == 0 if drawing.recipe == "none" else 10 <= changed < 20


def test_a_bundles_draw_is_the_view_that_training_makes_of_it():
    drawing = DRAWINGS[-1]
    volume = torch.rand(1, 20, 24, 12)
    (node,) = augmentation_config(drawing, views=4)
    assert node["prob"] == 0.8
    (transform,) = instantiate([{**node, "prob": 1.0}])
    transform.set_random_state(state=np.random.RandomState(5))
    random = np.random.RandomState(5)
    random.uniform()
    expected = view_of(volume, drawing.ranges, drawing.spacing, drawing.axes, random)
    assert torch.equal(transform({"image": volume})["image"], expected)


def _own(kind: str = "image", **given) -> Drawing:
    size = (8, 8, 8) if kind == "volume" else (8, 8)
    orientation = given.pop("orientation", "PLS")
    config = InputConfig(kind=kind, size=size, orientation=orientation, modality="XR")
    return drawing_for(AugmentationConfig(**given), config, {})


def test_an_experiment_can_set_ranges_of_its_own():
    ranges = _own(rotate=20.0, zoom=0.2).ranges
    assert ranges == replace(RECIPES["xr"], rotate=20.0, zoom=0.2)


def test_what_an_experiment_sets_enters_the_identity():
    found = [_own(), _own(rotate=20.0), _own(flip=["left_right"]), _own(flip=["up_down"])]
    assert len({str(augmentation_identity(drawing)) for drawing in found}) == len(found)


@pytest.mark.parametrize(
    ("kind", "orientation", "flip", "axis"),
    [
        ("image", "PLS", "left_right", 1),
        ("image", "PLS", "up_down", 0),
        ("volume", "PLS", "left_right", 1),
        ("volume", "RAI", "left_right", 0),
        ("volume", "RAI", "up_down", 2),
    ],
)
def test_a_flip_is_one_of_the_patients_directions(kind, orientation, flip, axis):
    drawing = _own(kind, orientation=orientation, flip=[flip])
    assert drawing.ranges.flip == (axis,)
    size = (8, 8, 8) if kind == "volume" else (8, 8)
    config = InputConfig(kind=kind, size=size, orientation=orientation)
    assert flips_of(drawing, config) == [flip.replace("_", "-")]


def test_about_every_second_view_is_mirrored():
    image = torch.zeros(1, 32, 32)
    image[:, :, :16] = 1
    still = {"rotate": 0.0, "shift": 0.0, "zoom": 0.0, "gamma": 1.0, "noise": 0.0}
    drawing = _own(**still, flip=["left_right"])
    views = [augment(image, drawing, "ab", view) for view in range(1, 101)]
    kept = sum(torch.allclose(view, image, atol=1e-4) for view in views)
    mirrored = sum(torch.allclose(view, image.flip(2), atol=1e-4) for view in views)
    assert kept + mirrored == 100
    assert 30 < mirrored < 70


def test_a_flip_leaves_the_other_draws_as_they_were():
    plain, flipped = _own().ranges, _own(flip=["left_right"]).ranges
    for seed in range(5):
        one = draw(plain, (8, 8), (), np.random.RandomState(seed))
        two = draw(flipped, (8, 8), (), np.random.RandomState(seed))
        assert replace(two, flip=()) == one


def test_a_bundle_mirrors_as_training_does():
    drawing = _own(flip=["left_right"])
    (node,) = augmentation_config(drawing, views=4)
    (transform,) = instantiate([{**json.loads(json.dumps(node)), "prob": 1.0}])
    transform.set_random_state(state=np.random.RandomState(5))
    random = np.random.RandomState(5)
    random.uniform()
    expected = view_of(IMAGE, drawing.ranges, (), (), random)
    assert torch.equal(transform({"image": IMAGE})["image"], expected)


def test_ranges_of_a_recipe_without_views_are_refused():
    with pytest.raises(ValueError, match="recipe none has no views, but found rotate, flip"):
        AugmentationConfig(recipe="none", rotate=5.0, flip=["up_down"])


def test_a_direction_given_twice_is_refused():
    with pytest.raises(ValueError, match="expected each direction once"):
        AugmentationConfig(flip=["up_down", "up_down"])


def test_images_with_and_without_a_view_make_one_batch() -> None:
    random_view = RandomViewd("image", asdict(RECIPES["xr"]), prob=0.5)
    random_view.set_random_state(seed=0)
    images = [MetaTensor(torch.full((1, 8, 8), 0.5), meta={"name": n}) for n in range(8)]
    views = [random_view({"image": image}) for image in images]
    unchanged = [torch.equal(view["image"], torch.full((1, 8, 8), 0.5)) for view in views]
    assert len(set(unchanged)) == 2
    assert list_data_collate(views)["image"].shape == (8, 1, 8, 8)
