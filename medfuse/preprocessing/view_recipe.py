"""What is drawn for a random view, and the matrix of its geometry.

This file is copied into bundles beside `views`, so it imports numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def _rotation(count: int, axis: int, angle: float) -> NDArray[np.float64]:
    """Return the matrix of a rotation about an axis of a volume, or in the plane of an image."""
    one, two = (0, 1) if count == 2 else [other for other in range(3) if other != axis]
    found = np.eye(count)
    found[one, one] = found[two, two] = math.cos(angle)
    found[one, two] = -math.sin(angle)
    found[two, one] = math.sin(angle)
    return found
