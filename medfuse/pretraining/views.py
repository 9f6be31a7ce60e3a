"""Random views of images: each a function of its image and its own random numbers alone.

The recipe of SimCLR (Chen et al. 2020, arXiv:2002.05709) for gray images: a crop of random area
and aspect, which matters most there; changes of contrast and brightness in place of those of
color; blur. Turning is added, flips are left out unless asked for. All views of a batch are
computed in a few calls: the work for one alone is mostly that of calling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from medfuse.pretraining.settings import ViewSettings

_ASPECT = 4 / 3
_SIGMA = (0.1, 2.0)  # of the blur, in pixels of a view of 224; Chen et al. 2020, appendix A
_AT = 224
_TINY = 1e-7


class _Draw(NamedTuple):
    """What happens to one view.

    Attributes:
        matrix: ``(d, d + 1)``, from places of the view to places of the image, in pixels from
            their centers.
        gamma: exponent.
        contrast: factor on the distance from the mean.
        shift: of the brightness.
        sigma: of the blur in pixels; 0 for none.
        noise: ``(C, *size)``.
    """

    matrix: NDArray[np.float64]
    gamma: float
    contrast: float
    shift: float
    sigma: float
    noise: NDArray[np.float32]


def draw_views(
    images: Tensor,
    size: Sequence[int],
    settings: ViewSettings,
    randoms: Sequence[np.random.Generator],
) -> Tensor:
    """Return a random view of each image, ``(N, C, *size)``, float32, about [0, 1].

    Args:
        images: ``(N, C, *spatial)`` in [0, 1]; not changed.
        size: of a view.
        settings: how far views differ.
        randoms: N generators, one for each view; they move on.
    """
    shape = (images.shape[1], *size)
    draws = [_draw(images.shape[2:], shape, settings, random) for random in randoms]
    views = _cut(images, size, draws)
    # The exponent is on the range of the view, as in MONAI's AdjustContrast.
    low, high = _each(views.flatten(1).amin(1), views), _each(views.flatten(1).amax(1), views)
    spread = (high - low).clamp_min(_TINY)
    gamma, contrast, shift = (
        _each(torch.tensor([getattr(draw, name) for draw in draws]), views)
        for name in ("gamma", "contrast", "shift")
    )
    views = ((views - low) / spread).pow(gamma) * spread + low
    mean = _each(views.flatten(1).mean(1), views)
    views = (views - mean) * contrast + mean + shift
    _blur(views, [draw.sigma for draw in draws])
    return views + torch.from_numpy(np.stack([draw.noise for draw in draws]))


def _draw(
    sides: Sequence[int],
    shape: tuple[int, ...],
    settings: ViewSettings,
    random: np.random.Generator,
) -> _Draw:
    blurred = random.uniform() < settings.blur
    sigma = max(random.uniform(*_SIGMA) * max(shape[1:]) / _AT, 0.1)
    noise = random.standard_normal(shape, dtype=np.float32)
    noise *= settings.noise * random.uniform()
    return _Draw(
        _matrix(sides, shape[1:], settings, random),
        math.exp(math.log(settings.gamma) * random.uniform(-1, 1)),
        1 + settings.contrast * random.uniform(-1, 1),
        settings.brightness * random.uniform(-1, 1),
        sigma if blurred else 0.0,
        noise,
    )


def _matrix(
    sides: Sequence[int],
    size: Sequence[int],
    settings: ViewSettings,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the ``matrix`` of a random crop, turned and mirrored as the settings allow."""
    count = len(sides)
    area = random.uniform(*settings.crop)
    aspect = np.exp(math.log(_ASPECT) * random.uniform(-1, 1, count))
    shares = np.minimum(area ** (1 / count) * aspect / aspect.prod() ** (1 / count), 1.0)
    shift = (1 - shares) / 2 * random.uniform(-1, 1, count) * np.asarray(sides)
    steps = shares * np.asarray(sides) / np.asarray(size)
    matrix = np.empty((count, count + 1))
    matrix[:, :count] = _turn(count, settings.rotate, random) * steps
    matrix[:, :count] *= _signs(count, settings.flip, random)
    matrix[:, count] = shift
    return matrix


def _turn(count: int, degrees: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation in the plane of the first two axes."""
    angle = math.radians(degrees) * random.uniform(-1, 1)
    rotation = np.eye(count)
    rotation[:2, :2] = [
        [math.cos(angle), -math.sin(angle)],
        [math.sin(angle), math.cos(angle)],
    ]
    return rotation


def _signs(count: int, flip: str, random: np.random.Generator) -> NDArray[np.float64]:
    """Return -1 for each axis of the view that is mirrored; columns are the second axis."""
    flipped = random.uniform(size=count) < 0.5
    allowed = np.array([flip == "all" or (flip == "left_right" and i == 1) for i in range(count)])
    return np.where(flipped & allowed, -1.0, 1.0)


def _cut(images: Tensor, size: Sequence[int], draws: Sequence[_Draw]) -> Tensor:
    """Return the places of the images that the matrices name, ``(N, C, *size)``."""
    from_pixels = 2 / np.asarray(images.shape[2:], dtype=float)
    to_pixels = np.append(np.asarray(size, dtype=float) / 2, 1.0)
    matrices = np.stack([draw.matrix for draw in draws])
    matrices = matrices * from_pixels[:, None] * to_pixels
    # torch counts axes from the last one: x before y.
    count = len(size)
    turned = matrices[:, ::-1, [*range(count - 1, -1, -1), count]].astype(np.float32)
    grid = affine_grid(torch.from_numpy(turned.copy()), [len(draws), 1, *size], align_corners=False)
    cut = grid_sample(images, grid, "bilinear", padding_mode="border", align_corners=False)
    return cut.clamp(0, 1)


def _blur(views: Tensor, sigmas: Sequence[float]) -> None:
    """Blur those views in place whose sigma is above 0, along each axis by a matrix."""
    rows = [row for row, sigma in enumerate(sigmas) if sigma > 0]
    if not rows:
        return
    widths = torch.tensor([sigmas[row] for row in rows]).view(-1, 1, 1)
    blurred = views[rows]
    for axis in range(2, views.ndim):
        places = torch.arange(views.shape[axis], dtype=torch.float32)
        weights = torch.exp(-((places[:, None] - places) ** 2) / (2 * widths**2))
        weights = weights / weights.sum(2, keepdim=True)
        moved = blurred.movedim(axis, 1)
        blurred = torch.bmm(weights, moved.flatten(2)).view_as(moved).movedim(1, axis)
    views[rows] = blurred


def _each(values: Tensor, views: Tensor) -> Tensor:
    """Return one value for each view, to be computed with all its pixels."""
    return values.to(views.dtype).view(-1, *(1,) * (views.ndim - 1))
