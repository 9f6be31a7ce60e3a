"""One random view of a canonical image: turned, shifted, zoomed, another contrast, noise.

This file is copied into bundles, so it imports numpy, torch and monai alone: `RandomViewd` in a
bundle's ``train.json`` and the views that training banks are the same code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.intensity.array import AdjustContrast
from monai.transforms.spatial.array import Affine
from monai.transforms.transform import MapTransform, Randomizable
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """Half widths of what is drawn uniformly.

    Attributes:
        rotate: degrees, about each axis.
        shift: fraction of each side's length.
        zoom: relative size, the same along all axes.
        gamma: exponent of the contrast curve, as a factor: ``1 / gamma`` to ``gamma``.
        noise: largest standard deviation of Gaussian noise, in [0, 1] intensity.
        padding: what lies outside the image: ``border`` or ``zeros``.
        flip: axes along which every second view is mirrored, each by itself.
    """

    rotate: float
    shift: float
    zoom: float
    gamma: float
    noise: float
    padding: str
    flip: tuple[int, ...] = ()


@dataclass(frozen=True)
class Draw:
    """What was drawn for one view.

    Attributes:
        angles: radians about each axis of a volume, one of an image.
        shift: voxels along each axis.
        zoom: above 1 shows more of the surroundings, smaller.
        gamma: exponent of the contrast curve.
        noise: standard deviation.
        flip: axes that are mirrored.
    """

    angles: tuple[float, ...]
    shift: tuple[float, ...]
    zoom: float
    gamma: float
    noise: float
    flip: tuple[int, ...] = ()


def draw(
    recipe: Recipe, sides: Sequence[int], axes: Sequence[int], random: np.random.RandomState
) -> Draw:
    """Return one draw.

    Args:
        recipe: the half widths.
        sides: of the image.
        axes: of a volume, about which it may turn; an image turns in its plane.
        random: moves on.
    """
    turned = axes if len(sides) == 3 else [0]
    angles = [0.0] * (3 if len(sides) == 3 else 1)
    for axis in turned:
        angles[axis] = math.radians(recipe.rotate) * random.uniform(-1, 1)
    return Draw(
        angles=tuple(angles),
        shift=tuple(recipe.shift * side * random.uniform(-1, 1) for side in sides),
        zoom=1 + recipe.zoom * random.uniform(-1, 1),
        gamma=math.exp(random.uniform(-1, 1) * math.log(recipe.gamma)),
        noise=random.uniform(0, recipe.noise),
        flip=tuple(axis for axis in recipe.flip if random.uniform() < 0.5),
    )


def view_of(
    image: Tensor,
    recipe: Recipe,
    spacing: Sequence[float],
    axes: Sequence[int],
    random: np.random.RandomState,
) -> Tensor:
    """Return a random view: same shape, float32 in [0, 1].

    Args:
        image: ``(C, *spatial)`` in [0, 1]; not changed.
        recipe: the half widths.
        spacing: of the voxels of a volume, in mm: it turns as a body does, whatever its voxels
            are. Not used of an image.
        axes: see `draw`.
        random: moves on.
    """
    drawn = draw(recipe, image.shape[1:], axes, random)
    affine = Affine(
        affine=matrix(drawn, spacing), padding_mode=recipe.padding, mode="bilinear", image_only=True
    )
    mirrored = image.flip([axis + 1 for axis in drawn.flip]) if drawn.flip else image
    curved = _plain(AdjustContrast(drawn.gamma)(_plain(affine(mirrored))))
    noise = drawn.noise * random.standard_normal(tuple(image.shape))
    return (curved + torch.from_numpy(noise.astype(np.float32))).clamp(0.0, 1.0)


def matrix(drawn: Draw, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the homogeneous matrix from places of the view to places of the image.

    Places are in voxels from the center. The rotation is one of mm: it is an orthogonal matrix
    only between mm.
    """
    count = len(drawn.shift)
    steps = np.asarray(spacing if count == 3 else [1.0] * count, float)
    rotation = np.eye(count)
    for axis, angle in enumerate(drawn.angles):
        rotation = rotation @ _rotation(count, axis, angle)
    found = np.eye(count + 1)
    found[:count, :count] = rotation * steps / steps[:, None] * drawn.zoom
    found[:count, count] = rotation * steps / steps[:, None] @ np.asarray(drawn.shift)
    return found


class RandomViewd(Randomizable, MapTransform):
    """A random view of each image, with a chance; drawn as in training.

    Args:
        keys: of the images ``(C, *spatial)`` in [0, 1].
        recipe: the numbers of a `Recipe` by name.
        spacing: mm of a volume's voxels, along its axes.
        axes: of a volume, about which it may turn.
        prob: the chance; otherwise the image stays.
    """

    def __init__(
        self,
        keys: KeysCollection,
        recipe: Mapping[str, Any],
        spacing: Sequence[float] = (),
        axes: Sequence[int] = (),
        prob: float = 0.8,
    ) -> None:
        super().__init__(keys)
        self.recipe = Recipe(**{**recipe, "flip": tuple(recipe.get("flip", ()))})
        self.spacing = tuple(float(step) for step in spacing)
        self.axes = tuple(int(axis) for axis in axes)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with a view in place of each image."""
        result = dict(data)
        for key in self.key_iterator(result):
            # all alike: MONAI cannot put images with and without metadata into one batch
            result[key] = _plain(result[key])
            if self.R.uniform() < self.prob:
                result[key] = view_of(result[key], self.recipe, self.spacing, self.axes, self.R)
        return result


def _rotation(count: int, axis: int, angle: float) -> NDArray[np.float64]:
    """Return the matrix of a rotation about an axis of a volume, or in the plane of an image."""
    one, two = (0, 1) if count == 2 else [other for other in range(3) if other != axis]
    found = np.eye(count)
    found[one, one] = found[two, two] = math.cos(angle)
    found[one, two] = -math.sin(angle)
    found[two, one] = math.sin(angle)
    return found


def _plain(image: Any) -> Tensor:
    tensor: Tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return tensor
