"""One generated training image from one number: mixed, lit, blurred, cropped.

``scene(seed, index, size)`` is a pure function: the same arguments give the same pixels.
"""

from __future__ import annotations

import numpy as np
from phantoms import PHANTOMS
from PIL import Image
from scipy import ndimage
from textures import TEXTURES, Rng, smooth_field, soft_step, stretch


def scene(seed: int, index: int, size: int) -> np.ndarray:
    """Generated image number ``index``: ``(size, size)`` uint8."""
    rng = np.random.default_rng([seed, index])
    image = _material(rng, size)
    if rng.random() < 0.45:
        image = _compose(rng, image, _material(rng, size))
    return finish(rng, _crop(rng, image))


def finish(rng: Rng, image: np.ndarray) -> np.ndarray:
    """The image as a scanner might have shown it: shading, blur, gamma, noise; uint8."""
    size = len(image)
    if rng.random() < 0.25:
        image = image * (1 + _shade(rng, size))
    if rng.random() < 0.35:
        image = ndimage.gaussian_filter(image, rng.uniform(0.4, 2.0))
    if rng.random() < 0.3:
        image = 1 - stretch(image)
    if rng.random() < 0.15:
        axis = np.linspace(-1, 1, size)
        image = image * (np.hypot(axis[None], axis[:, None]) < rng.uniform(0.7, 1.2))
    image = stretch(image) ** np.exp(rng.normal(0, 0.35))
    low, high = rng.uniform(0, 0.15), rng.uniform(0.75, 1.0)
    image = low + (high - low) * image
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0.005, 0.06), image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def _material(rng: Rng, size: int) -> np.ndarray:
    kinds = PHANTOMS if rng.random() < 0.35 else TEXTURES
    return kinds[rng.integers(len(kinds))](rng, size)


def _compose(rng: Rng, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two images side by side under a mask, or on top of each other."""
    if rng.random() < 0.4:
        share = rng.uniform(0.25, 0.75)
        return stretch(share * first + (1 - share) * second)
    field = smooth_field(rng, 5, len(first))
    sharp = np.exp(rng.uniform(0.5, 4))
    mask = soft_step((field - rng.normal(0, 0.3)) * sharp)
    return (first * mask + second * (1 - mask)).astype(np.float32)


def _shade(rng: Rng, size: int) -> np.ndarray:
    axis = np.linspace(-1, 1, size)
    return 0.25 * (rng.normal() * axis[None] + rng.normal() * axis[:, None])


def _crop(rng: Rng, image: np.ndarray) -> np.ndarray:
    """A part of the image, a half to all of its width, at the full size again, maybe turned."""
    size = len(image)
    side = int(size * rng.uniform(0.5, 1.0)) if rng.random() < 0.5 else size
    top, left = rng.integers(0, size - side + 1, 2)
    part = image[top : top + side, left : left + side]
    if rng.random() < 0.3:
        part = np.rot90(part, rng.integers(1, 4))
    if side == size:
        return np.ascontiguousarray(part)
    picture = Image.fromarray(np.ascontiguousarray(part, np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
