"""Generated chest phantoms: images for the demo and the tests, owing nothing to any patient.

Each image is a smooth sum of ellipses (trunk, lungs, heart, ribs) with varied anatomy, exposure
and noise. The finding is drawn on top: ``nodule`` a small round opacity in one lung, ``effusion``
a dense layer over one lung base with a curved upper border, ``clear`` neither.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]

CLASSES = ("clear", "effusion", "nodule")
_SIZE = 160


@dataclass(frozen=True)
class _Anatomy:
    """Positions in units of half the image width, from the center; y points down."""

    lung_x: float
    lung_width: float
    lung_height: float
    heart_x: float
    side: int


def write_phantoms(
    folder: Path | str,
    patients_per_class: int = 60,
    seed: int = 0,
    masks: Path | str | None = None,
) -> Path:
    """Write 8-bit gray PNGs as ``folder/<class>/p<patient>_<view>.png``; two views a patient.

    Args:
        folder: made if absent; existing files of the same name are overwritten.
        patients_per_class: number of patients of each class.
        seed: the same seed gives the same bytes.
        masks: folder for images of the same names, white where the finding is; of images that
            have one.

    Returns:
        ``folder``.
    """
    root = Path(folder)
    for name, drawn, pixels, mask in _phantoms(patients_per_class, seed):
        _save(root / name / drawn, pixels)
        if masks is not None and mask.any():
            _save(Path(masks) / name / drawn, mask.astype(np.uint8) * 255)
    return root


def phantom(finding: str, random: np.random.Generator, anatomy_seed: int) -> NDArray[np.uint8]:
    """Return one phantom ``(160, 160)``; ``anatomy_seed`` fixes the patient's anatomy.

    Raises:
        ValueError: ``finding`` is not one of `CLASSES`.
    """
    return phantom_and_mask(finding, random, anatomy_seed)[0]


def phantom_and_mask(
    finding: str, random: np.random.Generator, anatomy_seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return one phantom, and where its finding is at least half as dense as at its densest.

    Raises:
        ValueError: ``finding`` is not one of `CLASSES`.
    """
    if finding not in CLASSES:
        raise ValueError(f"finding is {finding!r}, expected one of {', '.join(CLASSES)}")
    anatomy = _anatomy(np.random.default_rng(anatomy_seed))
    y, x = _grid(random)
    image = _thorax(anatomy, y, x)
    layer = np.zeros_like(image)
    if finding == "effusion":
        layer = _effusion(anatomy, random, y, x)
        image = np.maximum(image, layer)
    elif finding == "nodule":
        layer = _nodule(anatomy, random, y, x)
        image += layer
    return _exposed(image, random), layer > 0.5 * max(float(layer.max()), 1e-9)


def with_and_without_nodule(
    random: np.random.Generator, anatomy_seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the phantom that `phantom` draws with a nodule, and the same one without it."""
    anatomy = _anatomy(np.random.default_rng(anatomy_seed))
    y, x = _grid(random)
    image = _thorax(anatomy, y, x)
    layer = _nodule(anatomy, random, y, x)
    again = copy.deepcopy(random)
    return _exposed(image + layer, random), _exposed(image, again)


def _phantoms(
    patients: int, seed: int
) -> Iterator[tuple[str, str, NDArray[np.uint8], NDArray[np.bool_]]]:
    for class_index, name in enumerate(CLASSES):
        for number in range(patients):
            patient = class_index * patients + number
            for view in range(2):
                random = np.random.default_rng([seed, patient, view])
                drawn = phantom_and_mask(name, random, seed * 100_003 + patient)
                yield name, f"p{patient:04d}_{view}.png", *drawn


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _anatomy(random: np.random.Generator) -> _Anatomy:
    return _Anatomy(
        lung_x=random.uniform(0.36, 0.44),
        lung_width=random.uniform(0.25, 0.32),
        lung_height=random.uniform(0.52, 0.66),
        heart_x=random.uniform(0.06, 0.16),
        side=int(random.choice([-1, 1])),
    )


def _grid(random: np.random.Generator) -> tuple[Array, Array]:
    axis = np.linspace(-1, 1, _SIZE)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    shift_y, shift_x = random.uniform(-0.06, 0.06, 2)
    angle = random.uniform(-0.06, 0.06)
    y, x = y - shift_y, x - shift_x
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _ellipse(y: Array, x: Array, center: tuple[float, float], axes: tuple[float, float]) -> Array:
    """Return a soft-edged ellipse, 1 inside and 0 outside."""
    radius = np.hypot((y - center[0]) / axes[0], (x - center[1]) / axes[1])
    inside: Array = 1 / (1 + np.exp(np.clip((radius - 1) * 18, -50, 50)))
    return inside


def _thorax(anatomy: _Anatomy, y: Array, x: Array) -> Array:
    image = 0.62 * _ellipse(y, x, (0.1, 0.0), (1.05, 0.9))
    axes = (anatomy.lung_height, anatomy.lung_width)
    for side in (-1, 1):
        image -= 0.42 * _ellipse(y, x, (-0.05, side * anatomy.lung_x), axes)
    image += 0.25 * _ellipse(y, x, (0.28, anatomy.heart_x), (0.34, 0.28))
    image += 0.15 * np.exp(-((x / 0.09) ** 2))
    ribs = 0.5 + 0.5 * np.cos(22 * (y - 0.35 * x**2))
    return image + 0.05 * ribs * _ellipse(y, x, (0.0, 0.0), (0.85, 0.8))


def _effusion(anatomy: _Anatomy, random: np.random.Generator, y: Array, x: Array) -> Array:
    level = random.uniform(0.12, 0.4)
    center = anatomy.side * anatomy.lung_x
    meniscus = level - 0.5 * (x - center) ** 2 / anatomy.lung_width
    fluid = 1 / (1 + np.exp(np.clip(-(y - meniscus) * 30, -50, 50)))
    axes = (anatomy.lung_height + 0.03, anatomy.lung_width + 0.03)
    layer: Array = random.uniform(0.5, 0.62) * fluid * _ellipse(y, x, (-0.05, center), axes)
    return layer


def _nodule(anatomy: _Anatomy, random: np.random.Generator, y: Array, x: Array) -> Array:
    radius = random.uniform(0.06, 0.12)
    angle, reach = random.uniform(0, 2 * np.pi), random.uniform(0, 0.6)
    center_y = -0.05 + reach * anatomy.lung_height * np.sin(angle)
    center_x = anatomy.side * anatomy.lung_x + reach * anatomy.lung_width * np.cos(angle)
    opacity: Array = random.uniform(0.16, 0.3) * _ellipse(
        y, x, (center_y, center_x), (radius, radius)
    )
    return opacity


def _exposed(image: Array, random: np.random.Generator) -> NDArray[np.uint8]:
    gamma, gain = random.uniform(0.85, 1.2), random.uniform(0.9, 1.1)
    exposed = gain * np.clip(image, 0, None) ** gamma + random.normal(0, 0.025, image.shape)
    return (np.clip(exposed, 0, 1) * 255).round().astype(np.uint8)
