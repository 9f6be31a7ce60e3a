"""Random views of an image for contrastive learning: a function of (seed, image, view) alone.

The recipe of SimCLR (Chen et al. 2020, arXiv:2002.05709) for gray images: a crop of random area
and aspect, which matters most there; changes of contrast and brightness in place of those of
color; blur. Turning is added, flips are left out unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms.intensity.array import AdjustContrast, GaussianSmooth
from monai.transforms.spatial.array import Affine
from numpy.typing import NDArray
from torch import Tensor

from medfuse.pretraining.settings import ViewSettings

_ASPECT = 4 / 3
_SIGMA = (0.1, 2.0)  # of the blur, in pixels of a view of 224; Chen et al. 2020, appendix A
_AT = 224


def draw_view(
    image: Tensor, size: Sequence[int], settings: ViewSettings, random: np.random.RandomState
) -> Tensor:
    """Return a random view ``(C, *size)``, float32, about [0, 1].

    Args:
        image: ``(C, *spatial)`` in [0, 1]; not changed.
        size: of the view.
        settings: how far views differ.
        random: moves on.
    """
    matrix = _matrix(image.shape[1:], size, settings, random)
    cut = Affine(
        affine=matrix, spatial_size=tuple(size), padding_mode="border", mode="bilinear",
        image_only=True,
    )  # fmt: skip
    view = _plain(cut(image)).clamp(0, 1)
    gamma = math.exp(math.log(settings.gamma) * random.uniform(-1, 1))
    view = _plain(AdjustContrast(gamma)(view))
    contrast = 1 + settings.contrast * random.uniform(-1, 1)
    shift = settings.brightness * random.uniform(-1, 1)
    mean = view.mean()
    view = (view - mean) * contrast + mean + shift
    if random.uniform() < settings.blur:
        sigma = random.uniform(*_SIGMA) * max(size) / _AT
        view = _plain(GaussianSmooth(max(sigma, 0.1))(view))
    noise = settings.noise * random.uniform() * random.standard_normal(tuple(view.shape))
    return view + torch.from_numpy(noise.astype(np.float32))


def _matrix(
    sides: Sequence[int], size: Sequence[int], settings: ViewSettings, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Return the homogeneous matrix from places of the view to places of the image.

    Places are in pixels from the center, as MONAI has them.
    """
    count = len(sides)
    area = random.uniform(*settings.crop)
    aspect = np.exp(math.log(_ASPECT) * random.uniform(-1, 1, count))
    shares = np.minimum(area ** (1 / count) * aspect / aspect.prod() ** (1 / count), 1.0)
    shift = (1 - shares) / 2 * random.uniform(-1, 1, count) * np.asarray(sides)
    steps = shares * np.asarray(sides) / np.asarray(size)
    matrix = np.eye(count + 1)
    matrix[:count, :count] = _turn(count, settings.rotate, random) * steps
    matrix[:count, :count] *= _signs(count, settings.flip, random)
    matrix[:count, count] = shift
    return matrix


def _turn(count: int, degrees: float, random: np.random.RandomState) -> NDArray[np.float64]:
    """Return a rotation in the plane of the first two axes."""
    angle = math.radians(degrees) * random.uniform(-1, 1)
    rotation = np.eye(count)
    rotation[:2, :2] = [
        [math.cos(angle), -math.sin(angle)],
        [math.sin(angle), math.cos(angle)],
    ]
    return rotation


def _signs(count: int, flip: str, random: np.random.RandomState) -> NDArray[np.float64]:
    """Return -1 for each axis of the view that is mirrored; columns are the second axis."""
    flipped = random.uniform(size=count) < 0.5
    allowed = np.array([flip == "all" or (flip == "left_right" and i == 1) for i in range(count)])
    return np.where(flipped & allowed, -1.0, 1.0)


def _plain(image: Any) -> Tensor:
    """Return a tensor without MONAI's record of what was done to it."""
    found: Tensor = image.as_tensor() if hasattr(image, "as_tensor") else image
    return found
