"""Generated head volumes with real geometry, and cases of several inputs made with them.

A head is an ellipsoid of brain (about 35 HU) with ventricles (8 HU) in a skull (900 HU); the
finding ``bleed`` is a dense blob (65 to 80 HU) in one half. Volumes differ in spacing, in slice
thickness, in how the axes are stored, and by a small rotation of the patient, as those of
scanners do; a reader that ignores the affine sees them lying, mirrored or squeezed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfuse.storage import atomic_path
from medfuse.workflows.phantoms import phantom

Array = NDArray[np.float64]

CLASSES = ("healthy", "ill")
_AIR = -1000.0
_STORED = ("LPS", "RAS", "LAS", "PLS")
_LACKING = tuple(kept for kept in product((False, True), repeat=3) if 0 < sum(kept) < 3)
_KEPT = (*_LACKING, *[(True, True, True)] * 3)
"""Of CT, X-ray and columns: what the patients have, nine by nine."""


@dataclass(frozen=True)
class HeadVolume:
    """One head.

    Attributes:
        pixels: int16 Hounsfield units ``(X, Y, Z)``.
        affine: 4 x 4, from indices to RAS millimeters.
        finding: true where the bleed is, ``(X, Y, Z)``.
    """

    pixels: NDArray[np.int16]
    affine: Array
    finding: NDArray[np.bool_]


def head_volume(bleeding: bool, random: np.random.Generator) -> HeadVolume:
    """Return a head, with a bleed or without.

    Args:
        bleeding: draw the finding.
        random: decides anatomy, geometry and noise.
    """
    affine, shape = _geometry(random)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = indices @ affine[:3, :3].T + affine[:3, 3]
    image = _head(place, random)
    bleed = _bleed(place, random) if bleeding else np.full(shape, _AIR)
    image = np.maximum(image, bleed)
    noisy = image + random.normal(0, 6, shape)
    pixels = np.clip(noisy, -1024, 3000).round().astype(np.int16)
    return HeadVolume(pixels, affine, bleed > _AIR)


def write_volumes(
    folder: Path | str,
    patients_per_class: int = 20,
    seed: int = 0,
    masks: Path | str | None = None,
) -> Path:
    """Write NIfTI files as ``folder/<class>/p<patient>.nii.gz`` and return ``folder``.

    Args:
        folder: made if absent; existing files of the same name are overwritten.
        patients_per_class: number of patients of each class.
        seed: the same seed gives the same voxels.
        masks: folder for volumes of the same names on the same grids, 1 where the bleed is; of
            those that have one.
    """
    root = Path(folder)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(patients_per_class):
            random = np.random.default_rng([seed, label, number])
            head, file = head_volume(bool(label), random), f"{name}/p{number:04d}.nii.gz"
            write_nifti(head, root / file)
            if masks is not None and head.finding.any():
                target = Path(masks) / file
                target.parent.mkdir(parents=True, exist_ok=True)
                write_nifti(replace(head, pixels=head.finding.astype(np.int16)), target)
    return root


def write_cases(folder: Path | str, patients_per_class: int = 40, seed: int = 0) -> Path:
    """Write cases of a head CT, a chest X-ray, age and sex, and return their table.

    Each input tells a part of the truth: of the ill, three in four bleed, three in four have an
    effusion, and they are 12 years older. A third of all inputs is missing, never all of a case:
    in each nine patients of a class, three have everything, and the six ways to lack something
    occur once.

    Args:
        folder: made if absent; holds ``ct/``, ``xray/`` and the table ``cases.csv``.
        patients_per_class: number of patients of each class.
        seed: the same seed gives the same cases.
    """
    root = Path(folder)
    for name in ("ct", "xray"):
        (root / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for label, name in enumerate(CLASSES):
        for number in range(patients_per_class):
            random = np.random.default_rng([seed, label, number])
            kept = _KEPT[number % len(_KEPT)]
            row = _case(root, f"{name}-{number:03d}", bool(label), kept, random)
            rows.append({"case_id": f"{name}-{number:03d}", "label": name, **row})
    table = root / "cases.csv"
    with atomic_path(table) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case_id", "label", "ct", "xray", "age", "sex"])
        writer.writeheader()
        writer.writerows(rows)
    return table


def write_nifti(volume: HeadVolume, path: Path) -> None:
    """Write a volume as NIfTI."""
    nifti: Any = nibabel
    image = nifti.Nifti1Image(volume.pixels, volume.affine)
    image.header.set_xyzt_units("mm")
    nifti.save(image, path)


def _case(
    root: Path, name: str, ill: bool, kept: Sequence[bool], random: np.random.Generator
) -> dict[str, str]:
    bleeding, effusion = ill and random.random() < 0.75, ill and random.random() < 0.75
    row = {}
    if kept[0]:
        row["ct"] = f"ct/{name}.nii.gz"
        write_nifti(head_volume(bleeding, random), root / row["ct"])
    if kept[1]:
        row["xray"] = f"xray/{name}.png"
        finding = "effusion" if effusion else "clear"
        pixels = phantom(finding, random, int(random.integers(1 << 30)))
        Image.fromarray(pixels).save(root / row["xray"])
    if kept[2]:
        row["age"] = f"{random.normal(67 if ill else 55, 12):.0f}"
        row["sex"] = str(random.choice(["F", "M"]))
    return row


def _geometry(random: np.random.Generator) -> tuple[Array, tuple[int, int, int]]:
    """Return an affine and the size that covers the head: 220 mm in every direction."""
    orientations: Any = nibabel.orientations
    spacing = np.array([*[random.uniform(2.6, 3.6)] * 2, random.uniform(5.0, 9.0)])
    shape = np.ceil(220 / spacing).astype(int)
    tilt = np.radians(random.uniform(-8, 8))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    stored = orientations.axcodes2ornt(random.choice(_STORED))
    back = orientations.inv_ornt_aff(stored, shape)
    size = tuple(int(shape[axis]) for axis in np.argsort(stored[:, 0]))
    return affine @ back, (size[0], size[1], size[2])


def _head(place: Array, random: np.random.Generator) -> Array:
    axes = np.array([70, 88, 65]) * random.uniform(0.92, 1.06)
    radius = _radius(place, np.zeros(3), axes)
    image = np.where(radius < 1.12, 900.0, -1000.0)
    image = np.where(radius < 1.0, 35 + 4 * np.sin(place[..., 0] / 9), image)
    for side in (-1, 1):
        ventricle = _radius(place, np.array([side * 12.0, 5, 8]), np.array([7, 28, 12]))
        image = np.where(ventricle < 1, 8.0, image)
    return np.asarray(image)


def _bleed(place: Array, random: np.random.Generator) -> Array:
    angle = random.uniform(0, 2 * np.pi)
    center = np.array([38 * np.cos(angle), 45 * np.sin(angle), random.uniform(-25, 30)])
    inside = _radius(place, center, random.uniform(14, 22, 3)) < 1
    return np.where(inside, random.uniform(65, 80), _AIR)


def _radius(place: Array, center: Array, axes: Array) -> Array:
    return np.asarray(np.sqrt((((place - center) / axes) ** 2).sum(-1)))
