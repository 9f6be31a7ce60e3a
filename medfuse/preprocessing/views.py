"""One random view of a canonical image: turned, shifted, zoomed, another contrast, noise.

This file is copied into bundles, so it imports numpy, torch, monai and its neighbor:
`RandomViewd` in a bundle's ``train.json`` and the views that training banks are the same code.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.intensity.array import AdjustContrast
from monai.transforms.spatial.array import Affine
from monai.transforms.transform import MapTransform, Randomizable
from torch import Tensor

from medfuse.preprocessing.view_recipe import Recipe, draw, matrix


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


def _plain(image: Any) -> Tensor:
    tensor: Tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
    return tensor
