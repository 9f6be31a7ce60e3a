"""Generated lungs of four grades of opacity: no real set at hand has graded labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medfuse.workflows.phantoms import phantom

GRADES = ("none", "mild", "moderate", "severe")
_DOUBT = 0.35


def write_graded(folder: Path, patients_per_grade: int = 10, seed: int = 0) -> Path:
    """Write 8-bit gray PNGs as ``folder/<grade>/p<patient>.png``, one image a patient.

    The denser an image's patches, the higher its grade, but readers doubt: density is the grade
    plus a normal number of standard deviation 0.35, so that neighbors overlap.
    """
    for grade, name in enumerate(GRADES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(patients_per_grade):
            patient = grade * patients_per_grade + number
            random = np.random.default_rng([seed, patient])
            image = phantom("clear", random, patient).astype(float)
            image += opacity(max(0.0, grade + _DOUBT * random.normal()), random, image.shape)
            pixels = np.clip(image, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"p{patient:04d}.png")
    return folder


def opacity(density: float, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return patches in the middle third of the height, brighter with the density."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    total = np.zeros(shape)
    for _ in range(12):
        center = random.uniform([0.3, 0.2], [0.7, 0.8]) * shape
        spread = random.uniform(4, 9)
        squared = (rows - center[0]) ** 2 + (columns - center[1]) ** 2
        total += np.exp(-squared / (2 * spread**2))
    return 22 * density * total
