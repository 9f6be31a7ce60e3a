"""Read a TIFF file of one 2D image.

This file is copied into every bundle, so it imports numpy, Pillow, tifffile and its neighbors.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from .data_image_facts import ORIENTATION_TAG; from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError; from .data_image_facts import damaged; from .data_image_facts import facts_of_array; from .data_image_facts import require_size
from .data_tiff_pages import listed_pages; from .data_tiff_pages import require_bounded_strips


def read_tiff(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return the samples of a TIFF file of one page, and what is known of them.

    Raises:
        ImageFileError: the file is damaged, or holds something else.
    """
    try:
        return _read(file, path)
    except tifffile.TiffFileError as error:  # no ValueError in older versions
        raise damaged(path, error) from error


def _read(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    with tifffile.TiffFile(file) as tiff:
        pages = listed_pages(tiff, path)
        if not pages:
            raise ImageFileError("TRUNCATED", path, "holds no page. Copy it again.")
        if len(pages) != 1:
            raise ImageFileError(
                "UNSUPPORTED", path, f"holds {len(pages)} pages, expected one 2D image."
            )
        page = tiff.pages.first
        require_size(path, int(np.prod(page.shape)))
        _require_whole_segments(tiff, page, path)
        require_bounded_strips(tiff, page, path)
        pixels = _tiff_samples(file, page, path)
        orientation = int(page.tags.valueof(ORIENTATION_TAG, 1) or 1)
        photometric = int(page.photometric)
        events: list[tuple[str, str]] = []
        pixels = _tiff_colors(pixels, page, photometric, events, path)
    if orientation != 1:
        pixels = _oriented(pixels, orientation)
        events.append(("EXIF_ROTATED", "turned upright as its orientation tag says"))
    return pixels, facts_of_array(pixels, "TIFF", events)


def _require_whole_segments(tiff: Any, page: Any, path: str) -> None:
    # tifffile fills what lies behind the end of the file with zeros.
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    size = tiff.filehandle.size
    if not segments or any(not count or start + count > size for start, count in segments):
        raise ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")


def _tiff_samples(file: IO[bytes], page: Any, path: str) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    if image.mode not in ("L", "RGB", "I;16", "I;16B") or int(page.photometric) == 0:
        compression = getattr(page.compression, "name", page.compression)
        raise ImageFileError(
            "UNSUPPORTED", path, f"{compression} TIFF of this kind needs the package imagecodecs."
        )
    pixels = np.asarray(image)
    return pixels.astype(np.uint16) if image.mode.startswith("I;16") else pixels


def _tiff_colors(
    pixels: NDArray[Any], page: Any, photometric: int, events: list[tuple[str, str]], path: str
) -> NDArray[Any]:
    if pixels.ndim == 3 and int(page.planarconfig) == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if photometric == 3 and page.colormap is not None:
        events.append(("PALETTE_EXPANDED", "palette colors written out"))
        return np.moveaxis((np.asarray(page.colormap) >> 8).astype(np.uint8)[:, pixels], 0, -1)
    if photometric not in (0, 1, 2, 6):
        name = getattr(page.photometric, "name", photometric)
        raise ImageFileError("UNSUPPORTED", path, f"{name} TIFF is not read here.")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype == np.uint8 and page.bitspersample < 8:
        pixels = (pixels * np.uint8(255 // (2**page.bitspersample - 1))).astype(np.uint8)
    if photometric == 0:
        events.append(("INVERTED", "stored with white as zero"))
        low, high = _bounds(pixels)
        pixels = (high - pixels.astype(np.float64) + low).astype(pixels.dtype)
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        if not np.all(pixels[..., -1] == _bounds(pixels)[1]):
            raise ImageFileError("UNSUPPORTED", path, "transparent TIFF is not read here.")
        pixels = pixels[..., :-1]
    return pixels


def _bounds(pixels: NDArray[Any]) -> tuple[float, float]:
    if pixels.dtype.kind in "iu":
        info = np.iinfo(pixels.dtype)
        return float(info.min), float(info.max)
    return float(pixels.min()), float(pixels.max())


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    turned = np.swapaxes(pixels, 0, 1) if orientation >= 5 else pixels
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
