"""What a bundle does to training images is what training did to them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from monai.bundle import ConfigParser

from medfuse.bundle import BundleRequest, InputSpec
from medfuse.bundle.train_config import train_config
from medfuse.preprocessing import RECIPES, augmentation_config

SIZES = {2: (48, 40), 3: (24, 20, 16)}
ONE_AXIS = "augmentation_config gives scalars, which MONAI's RandAffined applies to one axis alone"


@pytest.fixture
def draws(request_: BundleRequest):
    """Return 200 draws of rotation, zoom and shift, ``(200, axes)`` each, of train.json."""

    def draw(recipe: str, dims: int) -> dict[str, np.ndarray]:
        size = SIZES[dims]
        kind = "image" if dims == 2 else "volume"
        changed = replace(
            request_,
            inputs=(InputSpec(kind=kind, channels=1, size=size),),
            augmentation_nodes={"image": tuple(augmentation_config(recipe, size))},
        )
        nodes = train_config(changed)["train"]["preprocessing"]["transforms"]
        (node,) = [node for node in nodes if node["_target_"] == "RandAffined"]
        affine = ConfigParser({"affine": {**node, "prob": 1.0}}).get_parsed_content("affine")
        grid = affine.rand_affine.rand_affine_grid.set_random_state(0)
        found: dict[str, list[list[float]]] = {"rotate": [], "zoom": [], "shift": []}
        for _ in range(200):
            grid.randomize()
            found["rotate"].append(list(grid.rotate_params or []))
            found["zoom"].append([value - 1 for value in grid.scale_params or []])
            found["shift"].append(list(grid.translate_params or []))
        return {name: np.array(values) for name, values in found.items()}

    return draw


def limits(recipe: str, dims: int) -> dict[str, np.ndarray]:
    ranges = RECIPES[recipe]
    axes = 1 if dims == 2 else 3
    return {
        "rotate": np.full(axes, math.radians(ranges.rotate)),
        "zoom": np.full(dims, ranges.zoom),
        "shift": ranges.shift * np.array(SIZES[dims]),
    }


@pytest.mark.parametrize(
    ("dims", "what"),
    [
        (2, "rotate"),
        (2, "shift"),
        (3, "shift"),
        *(
            pytest.param(dims, what, marks=pytest.mark.xfail(strict=True, reason=ONE_AXIS))
            for dims, what in ((2, "zoom"), (3, "rotate"), (3, "zoom"))
        ),
    ],
)
@pytest.mark.parametrize("recipe", ["xr", "ct", "mr"])
def test_every_axis_is_drawn_within_the_recipe_s_range_and_through_it(
    draws, recipe: str, dims: int, what: str
) -> None:
    found, limit = draws(recipe, dims)[what], limits(recipe, dims)[what]
    assert found.shape == (200, len(limit))
    assert (np.abs(found) <= limit + 1e-9).all()
    assert (found.max(0) > 0.9 * limit).all()
    assert (found.min(0) < -0.9 * limit).all()
