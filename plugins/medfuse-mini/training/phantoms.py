"""Drawn anatomy: chests, heads, trunks and limbs from soft ellipses, arcs and textures.

Nothing is measured from a patient. Every function returns ``(size, size)`` float32 in [0, 1].
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from textures import Rng, band_noise, power_noise, soft_step, stretch, strokes


class Canvas:
    """A gray image on which soft ellipses are painted in coordinates from -1 to 1."""

    def __init__(self, rng: Rng, size: int):
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        lean, dx, dy = rng.normal(0, 0.12), *rng.normal(0, 0.06, 2)
        x, y = axis[None, :] - np.float32(dx), axis[:, None] - np.float32(dy)
        self.x = x * np.float32(np.cos(lean)) + y * np.float32(np.sin(lean))
        self.y = y * np.float32(np.cos(lean)) - x * np.float32(np.sin(lean))
        self.rng, self.size = rng, size
        self.image = np.full((size, size), rng.uniform(0, 0.08), np.float32)

    def mask(
        self, center: tuple[float, float], radii: tuple[float, float], edge: float = 0.03
    ) -> np.ndarray:
        """A soft ellipse in [0, 1], its outline bent at random."""
        x = (self.x - np.float32(center[0])) / np.float32(radii[0])
        y = (self.y - np.float32(center[1])) / np.float32(radii[1])
        dent, tilt = self.rng.uniform(-0.1, 0.1, 2).astype(np.float32)
        distance = np.sqrt(x * x + y * y) + dent * x * y + tilt * x * x
        return soft_step((1 - distance) / np.float32(2 * edge))

    def paint(self, mask: np.ndarray, level: float, texture: float = 0.0) -> None:
        """Replace what is under the mask by a gray level with some noise in it."""
        value: np.ndarray | float = level
        if texture > 0:
            value = level + texture * (power_noise(self.rng, self.size) - 0.5)
        self.image = self.image * (1 - mask) + value * mask

    def add(self, mask: np.ndarray, amount: float) -> None:
        """Add light under the mask."""
        self.image = self.image + amount * mask


def chest(rng: Rng, size: int) -> np.ndarray:
    """A frontal chest radiograph: body, lungs, ribs, spine, heart, and at times an opacity."""
    canvas = Canvas(rng, size)
    wide, tall = rng.uniform(0.8, 1.1), rng.uniform(0.9, 1.3)
    canvas.paint(canvas.mask((0, 0.2), (wide, tall), 0.08), rng.uniform(0.5, 0.75), 0.15)
    gap, lung = rng.uniform(0.36, 0.46), rng.uniform(0.25, 0.34)
    for side in (-1, 1):
        field = canvas.mask((side * gap, -0.05), (lung, rng.uniform(0.5, 0.68)), 0.06)
        canvas.paint(field, rng.uniform(0.12, 0.35), rng.uniform(0.1, 0.35))
        canvas.add(field * strokes(rng, size), rng.uniform(0.0, 0.25))
        if rng.random() < 0.4:
            spot = (side * gap + rng.normal(0, 0.1), rng.uniform(-0.4, 0.4))
            radii = (rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.25))
            canvas.add(canvas.mask(spot, radii, rng.uniform(0.1, 0.5)), rng.uniform(0.1, 0.4))
    _ribs(canvas)
    canvas.add(canvas.mask((0, 0), (0.1, 2.0), 0.2), rng.uniform(0.1, 0.3))
    canvas.paint(canvas.mask((0.12, 0.25), (rng.uniform(0.25, 0.4), 0.32), 0.07), 0.7, 0.1)
    return stretch(canvas.image)


def head(rng: Rng, size: int) -> np.ndarray:
    """An axial slice of a head: skin, skull, folded cortex, ventricles, at times a lesion."""
    canvas = Canvas(rng, size)
    wide, tall = rng.uniform(0.6, 0.8), rng.uniform(0.75, 0.95)
    layers = rng.uniform(0.1, 1.0, 4)
    for scale, level in zip((1.0, 0.95, 0.88, 0.84), layers, strict=True):
        canvas.paint(canvas.mask((0, 0), (wide * scale, tall * scale), 0.015), level, 0.08)
    brain = canvas.mask((0, 0), (wide * 0.8, tall * 0.8), 0.03)
    folds = 0.6 * band_noise(rng, size) + 0.4 * power_noise(rng, size)
    canvas.add(brain * (folds - 0.5), rng.uniform(0.1, 0.6))
    dark, spread = rng.uniform(0.0, 1.0), rng.uniform(0.06, 0.14)
    for side in (-1, 1):
        canvas.paint(canvas.mask((side * spread, -0.1), (0.05, rng.uniform(0.12, 0.25))), dark)
    canvas.paint(canvas.mask((0, 0), (0.008, tall * 0.8), 0.3) * brain, dark)
    if rng.random() < 0.6:
        spot = (rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5))
        radius = rng.uniform(0.05, 0.25)
        ring = canvas.mask(spot, (radius, radius * rng.uniform(0.6, 1)), rng.uniform(0.02, 0.2))
        canvas.paint(ring, rng.uniform(0.1, 1.0), rng.uniform(0, 0.4))
    return stretch(canvas.image)


def trunk(rng: Rng, size: int) -> np.ndarray:
    """An axial slice of a chest or belly: fat, muscle, organs, spine, vessels, lung."""
    canvas = Canvas(rng, size)
    wide, tall = rng.uniform(0.8, 0.98), rng.uniform(0.55, 0.75)
    for scale, level in ((1.0, 0.3), (0.92, 0.55), (0.85, rng.uniform(0.2, 0.6))):
        canvas.paint(canvas.mask((0, 0), (wide * scale, tall * scale), 0.02), level, 0.06)
    if rng.random() < 0.5:
        for side in (-1, 1):
            lung = canvas.mask((side * 0.4, -0.02), (rng.uniform(0.25, 0.33), 0.45), 0.02)
            canvas.paint(lung, rng.uniform(0.02, 0.15), 0.05)
            canvas.add(lung * strokes(rng, size), rng.uniform(0.05, 0.5))
            canvas.add(lung * np.maximum(power_noise(rng, size) - 0.55, 0), rng.uniform(0, 1.6))
    for _ in range(rng.integers(2, 9)):
        spot = rng.uniform(-0.55, 0.55) * wide, rng.uniform(-0.55, 0.55) * tall
        radii = (rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.25))
        canvas.paint(canvas.mask(spot, radii, 0.03), rng.uniform(0.1, 0.9), rng.uniform(0, 0.3))
    canvas.paint(canvas.mask((0, tall * 0.6), (0.12, 0.12), 0.05), 0.95, 0.3)
    return stretch(canvas.image)


def limb(rng: Rng, size: int) -> np.ndarray:
    """Bones in soft tissue: bright shafts with dark marrow, fanned out like a hand or a leg."""
    canvas = Canvas(rng, size)
    canvas.paint(canvas.mask((0, 0), (rng.uniform(0.4, 0.95), 1.2), 0.05), 0.3, 0.1)
    count = int(rng.integers(1, 7))
    for place in np.linspace(-0.6, 0.6, count) if count > 1 else (0.0,):
        fan, thick = place * rng.uniform(0, 0.6), rng.uniform(0.03, 0.22) / np.sqrt(count)
        line = np.abs(canvas.x - place * 0.8 - fan * canvas.y)
        pieces = np.sin(canvas.y * rng.uniform(2, 9) + rng.uniform(0, 6))
        width = thick * (1 + 0.35 * np.abs(pieces))
        shaft = soft_step((width - line) / 0.03) * (pieces < 0.97)
        marrow = soft_step((0.6 * width - line) / 0.04)
        canvas.add(shaft * (1 - rng.uniform(0.2, 0.7) * marrow), rng.uniform(0.3, 0.7))
    return stretch(canvas.image + 0.1 * power_noise(rng, size))


def _ribs(canvas: Canvas) -> None:
    rng = canvas.rng
    bend, pitch = rng.uniform(0.3, 1.2), rng.uniform(14, 26)
    phase = canvas.y * pitch + bend * pitch * 0.5 * np.abs(canvas.x) ** 1.5 * rng.choice((-1, 1))
    stripes = np.maximum(np.sin(phase + rng.uniform(0, 6)) - rng.uniform(0.2, 0.6), 0)
    cage = canvas.mask((0, 0), (0.85, 0.8), 0.05)
    canvas.add(ndimage.gaussian_filter(stripes, 0.7) * cage, rng.uniform(0.1, 0.45))


PHANTOMS = (chest, head, trunk, limb)
