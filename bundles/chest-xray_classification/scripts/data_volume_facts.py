"""What is known of a volume, and how large one may be.

This file is copied into every bundle, so it imports numpy and its neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data_image_facts import ImageFileError

MAX_VOXELS = 2**28
MAX_STREAM = 2**32
MAX_RATIO = 200
_SMALL = 2**26

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """What can be said of a volume without its voxels.

    Attributes:
        shape: along the axes of the array.
        affine: 4 x 4, array index to mm in RAS+; ``None`` where the format has none. The axes
            are then taken for rows, columns and slices.
        modality: ``CT``, ``MR``, ... as DICOM writes it; empty where the format does not say.
        bits: per stored sample.
        limits: least and greatest value that the stored type can have; ``None`` where values
            were rescaled, or are floats.
        events: ``(code, detail)`` of each choice and conversion that reading took.
    """

    shape: tuple[int, int, int]
    affine: Affine | None
    modality: str = ""
    bits: int = 32
    limits: tuple[float, float] | None = None
    events: tuple[tuple[str, str], ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Distance in mm between neighbors along each axis of the array."""
        if self.affine is None:
            return None
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as it was stored: ``pixels`` float32 ``(X, Y, Z)``, rescaled (CT: HU), finite."""

    pixels: Floats
    header: VolumeHeader

    @property
    def affine(self) -> Affine | None:
        """4 x 4, array index to mm in RAS+, or ``None``."""
        return self.header.affine

    @property
    def modality(self) -> str:
        """``CT``, ``MR``, ... or empty."""
        return self.header.modality

    @property
    def bits(self) -> int:
        """Per stored sample."""
        return self.header.bits

    @property
    def events(self) -> tuple[tuple[str, str], ...]:
        """``(code, detail)`` of each choice and conversion that reading took."""
        return self.header.events


def require_volume_size(reference: str, shape: Sequence[int], itemsize: int, stored: int) -> None:
    """Refuse what would fill the memory, before any of it is allocated.

    Args:
        reference: for the error text.
        shape: as the header claims; all volumes of a 4D file.
        itemsize: bytes of a stored sample.
        stored: bytes of the file.

    Raises:
        ImageFileError: over 2**28 voxels a volume, 4 GiB unpacked, or 200 times the file's size.
    """
    if any(side < 1 for side in shape):
        raise ImageFileError("CORRUPT", reference, f"has shape {tuple(shape)}, expected sides.")
    voxels = math.prod(shape[:3])
    if voxels > MAX_VOXELS:
        raise ImageFileError("TOO_LARGE", reference, f"has {voxels} voxels, at most {MAX_VOXELS}.")
    unpacked = math.prod(shape) * itemsize
    if unpacked > MAX_STREAM:
        raise ImageFileError("TOO_LARGE", reference, f"unpacks to {unpacked} bytes, at most 4 GiB.")
    if unpacked > _SMALL and unpacked > MAX_RATIO * stored:
        raise ImageFileError(
            "TOO_LARGE",
            reference,
            f"unpacks to {unpacked} bytes, over {MAX_RATIO} times its own size.",
        )


def require_finite(pixels: Floats, reference: str) -> Floats:
    """Return the voxels as they are.

    Raises:
        ImageFileError: NaN or infinite values.
    """
    bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in pixels)
    if bad:
        raise ImageFileError(
            "NON_FINITE", reference, f"holds {bad} NaN or infinite values of {pixels.size}."
        )
    return pixels


def require_affine(affine: Affine, reference: str) -> Affine:
    """Return the affine as it is.

    Raises:
        ImageFileError: it is not finite, or maps the volume onto a plane.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    sound = bool(np.isfinite(affine).all()) and bool((sides > 1e-6).all())
    if not sound or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-2:
        raise ImageFileError(
            "NO_GEOMETRY", reference, "has no usable affine, expected three axes in mm."
        )
    return affine


def limits_of(dtype: np.dtype) -> tuple[float, float] | None:
    """Return the range of an integer type of at most 16 bits; ``None`` of any other."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)
