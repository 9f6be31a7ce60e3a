"""DICOM, read in a process that can be killed.

This file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data_dicom.refusal import DicomError
from .data_dicom.sandbox import shared_reader
from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError
from .data_volume_facts import Volume; from .data_volume_facts import VolumeHeader; from .data_volume_facts import require_affine; from .data_volume_facts import require_finite

_PREAMBLE = 128


def is_dicom(path: str) -> bool:
    """Return whether a path is a folder, or a file that is DICOM by content or by name."""
    if os.path.isdir(path) or path.lower().endswith((".dcm", ".dicom")):  # noqa: PTH112
        return True
    if not os.path.isfile(path):  # noqa: PTH113 - of thousands of files
        return False
    with open(path, "rb") as stream:  # noqa: PTH123
        return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"


def read_dicom_volume(reference: str) -> Volume:
    """Return the volume of a DICOM series: ``PATH`` or ``PATH::KEY``.

    Raises:
        ImageFileError: with the code of the DICOM reader; ``UNSUPPORTED_SHAPE`` for one picture.
    """
    image = _read(reference)
    if image.affine is None or image.pixels.ndim != 3:
        raise ImageFileError(
            "UNSUPPORTED_SHAPE", reference, "holds one picture, expected a volume. kind: image?"
        )
    pixels = require_finite(np.asarray(image.pixels, np.float32), reference)
    affine = require_affine(np.asarray(image.affine, np.float64), reference)
    shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
    header = VolumeHeader(shape, affine, image.modality, image.bits, None, tuple(image.events))
    return Volume(pixels, header)


def read_dicom_picture(reference: str) -> tuple[NDArray[np.float32], ImageFacts]:
    """Return one picture, rows first: a projection in [0, 1], or a single slice in its units.

    Raises:
        ImageFileError: with the code of the DICOM reader; ``UNSUPPORTED_SHAPE`` for a volume.
    """
    image = _read(reference)
    pixels, spacing = np.asarray(image.pixels, np.float32), image.spacing
    if image.affine is not None:
        if pixels.shape[-1] != 1:
            raise ImageFileError(
                "UNSUPPORTED_SHAPE",
                reference,
                f"holds {pixels.shape[-1]} slices, expected one picture. Set kind: volume.",
            )
        pixels, spacing = np.ascontiguousarray(pixels[..., 0].T), spacing[1::-1]
    events = tuple(image.events)
    return pixels, ImageFacts(32, True, "DICOM", events, image.modality, spacing, image.bits)


def _read(reference: str) -> Any:
    try:
        return shared_reader().read(reference)
    except DicomError as error:
        text = str(error).removesuffix(f"[{error.code}]").strip()
        raise ImageFileError(error.code, reference, text) from error
