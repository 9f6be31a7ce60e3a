"""Augmented views: a function of the image and the view's number, of nothing else.

Recipes are laterality-safe: no left-right flip, since the side of a finding is part of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.intensity.array import AdjustContrast
from monai.transforms.spatial.array import Affine
from torch import Tensor

from medfuse.errors import ConfigError
from medfuse.suggest import did_you_mean

VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """Half widths of what is drawn uniformly.

    Attributes:
        rotate: degrees.
        shift: fraction of each side's length.
        zoom: relative size.
        gamma: exponent of the contrast curve, as a factor: ``1 / gamma`` to ``gamma``.
        noise: largest standard deviation of Gaussian noise, in [0, 1] intensity.
        padding: what lies outside the image: ``border`` or ``zeros``.
    """

    rotate: float
    shift: float
    zoom: float
    gamma: float
    noise: float
    padding: str


RECIPES: dict[str, Recipe | None] = {
    "none": None,
    "xr": Recipe(rotate=7, shift=0.04, zoom=0.08, gamma=1.3, noise=0.02, padding="border"),
    "ct": Recipe(rotate=8, shift=0.04, zoom=0.08, gamma=1.15, noise=0.02, padding="zeros"),
    "mr": Recipe(rotate=10, shift=0.04, zoom=0.1, gamma=1.4, noise=0.02, padding="zeros"),
}


def augment(pixels: Tensor, recipe: str, seed: int, digest: str, view: int) -> Tensor:
    """Return a view of the canonical image: same shape, float32 in [0, 1].

    Args:
        pixels: ``(C, *spatial)`` in [0, 1]; not changed.
        recipe: ``xr``, ``ct``, ``mr`` or ``none``.
        seed: of the experiment.
        digest: of the canonical image.
        view: 0 is the image itself; 1, 2, ... are drawn from (seed, digest, view, recipe) alone.

    Raises:
        ConfigError: an unknown recipe.
    """
    ranges = _recipe(recipe)
    if view == 0 or ranges is None:
        return pixels
    random = np.random.RandomState(_words(recipe, seed, digest, view))
    moved = _moved(pixels, ranges, random)
    gamma = math.exp(random.uniform(-1, 1) * math.log(ranges.gamma))
    curved = _plain(AdjustContrast(gamma)(moved))
    noise = random.standard_normal(tuple(pixels.shape)) * random.uniform(0, ranges.noise)
    noisy = curved + torch.from_numpy(noise.astype(np.float32))
    return noisy.clamp(0.0, 1.0)


def recipe_for(recipe: str, modality: str) -> str:
    """Return the recipe's name, ``auto`` chosen by modality; an unknown one gets ``xr``."""
    return {"CT": "ct", "MR": "mr"}.get(modality, "xr") if recipe == "auto" else recipe


def augmentation_identity(recipe: str, seed: int) -> dict[str, Any]:
    """Return all that decides a view besides the image and its number, as plain data."""
    ranges = _recipe(recipe)
    return {
        "version": VERSION,
        "recipe": recipe,
        "ranges": asdict(ranges) if ranges else None,
        "seed": seed,
    }


def augmentation_config(recipe: str, size: Sequence[int]) -> list[dict[str, Any]]:
    """Return the recipe as stock MONAI random transforms, for training inside a bundle.

    The ranges are those of `augment`; the draws are MONAI's own.

    Args:
        recipe: a name.
        size: of the canonical image.
    """
    ranges = _recipe(recipe)
    if ranges is None:
        return []
    angle = math.radians(ranges.rotate)
    return [
        {
            "_target_": "RandAffined",
            "keys": "image",
            "prob": 0.8,
            "rotate_range": angle,
            "scale_range": ranges.zoom,
            "translate_range": [ranges.shift * side for side in size],
            "padding_mode": ranges.padding,
        },
        {
            "_target_": "RandAdjustContrastd",
            "keys": "image",
            "prob": 0.8,
            "gamma": [1 / ranges.gamma, ranges.gamma],
        },
        {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.5, "std": ranges.noise},
        {
            "_target_": "ThresholdIntensityd",
            "keys": "image",
            "threshold": 1.0,
            "above": False,
            "cval": 1.0,
        },
        {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": 0.0, "cval": 0.0},
    ]


def _recipe(name: str) -> Recipe | None:
    if name not in RECIPES:
        raise ConfigError(
            f"augmentation.recipe: {name!r}, expected one of {', '.join(RECIPES)}."
            + did_you_mean(name, RECIPES)
        )
    return RECIPES[name]


def _words(recipe: str, seed: int, digest: str, view: int) -> Any:
    text = f"{VERSION}|{recipe}|{seed}|{digest}|{view}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")


def _moved(pixels: Tensor, ranges: Recipe, random: np.random.RandomState) -> Tensor:
    spatial: Sequence[int] = tuple(pixels.shape[1:])
    axes = 1 if len(spatial) == 2 else 3
    rotation = [math.radians(ranges.rotate) * random.uniform(-1, 1) for _ in range(axes)]
    shift = [ranges.shift * size * random.uniform(-1, 1) for size in spatial]
    zoom = 1 + ranges.zoom * random.uniform(-1, 1)
    affine = Affine(
        rotate_params=rotation[0] if axes == 1 else rotation,
        translate_params=shift,
        scale_params=[zoom] * len(spatial),
        padding_mode=ranges.padding,
        mode="bilinear",
        image_only=True,
    )
    return _plain(affine(pixels))


def _plain(image: Any) -> Tensor:
    tensor: Tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return tensor
