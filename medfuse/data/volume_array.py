"""Read a volume without geometry: numpy files, and TIFF files of several pages.

Slices come first in them, as in MedMNIST3D, SimpleITK and torch: ``(slices, rows, columns)``.
This file is copied into every bundle, so it imports numpy, tifffile and its neighbors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from medfuse.data.image_array import archive_array, load_npy
from medfuse.data.image_facts import ImageFileError, damaged
from medfuse.data.tiff_pages import listed_pages, require_bounded_strips
from medfuse.data.volume_facts import (
    Volume,
    VolumeHeader,
    limits_of,
    require_finite,
    require_volume_size,
)


def read_npy_volume(path: str) -> Volume:
    """Return the array of a ``.npy`` file, its size checked before it is read."""
    with Path(path).open("rb") as file:

        def check(shape: tuple[int, ...], dtype: np.dtype) -> None:
            _require_three(shape, path)
            require_volume_size(path, shape, dtype.itemsize, Path(path).stat().st_size)

        return _volume(load_npy(file, path, check), path)


def read_npz_volume(path: str, inside: str) -> Volume:
    """Return one volume of a 4D array in a ``.npz`` archive; ``inside`` is ``KEY::INDEX``."""
    key, _, index = inside.partition("::")
    stack = archive_array(path, key)
    if not index.isdigit() or int(index) >= len(stack):
        raise ImageFileError(
            "FILE_NOT_FOUND", path, f"{key} has {len(stack)} volumes, not {index}."
        )
    return _volume(stack[int(index)], f"{path}::{inside}")


def read_tiff_volume(path: str) -> Volume:
    """Return the pages of a TIFF file as slices.

    Raises:
        ImageFileError: one page, pages of unlike kind, color, damaged or too large.
    """
    try:
        return _read_pages(path)
    except tifffile.TiffFileError as error:  # no ValueError in older versions
        raise damaged(path, error) from error


def _read_pages(path: str) -> Volume:
    with tifffile.TiffFile(path) as tiff:
        pages = listed_pages(tiff, path)
        kinds = {(page.shape, page.dtype) for page in pages}
        if len(pages) < 2 or len(kinds) != 1 or len(pages[0].shape) != 2:
            raise ImageFileError(
                "UNSUPPORTED_SHAPE", path, "is no stack of gray pages of one size, expected slices."
            )
        shape, dtype = (len(pages), *pages[0].shape), np.dtype(pages[0].dtype)
        require_volume_size(path, shape, dtype.itemsize, tiff.filehandle.size)
        if any(int(page.photometric) != 1 for page in pages):
            raise ImageFileError("UNSUPPORTED", path, "has pages other than gray with black as 0.")
        for page in pages:
            require_bounded_strips(tiff, page, path)
        return _volume(np.stack([page.asarray() for page in pages]), path)


def _require_three(shape: tuple[int, ...], reference: str) -> None:
    if len(shape) != 3 or not all(shape):
        code = "FOUR_D" if len(shape) == 4 else "UNSUPPORTED_SHAPE"
        raise ImageFileError(
            code, reference, f"has shape {shape}, expected (slices, rows, columns)."
        )


def _volume(stored: NDArray[Any], reference: str) -> Volume:
    _require_three(stored.shape, reference)
    if stored.dtype == bool:
        stored = stored.astype(np.uint8) * np.uint8(255)
    if stored.dtype.kind not in "iuf":
        raise ImageFileError("UNSUPPORTED", reference, f"holds {stored.dtype}, expected numbers.")
    with np.errstate(over="ignore"):
        pixels = np.moveaxis(stored.astype(np.float32), 0, -1)
    limits = limits_of(stored.dtype)
    header = VolumeHeader(
        (pixels.shape[0], pixels.shape[1], pixels.shape[2]),
        None,
        bits=stored.dtype.itemsize * 8 if limits else 32,
        limits=limits,
    )
    return Volume(require_finite(pixels, reference), header)
